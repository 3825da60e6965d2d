"""Prefetch the noise of a sampler's steps: drawn on the CPU, copied to the device a few steps ahead."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from guidelab.compute.precision import moved

_AHEAD = 8  # steps whose noise may wait in pinned memory: enough to keep a device busy


class Feed:
    """Noise of the steps for a device: drawn on the CPU while the device computes, a few steps ahead of it.

    The device never waits for the CPU; the CPU waits for the device only where it is more than a few steps ahead,
    so that pinned memory does not fill with noise that is not needed yet.

    Args:
        make: step index to a tensor on the CPU; called once per step, in order.
        where: the device.
    """

    def __init__(self, make: Callable[[int], Tensor], where: torch.device) -> None:
        self.make, self.where = make, where
        self._copied: deque[torch.cuda.Event] = deque()

    def __call__(self, step: int) -> Tensor:
        """The noise of one step, on the device."""
        if self.where.type != "cuda":
            return moved(self.make(step), self.where)
        if len(self._copied) >= _AHEAD:
            self._copied.popleft().synchronize()
        found = moved(self.make(step), self.where)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._copied.append(event)
        return found
