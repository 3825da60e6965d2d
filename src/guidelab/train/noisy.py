"""Noisy images for classifiers and discriminators: held-out splits, log-uniform noise levels, bins to report by."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.errors import UserError

BINS = 4  # ranges of the noise level, equally wide in its logarithm, that reports tell apart
_FEWEST = 10  # images in the smallest part


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


@dataclass(frozen=True)
class Split:
    """One side's parts; no image is in two of them."""

    train: Images
    validation: Images
    test: Images

    @property
    def sizes(self) -> dict[str, int]:
        """`n_train`, `n_validation`, `n_test`."""
        return {f"n_{part}": len(getattr(self, part)) for part in ("train", "validation", "test")}


def split(images: Images, config: Mapping[str, Any], generator: torch.Generator, side: str) -> Split:
    """Cut a side by its shares `validation` and `test`.

    Raises:
        UserError: a part would have fewer than ten images.
    """
    n = len(images)
    held, tested = round(config["validation"] * n), round(config["test"] * n)
    if min(held, tested, n - held - tested) < _FEWEST:
        raise UserError(
            f"{side}: {n} images leave {n - held - tested} to train, {held} to validate and {tested} to test; "
            f"wanted at least {_FEWEST} each. Give it more images."
        )
    order = torch.randperm(n, generator=generator)
    return Split(images[order[held + tested :]], images[order[:held]], images[order[held : held + tested]])


def levels(n: int, config: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """`n` noise levels, log-uniform between sigma_min and sigma_max; zeros where sigma_max is 0."""
    uniform = torch.rand(n, generator=generator)
    if config["sigma_max"] == 0:
        return torch.zeros(n)
    low, high = math.log(config["sigma_min"]), math.log(config["sigma_max"])
    return torch.exp(low + (high - low) * uniform)


@dataclass(frozen=True)
class Noisy:
    """Images at noise levels: `x [B, C, H, W]`, `sigma [B]`, `labels [B]` or None."""

    x: Tensor
    sigma: Tensor
    labels: Tensor | None


def noisy(images: Images, config: Mapping[str, Any], generator: torch.Generator, repeats: int = 1) -> Noisy:
    """Every image at `repeats` noise levels of its own."""
    clean = images.clean().repeat(repeats, 1, 1, 1)
    sigma = levels(len(clean), config, generator)
    x = clean
    if config["sigma_max"] > 0:
        x = clean + per_sample(sigma, clean) * torch.randn(clean.shape, generator=generator)
    return Noisy(x, sigma, None if images.labels is None else images.labels.repeat(repeats))


def bin_edges(config: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The ranges `(lo, hi]` of sigma that reports tell apart; none for clean images."""
    if config["sigma_max"] == 0:
        return []
    low, high = math.log(config["sigma_min"]), math.log(config["sigma_max"])
    edges = [math.exp(low + (high - low) * i / BINS) for i in range(BINS + 1)]
    return list(itertools.pairwise(edges))
