"""The subject of an estimation: a sampler, its grader, held-out examples, and exact densities where known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.divergence.noisy import CPU, Denoise, Examples
from guidelab.metrics.value import Value

Sides = tuple[Examples, Examples]  # real and generated


@dataclass(frozen=True)
class Exact:
    """Exact quantities, available where the data's density is known.

    Attributes:
        data: the dataset: `score(x, sigma)`, `draw(n, generator)`.
        sigma: the lowest noise level, at which the truths hold.
        truth: exact divergences by name; empty where the sampler's density is not defined.
        draw: fresh samples `[n, *event]` of a range of seeds.
        zero: the samples are real ones, so that every divergence and every score error is zero.
    """

    data: Any
    sigma: float
    truth: Mapping[str, Value]
    draw: Callable[[int, int], Tensor]
    zero: bool = False


@dataclass(frozen=True)
class Space:
    """One feature space: real vectors, vectors of the samples that are reported, and of the block that is not."""

    real: Tensor
    report: Tensor
    more: Tensor
    sha256: str  # of the net that makes the features


@dataclass(frozen=True)
class Subject:
    """One sampler and its grader; a line of `estimate` appears where the subject can give it.

    Attributes:
        grader: the discriminator that estimates log(p/q).
        main, sampler: denoisers; the same law where nothing guides.
        guided: whether something guides.
        report, fitted: held-out examples: those reported, and others that the calibration is fitted on.
        exact: the data's density, where it is known.
        spaces: feature spaces by name.
        where: the device of the nets.
    """

    grader: nn.Module
    main: Denoise
    sampler: Denoise
    guided: bool
    report: Sides
    fitted: Sides
    exact: Exact | None = None
    spaces: Mapping[str, Space] = field(default_factory=dict)
    where: torch.device = CPU
