"""Boosting of discriminator guidance: samples classified as generated get a larger weight and extra noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample


@dataclass(frozen=True)
class Boosting:
    """First-stage discriminator guidance whose strength and churn depend on each sample's own log-ratio.

    Given to `guidelab.core.samplers.boosted`, which is the only sampler that churns samples apart. The defaults are
    the released constants. (The paper says "every odd step" for both; its code churns every fifth.)

    Args:
        log_potential: the discriminator's logit, `(x [B, *event], sigma [B], cond) -> [B]`.
        weight: of the guidance; it acts in the first evaluation of a step only, so Heun halves it.
        sigma_lo, sigma_hi: steps in `(lo, hi]` are guided; in all other steps nothing is classified, and nothing boosted next.
        factor: on the guidance of samples with a log-ratio below 0, at every `factor_every`-th step from the first.
        S_churn: churn of samples whose log-ratio was below 0 at the step before, at every `churn_every`-th step.
        S_noise: std of the churn's noise.
        dtype: the discriminator is evaluated in.
    Source: Kim et al. 2023, arXiv:2211.17091 (appendix, and the constants of the released sampler).
    """

    log_potential: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: float
    sigma_lo: float = 0.0
    sigma_hi: float = math.inf
    factor: float = 2.0
    factor_every: int = 2
    S_churn: float = 4.0
    churn_every: int = 5
    S_noise: float = 1.0
    dtype: torch.dtype = torch.float32

    def gamma(self, step: int, steps: int, log_ratio: Tensor) -> Tensor:
        """Relative increase of each sample's noise level `[B]` float64, from the log-ratio `[B]` of the step before."""
        most = min(self.S_churn / steps, math.sqrt(2.0) - 1.0) if step % self.churn_every == 0 else 0.0
        return most * (log_ratio < 0).to(torch.float64)

    def churns(self, step: int) -> bool:
        """Whether samples may be churned at this step (the first has no step before it)."""
        return step > 0 and step % self.churn_every == 0 and self.S_churn > 0

    def delta(
        self, step: int, start: float, x: Tensor, sigma: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The addition `[B, *event]` to the denoiser's output, and the log-ratio `[B]`.

        Args:
            step: its index, from 0.
            start: noise level the schedule gives the step; it decides whether the step is guided.
            x, sigma, cond: where the step evaluates, `[B, *event]`, `[B]`, `[B]` or None.
        Returns:
            Zeros and +inf where the step is not guided.
        """
        if not self.sigma_lo < start <= self.sigma_hi:
            return torch.zeros_like(x), torch.full_like(sigma, math.inf)
        level = sigma.to(self.dtype)
        with torch.enable_grad():
            point = x.detach().to(self.dtype).requires_grad_(True)
            log_ratio = self.log_potential(point, level, cond)
            (gradient,) = torch.autograd.grad(log_ratio.sum(), point)
        delta = self.weight * per_sample(level, x) ** 2 * gradient
        log_ratio = log_ratio.detach()
        if step % self.factor_every == 0:
            delta = delta * per_sample(torch.where(log_ratio < 0, self.factor, 1.0).to(delta), delta)
        return delta.to(x.dtype), log_ratio
