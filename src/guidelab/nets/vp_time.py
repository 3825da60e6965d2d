"""Time of the variance-preserving diffusion that ADM's classifiers were trained with, and noise levels.

`x_vp = m(t) x_0 + s(t) n` with `m = exp(-B/2)`, `s^2 = 1 - exp(-B)`, `B(t) = t beta_0 + t^2 (beta_1 - beta_0) / 2`.
A sample `x` at EDM's noise level sigma is `x_vp = x / sqrt(1 + sigma^2)` at the time `tau(sigma)`.

Source: Kim et al. 2023, arXiv:2211.17091, appendix (beta_0 = 0.1, beta_1 = 20 after Song et al. 2021, arXiv:2011.13456).
"""

import math

import torch
from torch import Tensor

BETA_0, BETA_1 = 0.1, 20.0
TIME_MIN = 1e-5  # shortest training time; sigma 0.001
STEPS = 999  # networks get `999 t`: the last index of 1000 discrete steps
_COSINE_SHIFT = 0.008  # Nichol & Dhariwal 2021, arXiv:2102.09672
_PERIOD = 10000.0  # longest period of the sinusoids; Vaswani et al. 2017, arXiv:1706.03762


def integrated_beta(t: Tensor) -> Tensor:
    """`B(t)`, any shape."""
    return 0.5 * t**2 * (BETA_1 - BETA_0) + t * BETA_0


def marginal_mean(t: Tensor) -> Tensor:
    """`m(t)`, what is left of the signal."""
    return torch.exp(-0.5 * integrated_beta(t))


def marginal_std(t: Tensor) -> Tensor:
    """`s(t)`, the noise's standard deviation."""
    return torch.sqrt(-torch.expm1(-integrated_beta(t)))


def time_of_sigma(sigma: Tensor) -> Tensor:
    """`tau(sigma)`: the time at which noise stands to signal as sigma to 1; there `m = 1 / sqrt(1 + sigma^2)`.

    As released: at small sigma two near numbers are subtracted, which float32 turns into a relative error of 2e-5.
    """
    root = torch.sqrt(BETA_0**2 + 2 * (BETA_1 - BETA_0) * torch.log(1 + sigma**2))
    return (-BETA_0 + root) / (BETA_1 - BETA_0)


def sigma_of_time(t: Tensor) -> Tensor:
    """The noise level of a time, inverse of `time_of_sigma`."""
    return torch.sqrt(torch.expm1(integrated_beta(t)))


def cosine_time(t: Tensor) -> Tensor:
    """The time at which ADM's cosine schedule has left as much signal as the linear one at `t` (64 px classifiers)."""
    first = math.cos(_COSINE_SHIFT / (1 + _COSINE_SHIFT) * math.pi / 2)
    angle = torch.arccos(first * marginal_mean(t))
    return (1 + _COSINE_SHIFT) * 2 / math.pi * angle - _COSINE_SHIFT


def log_sigma_squared(t: Tensor) -> Tensor:
    """`ln sigma(t)^2 = ln(1 - exp(-B)) + B`: uniform for the training times of discriminator guidance.

    It is the antiderivative of `g^2 / s^2`. Written as released, whose float32 gives 23.852 instead of 23.864
    for the length of the interval; train with sigmas drawn log-uniformly, which needs neither.
    """
    b = integrated_beta(t)
    return torch.log(1 - torch.exp(-b)) + b


def log_uniform_length(dtype: torch.dtype = torch.float64) -> Tensor:
    """Length of the interval of `ln sigma^2` that training times cover, from `TIME_MIN` to 1: 23.864 in float64."""
    ends = log_sigma_squared(torch.tensor([TIME_MIN, 1.0], dtype=dtype))
    return ends[1] - ends[0]


def sinusoidal(steps: Tensor, channels: int) -> Tensor:
    """Cosines, then sines, of time steps `[B]` at geometrically spaced frequencies: `[B, channels]`."""
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=steps.device) / half
    angles = steps[:, None].to(torch.float32) * torch.exp(-math.log(_PERIOD) * exponents)
    waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    waves = torch.cat([waves, torch.zeros_like(waves[:, :1])], dim=-1) if channels % 2 else waves
    return waves.to(steps.dtype)
