"""Things made ahead of time by threads, so that a device does not wait for data."""

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)
Made = TypeVar("Made")


class Ahead(Generic[Place, Made]):
    """What stands at one place after another, made before it is asked for.

    Args:
        make: what stands at a place; a function of the place alone, for any number of threads.
        after: the place that follows one.
        workers: threads; by default the processor's cores, 8 at most. So many places, and two more, are in work.
    """

    def __init__(
        self, make: Callable[[Place], Made], after: Callable[[Place], Place], workers: int | None = None
    ) -> None:
        count = workers or min(8, os.cpu_count() or 1)
        self._make, self._after, self._depth = make, after, count + 2
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="examples")
        self._made: dict[Place, Future[Made]] = {}

    def __call__(self, place: Place) -> Made:
        """What stands at a place; what follows it is begun, what does not is dropped."""
        wanted = [place]
        while len(wanted) < self._depth:
            wanted.append(self._after(wanted[-1]))
        for other in [other for other in self._made if other not in wanted]:
            self._made.pop(other).cancel()
        for one in wanted:
            if one not in self._made:
                self._made[one] = self._pool.submit(self._make, one)
        return self._made.pop(place).result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
