"""Projected guidance: reference guidance without the part of its difference that points along the output."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step, per_sample


@dataclass(frozen=True)
class Projected:
    """`D = D1 + (w - 1)(d_orthogonal + eta d_parallel)`, where `d = D1 - D0` is split along `D1`; neutral at `w = 1`.

    The parallel part scales the output up, which is seen as saturation; the orthogonal part is what improves
    samples. With `eta = 1` and no threshold it is `Reference`, operation for operation. (The source's running
    momentum over steps is left out: a term has no state here.)

    Args:
        ref: the reference denoiser `D0`; it is given the same condition as the main one.
        weight: `w`.
        eta: factor on the parallel part.
        threshold: longest norm of a sample's difference, which is scaled down to it before it is split; None: no limit.
    Raises:
        ValueError: a threshold that is not positive.
    Source: Sadat et al. 2024, arXiv:2410.02416 (adaptive projected guidance).
    """

    ref: Denoiser
    weight: float
    eta: float = 0.0
    threshold: float | None = None
    neutral: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.threshold is not None and self.threshold <= 0:
            raise ValueError(f"Projected: given threshold={self.threshold}, wanted more than 0, or None")

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """The addition to `main_out [B, *event]`, shaped like it."""
        difference = main_out - self.ref(x, sigma, cond)
        if self.threshold is not None:
            norm = difference.flatten(1).norm(dim=1)
            # a vanishing difference has no length to limit: the quotient is infinite, its minimum with 1 is 1
            difference = difference * per_sample((self.threshold / norm).clamp_max(1.0), difference)
        if self.eta != 1.0:
            difference = difference - (1.0 - self.eta) * _parallel(difference, main_out)
        return (self.weight - 1.0) * difference

    def at_step(self, sigma: float) -> "Projected":
        """The same with its reference resolved for the step that starts at `sigma`."""
        return Projected(at_step(self.ref, sigma), self.weight, self.eta, self.threshold)


def _parallel(difference: Tensor, along: Tensor) -> Tensor:
    """The part of each sample's `difference [B, *event]` along `along`, projected in float64; 0 where that vanishes."""
    flat, axis = difference.flatten(1).to(torch.float64), along.flatten(1).to(torch.float64)
    squared = axis.square().sum(1)
    share = (flat * axis).sum(1) / torch.where(squared > 0, squared, torch.ones_like(squared))
    return (share[:, None] * axis).to(difference.dtype).reshape(difference.shape)
