"""Degradations that are drawn anew at every step of a sampler."""

import struct
from collections.abc import Callable

from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step


class Renewed:
    """A denoiser with degraded nets, whose masks and noises belong to a sample's seed, the step and the noise level.

    Without the step, Heun's second evaluation would be given the noise of the first evaluation of the step after it: the
    errors of both slopes would add up instead of averaging out, at up to twice the variance of fresh draws.

    Args:
        make: from seeds `[B]` int64 to the denoiser whose degradations are drawn by them.
        seeds: `[B]` int64, of the samples.
    """

    def __init__(self, make: Callable[[Tensor], Denoiser], seeds: Tensor) -> None:
        self.make, self.seeds = make, seeds

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """The denoiser outside of any step: `x [B, *event]`, `sigma [B]`, `cond [B]` or None."""
        return self.make(self.seeds)(x, sigma, cond)

    def at_step(self, sigma: float) -> Denoiser:
        """The denoiser during the step that starts at `sigma`."""
        (key,) = struct.unpack("<I", struct.pack("<f", sigma))
        return at_step(self.make(self.seeds + (key << 32)), sigma)
