"""Reference guidance: away from a weaker denoiser. Classifier-free guidance and autoguidance are the same code."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step


@dataclass(frozen=True)
class Reference:
    """`D = D0 + w (D1 - D0)`, where `D1` is the main denoiser and `D0` a reference one; neutral at `w = 1`.

    An unconditional reference makes it classifier-free guidance (`w = 1 + v` in the convention where `v = 0` is
    off); a smaller or less trained one makes it autoguidance.

    Args:
        ref: the reference denoiser `D0`; it is given the same condition as the main one.
        weight: `w`; above 1 extrapolates away from the reference.
        channels: only the first so many channels are guided, `D = D1` in the others; None guides all. DiT's released
            sampler guides three of its four latent channels.
    Source: Ho & Salimans 2022, arXiv:2207.12598; Karras et al. 2024, arXiv:2406.02507; `channels`: Peebles & Xie 2023,
        arXiv:2212.09748 (released code).
    """

    ref: Denoiser
    weight: float
    channels: int | None = None
    neutral: ClassVar[float] = 1.0

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """`(w - 1)(D1 - D0)`, shaped like `main_out [B, *event]`; 0 in channels that are not guided."""
        full = (self.weight - 1.0) * (main_out - self.ref(x, sigma, cond))
        if self.channels is None:
            return full
        return torch.cat([full[:, : self.channels], torch.zeros_like(full[:, self.channels :])], dim=1)

    def at_step(self, sigma: float) -> "Reference":
        """The same with its reference resolved for the step that starts at `sigma`."""
        return Reference(at_step(self.ref, sigma), self.weight, self.channels)


def _identity(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
    """The denoiser of a flat density: its score is 0."""
    return x


def truncation(weight: float) -> Reference:
    """Naive truncation: the score multiplied by `weight`, which is reference guidance away from a flat density.

    Args:
        weight: factor on the score; neutral at 1.
    Source: Karras et al. 2024, arXiv:2406.02507, figure 1 (the toy example's score x 1.40).
    """
    return Reference(_identity, weight)
