"""Seeds -> samples: batches, start noise, progress. It knows no method and no formula."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.core.noise import SeededNoise


class Start(Protocol):
    """Draws the start of the sampler, `[B, *event]` at the schedule's highest noise level, from per-sample noise."""

    def __call__(self, noise: SeededNoise, sigma_max: float) -> Tensor:
        """The start of each of the noise's samples."""
        ...


Solve = Callable[[Tensor, Tensor], Tensor]  # (seeds [B], start [B, *event]) -> samples [B, *event]


def seeds_of(block: Sequence[int]) -> Tensor:
    """The sample seeds `[n]` int64 of a block given by its first and last seed."""
    return torch.arange(block[0], block[1] + 1, dtype=torch.int64)


def draw(
    block: Sequence[int], start: Start, sigma_max: float, solve: Solve, *, batch: int, dtype: str
) -> Tensor:
    """Samples of one block of seeds, `[n, *event]`, in batches; a sample depends on its seed alone.

    Args:
        block: first and last seed.
        start: draws each sample's start from its own noise.
        sigma_max: noise level the schedule starts from.
        solve: the sampler, guidance and all, for a batch of seeds and starts.
        batch: samples in a batch; changes speed and memory, and results by rounding only.
        dtype: the sampler's dtype, `float32` or `float64`.
    """
    parts = []
    for seeds in seeds_of(block).split(batch):  # type: ignore[no-untyped-call]
        x = start(SeededNoise(seeds.tolist()), sigma_max).to(getattr(torch, dtype))
        parts.append(solve(seeds, x))
    return torch.cat(parts)


def progress(items: Sequence[Any], what: str) -> "tqdm[Any]":
    """A progress bar on standard error that stays short in log files."""
    return tqdm(items, desc=what, unit="block", mininterval=1.0, leave=True, dynamic_ncols=True)
