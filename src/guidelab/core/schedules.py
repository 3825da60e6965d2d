"""Noise schedules: descending lists of noise levels that end in 0."""

import torch
from torch import Tensor


def edm_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Noise levels of EDM, float64 `[steps + 1]`: `steps` levels from `sigma_max` to `sigma_min`, then 0.

    Computed in float64 for any dtype of the sampler: the powers lose four digits in float32.

    Args:
        steps: number of sampler steps, at least 1 (1 gives `[sigma_max, 0]`).
        sigma_min, sigma_max: lowest and highest noise level, std of the added noise.
        rho: 1 spaces the levels evenly; larger values crowd them towards `sigma_min` (EDM: 7).
    Raises:
        ValueError: fewer than one step, or not `0 < sigma_min <= sigma_max` and `rho > 0`.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """
    if steps < 1:
        raise ValueError(f"edm_sigmas: given steps={steps}, wanted at least 1")
    if not 0 < sigma_min <= sigma_max or rho <= 0:
        raise ValueError(
            f"edm_sigmas: given sigma_min={sigma_min}, sigma_max={sigma_max}, rho={rho}; "
            "wanted 0 < sigma_min <= sigma_max and rho > 0"
        )
    ramp = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)  # [steps], 0 to 1
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    levels = (high + ramp * (low - high)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])
