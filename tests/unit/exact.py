"""Exact Gaussian mixtures for the tests of core: small, float64, independent of the package."""

import math

import torch
from torch import Tensor


class Blend:
    """Isotropic Gaussian mixture in closed form: the diffused density, its score and its posterior mean."""

    def __init__(self, weights, means, stds) -> None:
        self.weights = torch.as_tensor(weights, dtype=torch.float64)  # [K]
        self.means = torch.as_tensor(means, dtype=torch.float64)  # [K, d]
        self.variances = torch.as_tensor(stds, dtype=torch.float64) ** 2  # [K]

    def _parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        offset = self.means.to(x) - x[:, None, :]  # [B, K, d]
        variance = self.variances.to(x) + sigma[:, None] ** 2  # [B, K]
        square = offset.square().sum(-1)
        log_parts = self.weights.to(x).log() - 0.5 * square / variance
        log_parts = log_parts - 0.5 * x.shape[1] * (2 * math.pi * variance).log()
        return offset, variance, log_parts

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._parts(x, sigma)[2].logsumexp(1)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        offset, variance, log_parts = self._parts(x, sigma)
        share = log_parts.softmax(1) / variance
        return (share[:, :, None] * offset).sum(1)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        return x + sigma[:, None] ** 2 * self.score(x, sigma)


class Counted:
    """A denoiser that counts its calls and notes the noise level and dtype of each."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.sigmas: list[float] = []
        self.dtypes: list[torch.dtype] = []

    @property
    def calls(self) -> int:
        return len(self.sigmas)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        self.sigmas.append(float(sigma[0]))
        self.dtypes.append(x.dtype)
        return self.inner(x, sigma, cond)


def data() -> Blend:
    return Blend([0.6, 0.4], [[-1.0, 0.2], [1.2, -0.3]], [0.3, 0.4])


def model() -> Blend:
    return Blend([0.5, 0.5], [[-0.8, 0.0], [1.0, 0.1]], [0.35, 0.5])


def other() -> Blend:
    return Blend([0.3, 0.7], [[-0.5, 0.4], [0.9, 0.6]], [0.6, 0.7])


def points(count: int = 64, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64) * 1.5
    sigma = (torch.randn(count, generator=generator, dtype=torch.float64) - 0.5).exp()
    return x.to(dtype), sigma.to(dtype)
