"""Gaussian mixtures: parameters, and samples at every noise level."""

from typing import Self

import torch
from torch import Tensor


class Gaussians:
    """`sum_k weights[k] N(means[k], covs[k])`, and the same blurred by noise of standard deviation sigma.

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
                f"Gaussians: given weights {tuple(weights.shape)}, means {tuple(means.shape)}, "
                f"covs {tuple(covs.shape)}; wanted [K], [K, d], [K, d, d]"
            )
        variances, axes = torch.linalg.eigh(covs.double())
        if not (weights > 0).all() or not (variances > -1e-12 * variances.amax()).all():
            raise ValueError("Gaussians: wanted positive weights and positive semi-definite covariances")
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

    def sample(self, z: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Points at noise level `sigma`, each made from its own row of normals alone.

        Args:
            z: standard normals `[N, d + 1]`; the first picks the component, the others the place within it.
            sigma: standard deviation of the added noise, `[N]` or one number.
        Returns:
            `[N, d]`.
        Raises:
            ValueError: `z` has another width.
        """
        if z.ndim != 2 or z.shape[1] != self.dim + 1:
            raise ValueError(f"Gaussians.sample: given z {tuple(z.shape)}, wanted [N, {self.dim + 1}]")
        z = z.to(self.dtype)
        which = torch.bucketize(torch.special.ndtr(z[:, 0].double()), self._cumulative, right=True)  # [N]
        level = self._levels(z[:, 1:], sigma)
        spread = (self._variances[which] + level[:, None] ** 2).sqrt() * z[:, 1:]  # [N, d], along the axes
        points: Tensor = self.means[which] + (self._axes[which] @ spread[:, :, None])[:, :, 0]
        return points

    def _levels(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return torch.as_tensor(sigma, dtype=self.dtype, device=x.device).expand(x.shape[0])
