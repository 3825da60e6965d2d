"""Heun's second-order sampler of EDM: the only loop over noise levels that draws samples."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step

if TYPE_CHECKING:
    from guidelab.core.samplers.churn import Churn

Correct = Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]


@torch.no_grad()
def heun(
    predict: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    cond: Tensor | None,
    *,
    correct: Correct | None = None,
    churn: "Churn | None" = None,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Integrate the probability-flow ODE `dx/dsigma = (x - D) / sigma` from `sigmas[0]` to 0.

    Calls `predict` twice a step and once in the last (an Euler step to 0): `2 * steps - 1` evaluations. A
    `predict` (or `correct`) with a method `at_step` is called once a step, with the step's own sigma, so both
    evaluations of a step see the same guidance. Everything is computed in the dtype of `x`; wrap a float32
    network with `denoiser.cast` to integrate in float64.

    Args:
        predict: denoiser.
        x: start `[B, *event]` at noise level `sigmas[0]` (already scaled by it); not modified.
        sigmas: descending noise levels, the last one 0.
        cond: class index `[B]` int64, or None.
        correct: added to `D` in the first evaluation of every step only, as discriminator guidance does; called
            with `(x, sigma, cond, D)`. Heun averages both slopes, so its weight acts half.
        churn: fresh noise before each step; None for the deterministic sampler.
        callback: called with `(step, sigma, x)` at the start (step 0) and after every step.
    Returns:
        The sample `[B, *event]` at noise level 0.
    Raises:
        ValueError: `sigmas` is not strictly descending to 0.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2; Kim et al. 2023, arXiv:2211.17091, algorithm 2.
    """
    levels = _levels(sigmas)
    steps = len(levels) - 1
    if callback is not None:
        callback(0, levels[0], x)
    for step in range(steps):
        sigma, below = levels[step], levels[step + 1]
        here = at_step(predict, sigma)
        correct_here = None if correct is None else at_step(correct, sigma)
        gamma = 0.0 if churn is None else churn.gamma(sigma, steps)
        if churn is not None and gamma > 0:
            raised = sigma * (1 + gamma)
            x = x + math.sqrt(raised**2 - sigma**2) * churn.S_noise * churn.noise(step).to(x)
            sigma = raised
        level = _full(x, sigma)
        denoised = here(x, level, cond)
        if correct_here is not None:
            denoised = denoised + correct_here(x, level, cond, denoised)
        slope = (x - denoised) / sigma
        ahead = x + (below - sigma) * slope
        if below > 0:
            slope_ahead = (ahead - here(ahead, _full(x, below), cond)) / below
            ahead = x + (below - sigma) * (0.5 * slope + 0.5 * slope_ahead)
        x = ahead
        if callback is not None:
            callback(step + 1, below, x)
    return x


def _full(x: Tensor, sigma: float) -> Tensor:
    """`sigma` for every sample, `[B]`; filled on the device, so nothing waits for it."""
    return torch.full((x.shape[0],), sigma, dtype=x.dtype, device=x.device)


def _levels(sigmas: Tensor | Sequence[float]) -> list[float]:
    """The schedule as Python floats, read once so that the loop never waits for the device."""
    levels = [float(s) for s in (sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas)]
    descending = all(a > b for a, b in pairwise(levels))
    if len(levels) < 2 or not descending or levels[-1] != 0.0:
        raise ValueError(
            f"heun: given sigmas {levels[:4]} ... {levels[-2:]}; wanted strictly descending, ending in 0"
        )
    return levels
