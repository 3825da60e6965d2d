"""Gaussian mixtures with exact log-density, score and posterior mean at every noise level."""

import math

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.core.gaussians import Gaussians

_CELLS = (
    1 << 20
)  # numbers held per intermediate array: larger batches are worked on in pieces, which stay in cache


class Mixture(Gaussians):
    """Gaussians with their density; see `Gaussians` for the arguments.

    Works in log space throughout: far from every component the log-density stays finite and the score stays
    right, where a plain sum of densities underflows to -inf and 0/0.
    """

    def log_density(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Log-density of `x [B, d]` at noise level `sigma` (`[B]` or one number); nats, `[B]`, never -inf."""
        pieces = [torch.logsumexp(part[0], dim=1) for part in self._pieces(x, sigma)]
        return torch.cat(pieces) if pieces else x.new_zeros(0)

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Gradient of `log_density` with respect to `x`, `[B, d]`."""
        pieces = [
            -torch.einsum("bk,kij,bkj->bi", log.softmax(dim=1), self._axes, pull)
            for log, pull in self._pieces(x, sigma)
        ]
        return torch.cat(pieces) if pieces else torch.zeros_like(x)

    def posterior_mean(self, x: Tensor, sigma: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """`E[x0 | x]` for `x = x0 + sigma n`: the ideal denoiser (`cond` is not used), `[B, d]`."""
        level = self._levels(x, sigma)
        return x + per_sample(level, x) ** 2 * self.score(x, level)

    def _pieces(self, x: Tensor, sigma: Tensor | float) -> list[tuple[Tensor, Tensor]]:
        rows = max(1, _CELLS // self.means.numel())
        level = self._levels(x, sigma)
        parts = zip(torch.split(x.to(self.dtype), rows), torch.split(level, rows), strict=True)
        return [self._components(part, s) for part, s in parts if len(part)]

    def _components(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Per component: log of weight times density `[B, K]`, and `(cov + sigma^2)^-1 (x - mean)` in its axes."""
        # (x - mean) first: rotating x and mean apart loses the digits that cancel
        offset = torch.einsum("bkj,kji->bki", x[:, None] - self.means, self._axes)  # [B, K, d]
        variance = self._variances + (sigma * sigma)[:, None, None]  # [B, K, d]
        pull = offset / variance
        exponent = (offset * pull + variance.log()).sum(-1) + self.dim * math.log(2 * math.pi)
        return self._log_weights - exponent / 2, pull
