"""Gaussian mixtures with exact log-density, score, posterior mean and samples at every noise level."""

import math
from typing import Self

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample

_CELLS = (
    1 << 20
)  # numbers held per intermediate array: larger batches are worked on in pieces, which stay in cache


class Mixture:
    """`sum_k weights[k] N(means[k], covs[k])`, and the same blurred by noise of standard deviation sigma.

    Works in log space throughout: far from every component the log-density stays finite and the score stays
    right, where a plain sum of densities underflows to -inf and 0/0.

    Args:
        weights: positive, `[K]`; normalised here.
        means: `[K, d]`.
        covs: symmetric positive semi-definite, `[K, d, d]`.
        dtype: of every result; the decomposition of the covariances is done in float64.
    Raises:
        ValueError: shapes do not agree, or a weight or covariance is not positive.
    """

    def __init__(
        self, weights: Tensor, means: Tensor, covs: Tensor, dtype: torch.dtype = torch.float32
    ) -> None:
        count, dim = means.shape if means.ndim == 2 else (-1, -1)
        if weights.shape != (count,) or covs.shape != (count, dim, dim):
            raise ValueError(
                f"Mixture: given weights {tuple(weights.shape)}, means {tuple(means.shape)}, "
                f"covs {tuple(covs.shape)}; wanted [K], [K, d], [K, d, d]"
            )
        variances, axes = torch.linalg.eigh(covs.double())
        if not (weights > 0).all() or not (variances > -1e-12 * variances.amax()).all():
            raise ValueError("Mixture: wanted positive weights and positive semi-definite covariances")
        shares = weights.double() / weights.double().sum()
        self.dtype = dtype
        self.weights = shares.to(dtype)  # [K]
        self.means = means.to(dtype)  # [K, d]
        self.covs = covs.to(dtype)  # [K, d, d]
        self._parts = (weights, means, covs)
        self._log_weights = shares.log().to(dtype)
        self._cumulative = shares.cumsum(0)[:-1].contiguous()  # [K-1] float64
        self._axes = axes.to(dtype)  # [K, d, d], columns are eigenvectors
        self._variances = variances.clamp_min(0).to(dtype)  # [K, d]

    @property
    def dim(self) -> int:
        """Dimension of a point."""
        return self.means.shape[1]

    def to(self, dtype: torch.dtype) -> Self:
        """The same mixture computing in another floating dtype."""
        return type(self)(*self._parts, dtype=dtype)

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

    def sample(self, z: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Points of the mixture at noise level `sigma`, each made from its own row of normals alone.

        Args:
            z: standard normals `[N, d + 1]`; the first picks the component, the others the place within it.
            sigma: standard deviation of the added noise, `[N]` or one number.
        Returns:
            `[N, d]`.
        Raises:
            ValueError: `z` has another width.
        """
        if z.ndim != 2 or z.shape[1] != self.dim + 1:
            raise ValueError(f"Mixture.sample: given z {tuple(z.shape)}, wanted [N, {self.dim + 1}]")
        z = z.to(self.dtype)
        which = torch.bucketize(torch.special.ndtr(z[:, 0].double()), self._cumulative, right=True)  # [N]
        level = self._levels(z[:, 1:], sigma)
        spread = (self._variances[which] + level[:, None] ** 2).sqrt() * z[:, 1:]  # [N, d], along the axes
        points: Tensor = self.means[which] + (self._axes[which] @ spread[:, :, None])[:, :, 0]
        return points

    def _levels(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return torch.as_tensor(sigma, dtype=self.dtype, device=x.device).expand(x.shape[0])

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
