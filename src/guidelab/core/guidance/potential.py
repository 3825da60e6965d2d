"""Potential guidance: up the gradient of a log-density (ratio). Classifier and discriminator guidance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample


@dataclass(frozen=True)
class Potential:
    """`D = D1 + v sigma^2 grad_x log g(x, sigma, cond)`; neutral at `v = 0`.

    `log g` is `log p(cond | x)` in classifier guidance and `log d / (1 - d)`, a discriminator's *logit*, in
    discriminator guidance. Give the logit itself: a clipped probability has gradient 0 where it saturates.

    Args:
        log_potential: `(x [B, *event], sigma [B], cond) -> [B]`, differentiable in `x`; it takes `x` in sigma's
            units and preconditions inside, so autograd supplies the chain rule.
        weight: `v`.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233; Kim et al. 2023, arXiv:2211.17091.
    """

    log_potential: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: float
    neutral: ClassVar[float] = 0.0

    def delta(self, x: Tensor, sigma: Tensor, cond: Tensor | None, main_out: Tensor) -> Tensor:
        """`v sigma^2 grad_x log g`, shaped like `x [B, *event]`; parameters receive no gradients.

        Differentiable in `x` where gradients are enabled and `x` requires them (the log-density of a guided flow).
        """
        again = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            point = x if again else x.detach().requires_grad_(True)
            total = self.log_potential(
                point, sigma, cond
            ).sum()  # samples are independent: grad of the sum is per sample
            (gradient,) = torch.autograd.grad(total, point, create_graph=again)
        return self.weight * per_sample(sigma, x) ** 2 * gradient

    def at_step(self, sigma: float) -> "Potential":
        """Itself: a potential is the same at every step."""
        return self
