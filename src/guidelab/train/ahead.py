"""Prefetching: threads compute the next items in advance, so that a device does not wait for data."""

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)
Made = TypeVar("Made")


class Ahead(Generic[Place, Made]):
    """Items of consecutive positions, computed before they are requested.

    Args:
        make: computes the item of a position; a function of the position alone, safe from any number of threads.
        after: the position that follows one.
        workers: threads; by default the processor's cores, 8 at most. So many positions, and two more, are computed ahead.
    """

    def __init__(
        self, make: Callable[[Place], Made], after: Callable[[Place], Place], workers: int | None = None
    ) -> None:
        count = workers or min(8, os.cpu_count() or 1)
        self._make, self._after, self._depth = make, after, count + 2
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="examples")
        self._made: dict[Place, Future[Made]] = {}

    def __call__(self, place: Place) -> Made:
        """The item of a position; the following ones are started, other pending ones are dropped."""
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
