"""Noisy images for classifiers and discriminators: log-uniform noise levels, bins to report by."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 4  # ranges of the noise level in reports, equally wide in its logarithm


@dataclass(frozen=True)
class Images:
    """Images `x [N, C, H, W]` uint8 and, where they have any, labels `[N]` int64."""

    x: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> "Images":
        return Images(self.x[index], None if self.labels is None else self.labels[index])

    def clean(self) -> Tensor:
        """Float images in [-1, 1]."""
        return self.x.to(torch.float32) / 127.5 - 1


def levels(n: int, config: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """`n` noise levels, log-uniform between sigma_min and sigma_max; zeros where sigma_max is 0."""
    uniform = torch.rand(n, generator=generator)
    if config["sigma_max"] == 0:
        return torch.zeros(n)
    low, high = math.log(config["sigma_min"]), math.log(config["sigma_max"])
    return torch.exp(low + (high - low) * uniform)


@dataclass(frozen=True)
class NoisyBatch:
    """Images at noise levels: `x [B, C, H, W]`, `sigma [B]`, `labels [B]` or None."""

    x: Tensor
    sigma: Tensor
    labels: Tensor | None


def bin_edges(config: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The ranges `(lo, hi]` of sigma in reports; none for clean images."""
    if config["sigma_max"] == 0:
        return []
    low, high = math.log(config["sigma_min"]), math.log(config["sigma_max"])
    edges = [math.exp(low + (high - low) * i / BINS) for i in range(BINS + 1)]
    return list(itertools.pairwise(edges))
