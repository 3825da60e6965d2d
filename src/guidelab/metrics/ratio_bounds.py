"""f-divergences at one noise level from an estimated log-ratio l = log(p/q) at held-out points.

Two kinds. **Plug-in** numbers put the estimated ratio into the definition: right for the exact ratio, a bound of
nothing otherwise. **Variational** numbers evaluate the Fenchel dual E_p[T] - E_q[f*(T)] at T = f'(r): below the
divergence in expectation for *any* ratio, provided no point was used to make it. `BOUND` lists the bounds.

With d = r / (1 + r), all in nats:

    name           plug-in                          nwj, at T = f'(r)
    kl             E_p[l]                           1 + E_p[l] - E_q[r]
    kl_reverse     -E_q[l]                          1 - E_q[l] - E_p[1/r]
    js             log 2 - E_m[entropy of d]        log 2 + E_p[log d]/2 + E_q[log(1-d)]/2 = log 2 - cross-entropy
    chi2           E_q[(r-1)^2]                     E_p[2(r-1)] - E_q[r^2-1]
    chi2_neyman    E_p[(1/r-1)^2]                   E_q[2(1/r-1)] - E_p[1/r^2-1]
    hellinger2     1 - E_q[r^(1/2)]                 1 - E_p[r^(-1/2)]/2 - E_q[r^(1/2)]/2

and Donsker-Varadhan for both KLs: E_p[l] - log E_q[r], and with the sides exchanged. Its logarithm of a sample
mean adds about (standard error of the mean / mean)^2 / 2, so it is a bound only for many points.

The chi^2 bounds subtract a mean of r^2, whose error needs a fourth moment of r. Where that is infinite (Gaussians of
variance 0.25 and 0.36) and the ratio exact, intervals that the tail rule let pass lay above the truth in 26 to 39 %
of the draws: the rule cannot see a tail that was not drawn. The bounds for JS, H^2 and both KLs exceeded in 2 to 5 %.

Source: Nguyen, Wainwright and Jordan 2010, arXiv:0809.0853; Donsker and Varadhan 1983.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.special import expit, log_expit

from guidelab.metrics.divergence import DIVERGENCES
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.units import as_units, unit_mean
from guidelab.metrics.value import NOT_ESTIMABLE, ArrayLike, Float64, Value, with_note

Property = Literal["none", "lower bound", "lower bound for many points"]

BOUND: dict[str, Property] = {
    **{f"{name}_plug_in": "none" for name in DIVERGENCES},
    **{f"{name}_nwj": "lower bound" for name in DIVERGENCES},
    "kl_dv": "lower bound for many points",
    "kl_reverse_dv": "lower bound for many points",
}

_LIMIT = 300.0  # exp(2 * 300) stays finite; `judge_tail` flags a mean with such a term


def is_lower_bound(name: str) -> bool:
    """Whether the named estimate is below its divergence in expectation, for any number of held-out points."""
    return BOUND[name] == "lower bound"


def log_ratio(logits: ArrayLike, name: str = "logits", *, prior_data: float = 0.5) -> Float64:
    """log(p/q) `[N, R]` from a classifier's logits `[N]` or `[N, R]`: minus the log-odds of its training batches.

    Args:
        logits: log of P(data) / P(model) as trained.
        prior_data: share of data points in the training batches.

    Raises:
        ValueError: prior outside (0, 1), a wrong shape, or a logit that is not finite.
    """
    if not 0 < prior_data < 1:
        raise ValueError(f"prior_data = {prior_data}: wanted a share between 0 and 1")
    return np.asarray(as_units(logits, name) - (np.log(prior_data) - np.log1p(-prior_data)))


def ratio_bounds(
    *, logits_at_data: ArrayLike, logits_at_model: ArrayLike, prior_data: float = 0.5
) -> dict[str, Value]:
    """Every estimate of `BOUND` from held-out logits at one noise level, in nats.

    Args:
        logits_at_data: [N] or [N, R] at points of p, the data's law at this noise level; rows are independent units.
        logits_at_model: [M] or [M, R] at points of q, the model's.
        prior_data: share of data points in the classifier's training batches.

    Returns:
        `<divergence>_plug_in`, `<divergence>_nwj` for the six divergences, `kl_dv` and `kl_reverse_dv`. Estimates with
        an unbounded term carry the smaller side's effective sample size and the tail flag.

    Raises:
        ValueError: as `log_ratio`.
    """
    data = log_ratio(logits_at_data, "logits_at_data", prior_data=prior_data)
    model = log_ratio(logits_at_model, "logits_at_model", prior_data=prior_data)
    result: dict[str, Value] = {}
    for name, (at_data, at_model, heavy) in _TERMS.items():
        sides = [
            unit_mean(terms(side), heavy=heavy)
            for terms, side in ((at_data, data), (at_model, model))
            if terms is not None
        ]
        result[name] = _sum(sides)
    result["kl_dv"] = _donsker_varadhan(data, model)
    result["kl_reverse_dv"] = _donsker_varadhan(-model, -data)
    return {name: result[name] for name in BOUND}


def bound_curve(
    name: str,
    *,
    logits_at_data: ArrayLike,
    sigma_at_data: ArrayLike,
    logits_at_model: ArrayLike,
    sigma_at_model: ArrayLike,
    edges: ArrayLike,
) -> tuple[Value, ...]:
    """A variational bound in every noise bin: below the mean of the divergence over the bin's draws of sigma.

    Args:
        name: `<divergence>_nwj`.
        logits_at_data, sigma_at_data: [N, R] log-ratios at points of p and their noise levels; standard errors are over
            rows, for any bins of a row's draws.
        logits_at_model, sigma_at_model: [M, R], at points of q.
        edges: [K+1] ascending noise levels.

    Raises:
        ValueError: as `sigma_curve`.
    """
    at_data, at_model, heavy = _TERMS[name]
    assert at_data is not None and at_model is not None  # both sides, for every variational bound
    sides = []
    for terms, logits, sigma in (
        (at_data, logits_at_data, sigma_at_data),
        (at_model, logits_at_model, sigma_at_model),
    ):
        found = sigma_curve(sigma=sigma, contribution=terms(log_ratio(logits)), edges=edges).curve
        sides.append(found if heavy else tuple(replace(v, ess=None, note="") for v in found))
    return tuple(_sum(list(pair)) for pair in zip(*sides, strict=True))


def _exp(exponent: Float64) -> Float64:
    return np.asarray(np.exp(np.clip(exponent, None, 2 * _LIMIT)))


def _square(ratio: Float64) -> Float64:
    """(r - 1)^2, stable near r = 1."""
    return np.asarray(np.expm1(np.clip(ratio, None, _LIMIT)) ** 2)


def _half_entropy_gap(ratio: Float64) -> Float64:
    """(log 2 - entropy of d) / 2."""
    d = expit(ratio)
    return np.asarray(0.5 * (np.log(2) + d * log_expit(ratio) + (1 - d) * log_expit(-ratio)))


_Term = Callable[[Float64], Float64] | None
# name -> terms at data, terms at model, whether a tail can be heavy; the estimate is the sum of both means
_TERMS: dict[str, tuple[_Term, _Term, bool]] = {
    "kl_plug_in": (lambda x: x, None, True),
    "kl_reverse_plug_in": (None, lambda x: -x, True),
    "js_plug_in": (_half_entropy_gap, _half_entropy_gap, False),
    "chi2_plug_in": (None, _square, True),
    "chi2_neyman_plug_in": (lambda x: _square(-x), None, True),
    "hellinger2_plug_in": (None, lambda x: -np.expm1(np.clip(x, None, 2 * _LIMIT) / 2), True),
    "kl_nwj": (lambda x: x, lambda x: 1 - _exp(x), True),
    "kl_reverse_nwj": (lambda x: 1 - _exp(-x), lambda x: -x, True),
    "js_nwj": (
        lambda x: 0.5 * (np.log(2) + log_expit(x)),
        lambda x: 0.5 * (np.log(2) + log_expit(-x)),
        False,
    ),
    "chi2_nwj": (lambda x: 2 * (_exp(x) - 1), lambda x: 1 - _exp(2 * x), True),
    "chi2_neyman_nwj": (lambda x: 1 - _exp(-2 * x), lambda x: 2 * (_exp(-x) - 1), True),
    "hellinger2_nwj": (lambda x: 0.5 * (1 - _exp(-x / 2)), lambda x: 0.5 * (1 - _exp(x / 2)), True),
}


def _sum(sides: list[Value]) -> Value:
    """Sum of independent means; the worse tail speaks for both."""
    value = sum(side.value for side in sides)
    error = math.hypot(*(side.std_error for side in sides))
    sizes = [side.ess for side in sides if side.ess is not None]
    total = Value(value, error, min(sizes) if sizes else None)
    worst = min(sides, key=lambda side: side.ess if side.ess is not None else np.inf)
    flagged = worst if worst.note else next((side for side in sides if side.note), worst)
    return with_note(total, flagged.note)


def _donsker_varadhan(at_first: Float64, at_second: Float64) -> Value:
    """E_first[l] - log E_second[exp l]; first-order error of the logarithm."""
    top = float(at_second.max())
    scaled = unit_mean(np.exp(at_second - top), heavy=True)
    relative = scaled.std_error / scaled.value
    log_mean = Value(-(float(np.log(scaled.value)) + top), relative, scaled.ess, scaled.note)
    total = _sum([unit_mean(at_first, heavy=True), log_mean])
    return total if np.isfinite(relative) else with_note(total, f"{NOT_ESTIMABLE}: a single unit")
