"""Heun's sampler with boosting of discriminator guidance: the only sampler with a separate noise level per sample."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step, per_sample
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.heun import Correct, _levels


@torch.no_grad()
def boosted(
    predict: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    cond: Tensor | None,
    *,
    boosting: Boosting,
    noise: SeededNoise,
    correct: Correct | None = None,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """`heun` with discriminator guidance that is doubled, and preceded by churn, for samples classified as generated.

    Where no sample is boosted it equals `heun(..., correct=Correction([Potential(...)]))` bit for bit.

    Args:
        predict, x, sigmas, cond, correct, callback: as in `heun`.
        boosting: the guidance and its constants.
        noise: one generator per sample. Every sample draws at every step that may churn, boosted or not, so that a
            sample depends on its own seed alone.
    Returns:
        The sample `[B, *event]` at noise level 0.
    Raises:
        ValueError: `sigmas` is not strictly descending to 0.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 2 and its released sampler.
    """
    levels = _levels(sigmas)
    steps = len(levels) - 1
    log_ratio = torch.full(
        (len(x),), math.inf, device=x.device
    )  # no sample is boosted before it was classified
    if callback is not None:
        callback(0, levels[0], x)
    for step in range(steps):
        start, below = levels[step], levels[step + 1]
        here = at_step(predict, start)
        correct_here = None if correct is None else at_step(correct, start)
        level = torch.full((len(x),), start, dtype=torch.float64, device=x.device)
        if boosting.churns(step):
            raised = level * (1 + boosting.gamma(step, steps, log_ratio))
            extra = (raised**2 - level**2).sqrt() * boosting.S_noise  # 0 for samples that are not churned
            x = x + per_sample(extra.to(x.dtype), x) * noise.randn_like(x).to(x)
            level = raised
        sigma = level.to(x.dtype)
        denoised = here(x, sigma, cond)
        delta, log_ratio = boosting.delta(step, start, x, sigma, cond)
        denoised = denoised + delta
        if correct_here is not None:
            denoised = denoised + correct_here(x, sigma, cond, denoised)
        slope = (x - denoised) / per_sample(sigma, x)
        width = per_sample((below - level).to(x.dtype), x)
        ahead = x + width * slope
        if below > 0:
            lower = torch.full((len(x),), below, dtype=x.dtype, device=x.device)
            slope_ahead = (ahead - here(ahead, lower, cond)) / below
            ahead = x + width * (0.5 * slope + 0.5 * slope_ahead)
        x = ahead
        if callback is not None:
            callback(step + 1, below, x)
    return x
