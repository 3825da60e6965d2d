"""Reference guidance of the first three channels only: what DiT's released sampler does to its four-channel latents."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step

CHANNELS = 3  # Peebles & Xie 2023, released code: kept so that its published samples can be repeated


@dataclass(frozen=True)
class Leading:
    """`Reference` in the first three channels, nothing in the others; neutral at `w = 1`.

    Of images with three channels or fewer it is `Reference`.

    Args:
        ref: the reference denoiser `D0`, given the same condition as the main one; classifier-free guidance takes
            the network called without a class.
        weight: `w`.
    Source: Peebles & Xie 2023, arXiv:2212.09748 (released code).
    """

    ref: Denoiser
    weight: float
    neutral: ClassVar[float] = 1.0

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """`(w - 1)(D1 - D0)` in the channels that are guided, 0 elsewhere; shaped like `main_out [B, C, *]`."""
        full = (self.weight - 1.0) * (main_out - self.ref(x, sigma, cond))
        return torch.cat([full[:, :CHANNELS], torch.zeros_like(full[:, CHANNELS:])], dim=1)

    def at_step(self, sigma: float) -> "Leading":
        """The same with its reference resolved for the step that starts at `sigma`."""
        return Leading(at_step(self.ref, sigma), self.weight)
