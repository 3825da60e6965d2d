"""Networks of discrete variance-preserving diffusions as denoisers in sigma's units.

They predict the noise: `x_0 = x - sigma eps`, with `x = x_vp sqrt(1 + sigma^2)`. Many also predict a variance, which
only ancestral sampling uses.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from guidelab.core.chain import Schedule, schedule_of
from guidelab.core.denoiser import per_sample
from guidelab.core.samplers.chain import Variance


class _Kept(NamedTuple):
    """The predicted variance of one evaluation, and the tensors it was called with."""

    x: Tensor
    version: int
    sigma: Tensor
    cond: Tensor | None
    share: Tensor  # [B, C, H, W], -1 for the posterior's variance, 1 for beta


class VpNet(nn.Module):
    """Denoiser `D(x, sigma, cond)` around a network that predicts noise at discrete time steps.

    Subclasses give `raw`, the network as it was released.

    Args:
        resolution_px, image_channels, classes: of the images; 0 classes for an unconditional network.
        learn_sigma: the network's output has twice the image's channels; the second half is its variance.
        schedule: noise schedule it was trained with, `linear` or `cosine`.
        steps: of that schedule.
    Attributes:
        schedule: the `core.chain.Schedule`.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        learn_sigma: bool,
        schedule: str,
        steps: int = 1000,
    ) -> None:
        super().__init__()
        self.resolution_px, self.image_channels, self.classes = resolution_px, image_channels, classes
        self.learn_sigma = learn_sigma
        self.schedule: Schedule = schedule_of(schedule, steps)
        self._kept: list[_Kept] = []

    def raw(self, x_vp: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        """The network's own output `[B, C or 2 C, H, W]`: noise, then variance if it learned any.

        Args:
            x_vp: `[B, C, H, W]`, variance-preserving.
            steps: `[B]`, floating; need not be whole.
            cond: class index `[B]` int64, or None.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Denoised `[B, C, H, W]` at `x [B, C, H, W]`, `sigma [B]`, `cond [B]` int64 or None; in the dtype of `x`.

        At the schedule's own noise levels the network gets exactly its time step, between them one interpolated
        in log sigma.
        """
        out = self._evaluate(x, sigma, cond).to(x.dtype)
        return x - per_sample(sigma.to(x.dtype), x) * out[:, : self.image_channels]

    @property
    def variance(self) -> Variance:
        """What `ddpm` is to be given: the learned variance, or else `large` (beta), ADM's and DiT's choice."""
        return self.log_variance if self.learn_sigma else "large"

    def log_variance(self, x: Tensor, sigma: Tensor, cond: Tensor | None, lo: float, hi: float) -> Tensor:
        """Learned log-variance `[B, C, H, W]` of a step, between `lo` (the posterior's) and `hi` (log beta).

        Called with the same tensors as the latest evaluation, it costs nothing: that output was kept. (Several are,
        of one `x`: guidance may call the network again with another condition.) Otherwise the network is evaluated.

        Raises:
            ValueError: the network learned no variance.
        Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15.
        """
        if not self.learn_sigma:
            raise ValueError("log_variance: this network learned no variance; use 'small' or 'large'")
        version = _version(x)
        for kept in self._kept:
            if kept.x is x and kept.version == version and kept.sigma is sigma and kept.cond is cond:
                share = kept.share
                break
        else:
            share = self._evaluate(x, sigma, cond)[:, self.image_channels :]
        fraction = (share.to(x.dtype) + 1) / 2
        return fraction * hi + (1 - fraction) * lo

    def _evaluate(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """`raw` at a noise level, its second half kept for `log_variance`."""
        level = sigma.to(x.dtype)
        scaled = x / per_sample(torch.sqrt(1 + level**2), x)
        out = self.raw(scaled, self.schedule.step_of(level), cond)
        if self.learn_sigma and not self.training:
            share, version = out[:, self.image_channels :].detach(), _version(x)
            same = [k for k in self._kept if k.x is x and k.version == version and k.cond is not cond]
            self._kept = [*same, _Kept(x, version, sigma, cond, share)]
        return out


def _version(x: Tensor) -> int:
    """How often a tensor was written to; tensors of inference mode are not counted."""
    return 0 if x.is_inference() else x._version
