"""f-divergences between data p and model q from log-densities at points drawn from each.

With r = p / q, l = log r and the mixture m = (p + q) / 2, every divergence is D = E_m[g(l)] with
g = 2 f(r) / (1 + r) and f shifted so that f(1) = f'(1) = 0. Then g >= 0 and, compared with the mean of f over
one side, g grows more slowly: bounded for JS and Hellinger, bounded on the model's side for KL(p||q), linear
instead of quadratic in r for Pearson's chi^2. Points near l = 0 contribute l^2 where log r itself would
contribute noise of order l. The mixture is sampled by strata: half the weight on p's points, half on q's.

All values are in nats. The shift uses that both densities integrate to one; `density_balance` measures that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Float64,
    Value,
    as_vector,
    judge_tail,
    std_error,
    with_note,
)

LOG_LIMIT = (
    600.0  # exp(600) = 4e260 leaves room for sums; a ratio beyond it counts as infinite, and is flagged
)


@dataclass(frozen=True)
class LogRatios:
    """log(p/q) at the data's points [N] and at the model's points [M].

    A point with a log-density that is not finite counts as perfectly distinguished by the two densities:
    +inf at a data point, -inf at a model point. `not_finite` counts them on each side (data, model).
    """

    at_data: Float64
    at_model: Float64
    not_finite: tuple[int, int]


def log_ratios(
    *,
    log_p_at_data: ArrayLike,
    log_q_at_data: ArrayLike,
    log_p_at_model: ArrayLike,
    log_q_at_model: ArrayLike,
) -> LogRatios:
    """log p - log q in float64 at both sets of points.

    Raises:
        ValueError: the two log-densities of one set differ in length.
    """
    data = _difference(log_p_at_data, log_q_at_data, "data")
    model = _difference(log_p_at_model, log_q_at_model, "model")
    bad_data, bad_model = ~np.isfinite(data), ~np.isfinite(model)
    data[bad_data], model[bad_model] = np.inf, -np.inf
    return LogRatios(data, model, (int(bad_data.sum()), int(bad_model.sum())))


def _difference(log_p: ArrayLike, log_q: ArrayLike, side: str) -> Float64:
    p, q = as_vector(log_p, f"log_p_at_{side}"), as_vector(log_q, f"log_q_at_{side}")
    if p.shape != q.shape:
        raise ValueError(
            f"log_ratios: {len(p)} log_p_at_{side} and {len(q)} log_q_at_{side}, wanted equally many"
        )
    with np.errstate(invalid="ignore"):  # inf - inf is counted by the caller
        return p - q


def _expm1(ratio: Float64) -> Float64:
    """exp(l) - 1, infinite beyond the limit: such points are counted and flagged, never summed as if measured."""
    return np.where(ratio > LOG_LIMIT, np.inf, np.expm1(np.clip(ratio, None, LOG_LIMIT)))


def _kl(ratio: Float64) -> Float64:
    """2 (r log r - r + 1) / (1 + r): quadratic at 0, 2 for r -> 0, 2 l for r -> inf."""
    with np.errstate(invalid="ignore"):
        product = np.where(ratio == -np.inf, 0.0, expit(ratio) * ratio)
    return np.asarray(2 * (product - np.tanh(ratio / 2)))


def _pearson(ratio: Float64) -> Float64:
    """2 (r - 1)^2 / (1 + r) = 2 (r - 1) tanh(l/2)."""
    return np.asarray(2 * _expm1(ratio) * np.tanh(ratio / 2))


def _js(ratio: Float64) -> Float64:
    """log 2 - entropy of the posterior d = r / (1 + r)."""
    bounded = np.clip(ratio, -LOG_LIMIT, LOG_LIMIT)  # d log d -> 0 at both ends
    entropy = -(expit(bounded) * log_expit(bounded) + expit(-bounded) * log_expit(-bounded))
    return np.asarray(np.log(2) - entropy)


def _hellinger2(ratio: Float64) -> Float64:
    """(sqrt(r) - 1)^2 / (1 + r) = 1 - sech(l/2), written without cancellation."""
    half = np.tanh(ratio / 4) ** 2
    return np.asarray(2 * half / (1 + half))


@dataclass(frozen=True)
class _Divergence:
    integrand: Callable[[Float64], Float64]  # g(l) under the mixture
    bounded: bool


DIVERGENCES: dict[str, _Divergence] = {
    "kl": _Divergence(_kl, False),  # KL(p||q) = int p log(p/q)
    "kl_reverse": _Divergence(lambda ratio: _kl(-ratio), False),  # KL(q||p)
    "js": _Divergence(_js, True),  # 1/2 KL(p||m) + 1/2 KL(q||m) <= log 2
    "chi2": _Divergence(_pearson, False),  # Pearson: int (p-q)^2 / q
    "chi2_neyman": _Divergence(lambda ratio: _pearson(-ratio), False),  # int (p-q)^2 / p
    "hellinger2": _Divergence(_hellinger2, True),  # 1/2 int (sqrt p - sqrt q)^2 <= 1
}


def divergences(ratios: LogRatios, names: Iterable[str] = tuple(DIVERGENCES)) -> dict[str, Value]:
    """The named divergences with standard errors; unbounded ones with an effective sample size and the tail flag.

    A point that is not finite enters bounded integrands with their limit. Where the integrand itself is
    infinite, the point is left out, counted in the note, and the value is `not estimable`.

    Args:
        ratios: from `log_ratios`.
        names: keys of `DIVERGENCES`.

    Raises:
        KeyError: a name that is not in `DIVERGENCES`.

    Source: Liese and Vajda 2006 for the family; the mixture form is stratified sampling of its definition.
    """
    return {name: _estimate(DIVERGENCES[name], ratios) for name in names}


def _estimate(divergence: _Divergence, ratios: LogRatios) -> Value:
    # Rounding leaves -1e-17 where r = 1; the integrand is non-negative.
    sides = [np.maximum(divergence.integrand(side), 0.0) for side in (ratios.at_data, ratios.at_model)]
    finite = [side[np.isfinite(side)] for side in sides]
    lost = sum(len(side) for side in sides) - sum(len(side) for side in finite)
    if min(len(side) for side in finite) == 0:
        return Value(float("inf"), float("nan"), 0.0, f"{NOT_ESTIMABLE}: no finite point on one side")
    value = Value(
        value=float(np.mean([side.mean() for side in finite])),
        std_error=0.5 * float(np.hypot(std_error(finite[0]), std_error(finite[1]))),
    )
    if not divergence.bounded:
        ess, note = judge_tail(np.concatenate([side / len(side) for side in finite]))
        value = with_note(Value(value.value, value.std_error, ess), note)
    total = sum(len(side) for side in sides)
    if lost:
        return with_note(
            value, f"{NOT_ESTIMABLE}: {lost} of {total} points with infinite integrand, left out"
        )
    if any(ratios.not_finite):
        return with_note(value, f"{sum(ratios.not_finite)} of {total} points not finite, taken as told apart")
    return value


def one_sided(ratios: LogRatios) -> dict[str, Value]:
    """The textbook means over one side, for cross-checks: larger variance, but no use of normalisation.

    kl = E_p[l], kl_reverse = -E_q[l], chi2 = E_p[r] - 1, chi2_neyman = E_q[1/r] - 1, hellinger2 = 1 - E_q[r^(1/2)].
    """
    data, model = ratios.at_data, ratios.at_model
    terms = {
        "kl": data,
        "kl_reverse": -model,
        "chi2": _expm1(data),
        "chi2_neyman": _expm1(-model),
        "hellinger2": -_expm1(model / 2),
    }
    result = {}
    for name, values in terms.items():
        kept = values[np.isfinite(values)]
        if len(kept) == 0:
            result[name] = Value(float("inf"), float("nan"), 0.0, f"{NOT_ESTIMABLE}: no finite point")
            continue
        ess, note = judge_tail(np.abs(kept))
        value = Value(float(kept.mean()), std_error(kept), ess, note)
        if len(kept) < len(values):
            left_out = (
                f"{NOT_ESTIMABLE}: {len(values) - len(kept)} of {len(values)} points not finite, left out"
            )
            value = with_note(value, left_out)
        result[name] = value
    return result


def density_balance(ratios: LogRatios) -> Value:
    """E_q[d] - E_p[1 - d] with d = p / (p + q): zero when both log-densities are normalised on the same measure.

    Bounded, so always estimable: a solver that loses mass or a density in other units shows here first.
    """
    data, model = expit(-ratios.at_data), expit(ratios.at_model)
    error = float(np.hypot(std_error(data), std_error(model)))
    return Value(float(model.mean() - data.mean()), error)
