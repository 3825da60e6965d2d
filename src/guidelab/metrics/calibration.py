"""Check and recalibrate held-out logits as log-ratios: checks per noise bin, and a temperature and bias per bin.

For the exact ratio r = p/q at every noise level, E_q[r] = 1 and E_p[1/r] = 1, and d = r / (1 + r) is the share of
data among points with that d. All numbers are balanced: each side counts half, for any sizes.

**Bound property: none.** A calibrated ratio can still be a poor one (d = 1/2 everywhere is calibrated).
Source: Guo et al. 2017, arXiv:1706.04599 (expected calibration error, temperature).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from guidelab.metrics.ratio_bounds import log_ratio
from guidelab.metrics.units import as_units, bin_index, same_shape
from guidelab.metrics.value import ArrayLike, Float64, Value, as_vector, judge_tail, std_error, with_note

ECE_BINS = 15  # of the posterior, equally filled; as in the source
_LIMIT = 600.0


@dataclass(frozen=True)
class BinCheck:
    """Calibration between two noise levels.

    Attributes:
        low, high: the noise levels.
        ratio_mean: E_q[r]; 1 for a calibrated ratio, above when model points are called too good.
        inverse_ratio_mean: E_p[1/r]; 1 likewise.
        ece: expected calibration error of d, in probability. Biased upwards: compare with `ece_floor`. No standard
            error.
        ece_floor: what `ece` would be on average for a calibrated d with as many points.
        brier: mean square of (label - d); 1/4 for d = 1/2.
        cross_entropy: of d in nats; log 2 for d = 1/2.
    """

    low: float
    high: float
    ratio_mean: Value
    inverse_ratio_mean: Value
    ece: Value
    ece_floor: float
    brier: Value
    cross_entropy: Value


@dataclass(frozen=True)
class Calibration:
    """l' = scale * l + bias per noise bin; scale 1 and bias 0 where the fit did not help.

    Attributes:
        edges: [K+1] noise levels.
        scale, bias: [K], as applied.
        decrease: K values: cross-entropy before minus after in nats on validation points the fit did not use
            (two halves, each scored by the other's fit); its standard error over units.
        helped: [K] whether that decrease exceeds its standard error; the fit is applied only then.
    """

    edges: Float64
    scale: Float64
    bias: Float64
    decrease: tuple[Value, ...]
    helped: NDArray[np.bool_]

    def apply(self, log_ratios: ArrayLike, sigma: ArrayLike) -> Float64:
        """Calibrated log-ratios `[N, R]` of held-out ones (prior removed) at their noise levels, same shape."""
        ratio, levels = as_units(log_ratios, "log_ratios"), as_units(sigma, "sigma")
        same_shape("apply", log_ratios=ratio, sigma=levels)
        bins = bin_index(levels, self.edges)
        return np.asarray(self.scale[bins] * ratio + self.bias[bins])


def check_calibration(
    *,
    logits_at_data: ArrayLike,
    sigma_at_data: ArrayLike,
    logits_at_model: ArrayLike,
    sigma_at_model: ArrayLike,
    edges: ArrayLike,
    prior_data: float = 0.5,
) -> tuple[BinCheck, ...]:
    """The checks of `BinCheck` for each bin of held-out logits.

    Args:
        logits_at_data, sigma_at_data: [N] or [N, R], rows are independent units.
        logits_at_model, sigma_at_model: [M] or [M, R].
        edges: [K+1] ascending noise levels.
        prior_data: share of data points in the classifier's training batches.

    Raises:
        ValueError: wrong shapes or values, or a bin without points of one side.
    """
    borders = as_vector(edges, "edges")
    data = _binned(logits_at_data, sigma_at_data, "data", borders, prior_data)
    model = _binned(logits_at_model, sigma_at_model, "model", borders, prior_data)
    return tuple(
        _check(float(borders[k]), float(borders[k + 1]), data[k], model[k]) for k in range(len(data))
    )


def fit_calibration(
    *,
    logits_at_data: ArrayLike,
    sigma_at_data: ArrayLike,
    logits_at_model: ArrayLike,
    sigma_at_model: ArrayLike,
    edges: ArrayLike,
    prior_data: float = 0.5,
) -> Calibration:
    """Temperature (as a scale >= 0) and bias per noise bin by balanced cross-entropy on **validation** logits.

    The problem is convex. The fit itself always lowers the cross-entropy of its own points, so whether it helped is
    evaluated on the half of the rows it did not use.

    Args:
        all: as in `check_calibration`, from the validation fold: neither the training's nor the one reported.
    """
    borders = as_vector(edges, "edges")
    data = _binned(logits_at_data, sigma_at_data, "data", borders, prior_data)
    model = _binned(logits_at_model, sigma_at_model, "model", borders, prior_data)
    fits = [_fit(p[0], q[0]) for p, q in zip(data, model, strict=True)]
    decrease = tuple(_cross_fitted(p, q) for p, q in zip(data, model, strict=True))
    helped = np.array([value.value > value.std_error for value in decrease])
    scale, bias = np.array(fits).T
    return Calibration(borders, np.where(helped, scale, 1.0), np.where(helped, bias, 0.0), decrease, helped)


_Points = tuple[Float64, NDArray[np.intp]]  # log-ratios [n] of one bin, and the row of each


def _binned(logits: ArrayLike, sigma: ArrayLike, side: str, edges: Float64, prior: float) -> list[_Points]:
    ratio = log_ratio(logits, f"logits_at_{side}", prior_data=prior)
    levels = as_units(sigma, f"sigma_at_{side}")
    same_shape("calibration", logits=ratio, sigma=levels)
    bins = bin_index(levels, edges, f"sigma_at_{side}")
    rows = np.broadcast_to(np.arange(len(ratio))[:, None], ratio.shape)
    parts = [(ratio[bins == k], rows[bins == k]) for k in range(len(edges) - 1)]
    for k, (values, _) in enumerate(parts):
        if len(values) == 0:
            raise ValueError(
                f"calibration: no {side} point between sigma {edges[k]:g} and {edges[k + 1]:g}. "
                "Draw more, or use fewer bins"
            )
    return parts


def _mean(terms: Float64, rows: NDArray[np.intp], *, heavy: bool = False) -> Value:
    """Mean of a bin's terms; its standard error is over the rows with draws in the bin, which have unequally many terms there.

    Mean = sum over rows of their sums / sum of their counts, so what varies is `sum - mean * count` of each row: the
    counts by themselves, which chance deals out, add nothing.
    """
    _, place = np.unique(rows, return_inverse=True)
    sums, counts = np.bincount(place, terms), np.bincount(place)
    mean = float(terms.mean())
    error = std_error((sums - mean * counts) * len(sums) / len(terms))
    return Value(mean, error, *judge_tail(np.abs(sums))) if heavy else Value(mean, error)


def _check(low: float, high: float, data: _Points, model: _Points) -> BinCheck:
    def side(points: _Points, terms: Float64) -> Value:
        return _mean(terms, points[1], heavy=True)

    ece, floor = _ece(data[0], model[0])
    d_data, d_model = expit(-data[0]), expit(model[0])  # probability given to the wrong side
    return BinCheck(
        low,
        high,
        ratio_mean=side(model, np.exp(np.clip(model[0], None, _LIMIT))),
        inverse_ratio_mean=side(data, np.exp(np.clip(-data[0], None, _LIMIT))),
        ece=ece,
        ece_floor=floor,
        brier=_half(_mean(d_data**2, data[1]), _mean(d_model**2, model[1])),
        cross_entropy=_half(_mean(-log_expit(data[0]), data[1]), _mean(-log_expit(-model[0]), model[1])),
    )


def _half(a: Value, b: Value) -> Value:
    return Value(0.5 * (a.value + b.value), 0.5 * float(np.hypot(a.std_error, b.std_error)))


def _ece(data: Float64, model: Float64) -> tuple[Value, float]:
    """Weighted mean over posterior bins of |share of data - mean d|, and its mean for a calibrated d."""
    ratio = np.concatenate([data, model])
    weights = np.concatenate([np.full(len(data), 0.5 / len(data)), np.full(len(model), 0.5 / len(model))])
    d, label = expit(ratio), np.arange(len(ratio)) < len(data)
    order = np.argsort(ratio, kind="stable")
    _, group = np.unique(ratio[order], return_inverse=True)  # ties stay together
    start = np.searchsorted(group, group)  # rank of the first of each tie
    place = np.empty(len(ratio), dtype=np.intp)
    place[order] = np.minimum(start * ECE_BINS // len(ratio), ECE_BINS - 1)
    gap = np.abs(np.bincount(place, weights * (label - d), ECE_BINS))
    noise = np.bincount(place, weights**2 * d * (1 - d), ECE_BINS)
    floor = float(np.sqrt(2 / np.pi * noise).sum())  # mean of |N(0, v)| is sqrt(2 v / pi)
    return with_note(Value(float(gap.sum()), float("nan")), f"{floor:.4f} on average when calibrated"), floor


def _fit(data: Float64, model: Float64) -> tuple[float, float]:
    """Scale and bias of least balanced cross-entropy; a ridge of one point's weight keeps separable sides finite."""
    ridge = 0.5 / min(len(data), len(model))
    spread = float(np.sqrt(0.5 * (data @ data / len(data) + model @ model / len(model)))) or 1.0

    def loss(theta: Float64) -> tuple[float, Float64]:
        scale, bias = theta[0], theta[1]
        p, q = scale * data / spread + bias, scale * model / spread + bias
        wrong_p, wrong_q = -expit(-p) / (2 * len(p)), expit(q) / (2 * len(q))
        offset = np.array([scale - spread, bias])
        value = -0.5 * (log_expit(p).mean() + log_expit(-q).mean()) + 0.5 * ridge * offset @ offset
        slope = np.array([wrong_p @ data + wrong_q @ model, 0.0]) / spread
        slope[1] = wrong_p.sum() + wrong_q.sum()
        return float(value), slope + ridge * offset

    found = minimize(
        loss,
        np.array([spread, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    return float(found.x[0]) / spread, float(found.x[1])


def _cross_fitted(data: _Points, model: _Points) -> Value:
    """Decrease of the balanced cross-entropy on the rows a fit did not see."""
    gains = [np.zeros(len(points[0])) for points in (data, model)]
    for fold in (0, 1):
        seen = [points[1] % 2 != fold for points in (data, model)]
        if any(not part.any() or part.all() for part in seen):
            return Value(0.0, float("nan"), None, "too few rows to judge")
        scale, bias = _fit(data[0][seen[0]], model[0][seen[1]])
        for gained, points, sign, used in zip(gains, (data, model), (1, -1), seen, strict=True):
            held = sign * points[0][~used]
            gained[~used] = log_expit(scale * held + sign * bias) - log_expit(held)
    return _half(*(_mean(gained, points[1]) for gained, points in zip(gains, (data, model), strict=True)))
