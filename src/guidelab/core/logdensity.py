"""Exact log-densities of a sampler: the probability-flow ODE as a change of variables.

Every Heun step is a differentiable map, and for small events its Jacobian is known exactly. Summing the steps'
log-determinants therefore gives the density of the *discretised* flow, not an approximation of the continuous one:
it integrates to 1 at any number of steps that leaves the map one-to-one (a few coarse steps fold the plane and count
points twice). Integrating the divergence instead never does exactly.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step

LogDensity = Callable[[Tensor], Tensor]


def flow_log_density(
    predict: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    prior_log_density: LogDensity,
    cond: Tensor | None = None,
) -> Tensor:
    """Log-density `[B]`, at noise level `sigmas[0]`, of the flow's samples at the points `x [B, *event]`.

    Integrates the points up to `sigmas[-1]`, where the density is known, and adds the log-determinants.

    Args:
        predict: denoiser, differentiable in `x`; one with `at_step` is called with the step's *higher* sigma, as
            the sampler that comes down would.
        x: points at noise level `sigmas[0]`; their dtype is the integration's.
        sigmas: strictly ascending noise levels, all above 0.
        prior_log_density: log-density `[B]` of the flow's start, at noise level `sigmas[-1]`.
        cond: class index `[B]` or None.
    Raises:
        ValueError: `sigmas` is not ascending, or `predict` is not differentiable in `x`.
    Source: Chen et al. 2018, arXiv:1806.07366 (densities of flows); Song et al. 2021, arXiv:2011.13456, appendix D.2.
    """
    levels = _levels(sigmas, ascending=True)
    total = x.new_zeros(x.shape[0])
    for low, high in pairwise(levels):
        x, log_det = _step(at_step(predict, high), x, low, high, cond)
        total = total + log_det
    return prior_log_density(x) + total


def sample_with_log_density(
    predict: Denoiser,
    x_init: Tensor,
    sigmas: Tensor | Sequence[float],
    prior_log_density: LogDensity,
    cond: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The sampler's points at `sigmas[-1]` and the exact log-density of the law they were drawn from.

    The points are those of `samplers.heun` with the same levels, before its last step to 0.

    Args:
        predict, prior_log_density, cond: as in `flow_log_density`.
        x_init: draws `[B, *event]` from the prior, at noise level `sigmas[0]`.
        sigmas: strictly descending noise levels, all above 0 (without the 0 that ends a sampler's schedule).
    Returns:
        `x [B, *event]` at `sigmas[-1]` and `log_q [B]`.
    Raises:
        ValueError: `sigmas` is not descending or holds 0, or `predict` is not differentiable in `x`.
    Source: as `flow_log_density`.
    """
    levels = _levels(sigmas, ascending=False)
    x, log_q = x_init, prior_log_density(x_init)
    for high, low in pairwise(levels):
        x, log_det = _step(at_step(predict, high), x, high, low, cond)
        log_q = log_q - log_det
    return x, log_q


def _step(
    predict: Denoiser, x: Tensor, start: float, end: float, cond: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One Heun step from noise level `start` to `end`: the new `x` and the log |det| `[B]` of its Jacobian."""
    size = end - start
    eye = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
    slope, jacobian = _slope(predict, x, start, cond)
    ahead = x + size * slope
    slope_ahead, jacobian_ahead = _slope(predict, ahead, end, cond)
    through = jacobian_ahead @ (eye + size * jacobian)  # chain rule: `ahead` depends on x as well
    step_jacobian = eye + 0.5 * size * (jacobian + through)  # [B, d, d]
    return x + size * (0.5 * slope + 0.5 * slope_ahead), torch.linalg.slogdet(step_jacobian).logabsdet


def _slope(predict: Denoiser, x: Tensor, sigma: float, cond: Tensor | None) -> tuple[Tensor, Tensor]:
    """`(x - D) / sigma`, shaped like `x`, and its Jacobian `[B, d, d]` with `d` the size of the event."""
    level = torch.full((x.shape[0],), sigma, dtype=x.dtype, device=x.device)
    with torch.enable_grad():
        point = x.detach().requires_grad_(True)
        denoised = predict(point, level, cond)
        if not denoised.requires_grad:
            raise ValueError(
                "log-density: predict is not differentiable in x; wanted one evaluated with gradients"
            )
        outputs = denoised.flatten(1)  # [B, d]
        rows = [
            torch.autograd.grad(outputs[:, i].sum(), point, retain_graph=True, materialize_grads=True)[
                0
            ].flatten(1)
            for i in range(outputs.shape[1])
        ]
    eye = torch.eye(outputs.shape[1], dtype=x.dtype, device=x.device)
    jacobian = (eye - torch.stack(rows, dim=1)) / sigma  # [B, d, d]
    return (x - denoised.detach()) / sigma, jacobian.detach()


def _levels(sigmas: Tensor | Sequence[float], ascending: bool) -> list[float]:
    """The noise levels as floats, checked."""
    levels = [float(s) for s in (sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas)]
    sign = 1.0 if ascending else -1.0
    ordered = all(sign * (b - a) > 0 for a, b in pairwise(levels))
    if len(levels) < 2 or not ordered or min(levels) <= 0:
        order = "ascending" if ascending else "descending"
        raise ValueError(
            f"log-density: given sigmas {levels[:3]} ... {levels[-2:]}; wanted strictly {order}, all above 0"
        )
    return levels
