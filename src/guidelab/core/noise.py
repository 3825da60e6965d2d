"""Per-sample random numbers: one generator per seed, so results do not depend on batches or workers."""

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """One generator per seed; row `i` of every draw comes from seed `i` alone.

    Draw in the order the samples need: start noise first, then labels, then noise of the steps (EDM2's order).

    Args:
        seeds: one per sample; taken modulo 2^32.
        device: where the generators are; another kind of device gives other numbers.
    Source: Karras et al. 2024, arXiv:2312.02696 (per-sample generators, seed modulo 2^32).
    """

    def __init__(self, seeds: Sequence[int] | range, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed) % (1 << 32)) for seed in seeds]

    def randn(self, event_shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal `[B, *event_shape]`."""
        out = torch.empty((len(self.generators), *event_shape), dtype=dtype, device=self.device)
        for row, generator in zip(out.unbind(0), self.generators, strict=True):
            row.normal_(generator=generator)
        return out

    def randn_like(self, x: Tensor) -> Tensor:
        """Standard normal with the shape and dtype of `x [B, *event]`, on this object's device."""
        return self.randn(x.shape[1:], x.dtype)

    def randint(self, high: int) -> Tensor:
        """One integer in `[0, high)` per sample, `[B]` int64."""
        out = torch.empty(len(self.generators), dtype=torch.int64, device=self.device)
        for row, generator in zip(out.unbind(0), self.generators, strict=True):
            row.random_(0, high, generator=generator)
        return out
