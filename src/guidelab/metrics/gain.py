"""How much of a model's score error a guidance term removes, from real points alone.

    gain = int sigma^2 E_p[w (|s_p - s|^2 - |s_p - s - c|^2)] d ln sigma                  (the score-error difference)
         = int sigma^2 E[w (2 c . (-eps/sigma - s) - |c|^2)] d ln sigma                   (what draws can tell)

at x = x0 + sigma eps with x0 a real, held-out point: given x, the mean of -eps/sigma is the true score s_p, so the
second line needs no true score and has exactly the first line's mean, for any score s, any guidance term c and any
weight w(x). sigma^2 d ln sigma = sigma d sigma is half of g^2 dt already: no further 1/2.

**Bound**: the gain never exceeds the model's score error int sigma^2 E_p|s_p - s|^2 d ln sigma (w = 1), in expectation
and on held-out points of the data; it reaches it only for c = s_p - s, and is negative when guidance harms. In nats.
With w = 1 the score error is KL(p||q) for a diffused model density q (up to the prior); for a network's score it
bounds the KL of the *SDE* sampler, never that of the ODE.

Source: Vincent 2011 (denoising score matching); Kim et al. 2023, arXiv:2211.17091 (gain of a discriminator).
"""

import numpy as np

from guidelab.metrics.sigma_curve import SigmaCurve, sigma_curve
from guidelab.metrics.units import as_units
from guidelab.metrics.value import ArrayLike, Float64


def gain_terms(
    *,
    sigma: ArrayLike,
    eps: ArrayLike,
    score: ArrayLike,
    guidance: ArrayLike,
    weight: ArrayLike | None = None,
) -> Float64:
    """sigma^2 w (2 c . (-eps/sigma - s) - |c|^2) per draw `[N, R]`, nats per unit of ln sigma.

    Args:
        sigma: [N] or [N, R]; rows are independent units. Pairs +-eps at one x0 and sigma make a row of two and turn
            the term of order 1/sigma into one of order 1.
        eps: standard normal noise, [N, *event] or [N, R, *event].
        score: the model's score s at x0 + sigma eps, same shape.
        guidance: c, what guidance *adds to the score* there (its weight included), same shape.
        weight: w(x), shape of sigma; a function of the noisy point alone, never of x0 or eps. One by default.
    """
    levels = as_units(sigma, "sigma")
    noise, model, change = (
        _flat(values, levels, name)
        for values, name in ((eps, "eps"), (score, "score"), (guidance, "guidance"))
    )
    target = -noise / levels[..., None] - model
    return _weighted(levels**2 * (change * (2 * target - change)).sum(-1), weight)


def gain_terms_denoised(
    *,
    sigma: ArrayLike,
    clean: ArrayLike,
    denoised: ArrayLike,
    guided: ArrayLike,
    weight: ArrayLike | None = None,
) -> Float64:
    """The same terms from denoisers: w (|x0 - D|^2 - |x0 - D'|^2) / sigma^2 per draw `[N, R]`.

    Args:
        sigma: as in `gain_terms`.
        clean: the real points x0, [N, *event] or [N, R, *event].
        denoised: the model's D(x0 + sigma eps), same shape.
        guided: the guided D' = D + sigma^2 c, same shape.
        weight: as in `gain_terms`.
    """
    levels = as_units(sigma, "sigma")
    x0, plain, moved = (
        _flat(values, levels, name)
        for values, name in ((clean, "clean"), (denoised, "denoised"), (guided, "guided"))
    )
    change = moved - plain  # written with the difference: two close squares would cancel
    return _weighted((change * (2 * (x0 - plain) - change)).sum(-1) / levels**2, weight)


def score_error_terms(
    *,
    sigma: ArrayLike,
    true_score: ArrayLike,
    score: ArrayLike,
    guidance: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Float64:
    """sigma^2 w |s_p - s|^2 per draw `[N, R]`, minus the same with guidance when that is given.

    With guidance this is the exact target of the gain, draw by draw, where the true score is known.

    Args:
        sigma: as in `gain_terms`.
        true_score: s_p at the noisy points, [N, *event] or [N, R, *event].
        score, guidance, weight: as in `gain_terms`.
    """
    levels = as_units(sigma, "sigma")
    gap = _flat(true_score, levels, "true_score") - _flat(score, levels, "score")
    change = gap if guidance is None else _flat(guidance, levels, "guidance")
    return _weighted(levels**2 * (change * (2 * gap - change)).sum(-1), weight)


def gain(*, sigma: ArrayLike, terms: ArrayLike, edges: ArrayLike) -> SigmaCurve:
    """Curve and total of `gain_terms` (or of their denoiser form), sigma log-uniform over the edges' range.

    Returns:
        Nats per unit of ln sigma, and nats. A total below zero beyond its interval: guidance harms the score.
    """
    return sigma_curve(sigma=sigma, contribution=terms, edges=edges)


def score_error_difference(
    *,
    sigma: ArrayLike,
    true_score: ArrayLike,
    score: ArrayLike,
    guidance: ArrayLike,
    edges: ArrayLike,
    weight: ArrayLike | None = None,
) -> SigmaCurve:
    """What the gain estimates, from the true score: unbiased, and without the noise of -eps/sigma."""
    terms = score_error_terms(
        sigma=sigma, true_score=true_score, score=score, guidance=guidance, weight=weight
    )
    return sigma_curve(sigma=sigma, contribution=terms, edges=edges)


def _flat(values: ArrayLike, sigma: Float64, name: str) -> Float64:
    """`[N, R, F]` in float64 from `[N, *event]` (R = 1) or `[N, R, *event]`."""
    shape = tuple(values.shape)
    rows, draws = sigma.shape
    lead = (rows,) if draws == 1 else (rows, draws)
    if shape[: len(lead)] != lead or len(shape) == len(lead) or 0 in shape:
        raise ValueError(f"{name}: shape {shape}, wanted {[*lead, '*event']}")
    return as_units(values.reshape(rows, -1), name).reshape(rows, draws, -1)


def _weighted(terms: Float64, weight: ArrayLike | None) -> Float64:
    if weight is None:
        return terms
    factors = as_units(weight, "weight")
    if factors.shape != terms.shape:
        raise ValueError(f"weight: shape {factors.shape}, wanted {terms.shape}")
    return np.asarray(factors * terms)
