"""All divergence estimates of one sampler as labelled lines: kind, estimator, measure, range, bound.

Arrays in, lines out. Kinds: `estimate` (of a divergence or of the score error), `truth` (exact, up to the draws it is
averaged over), `target` (exact value of what one estimator estimates, which is not a divergence), `curve` (per unit of
ln sigma, or a mean, in one noise bin), `check` (calibration, two-sample test), `coverage` (over repeats).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from guidelab.metrics.calibration import Calibration, check_calibration, fit_calibration
from guidelab.metrics.divergence import DIVERGENCES
from guidelab.metrics.divergence_weights import STEADY_MEASURE, weight
from guidelab.metrics.ratio_bounds import bound_curve, is_lower_bound, ratio_bounds
from guidelab.metrics.sigma_curve import SigmaCurve, sigma_curve
from guidelab.metrics.sigma_integral import integral
from guidelab.metrics.two_sample import auc, two_sample_test
from guidelab.metrics.units import rows_met
from guidelab.metrics.value import NOT_ESTIMABLE, Float64, Value, share

NATS, DENSITY, PURE = "nats", "nats per ln sigma", ""
CURVES = ("kl", "kl_reverse", "js")  # bounds in every noise bin
WEIGHED = ("kl_reverse", "js", "chi2")  # KL's own weight is 1: its product is the mismatch
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Line:
    """One number and what it is; `n` counts independent units: of its side, of both sides' the smaller."""

    kind: str
    estimator: str
    divergence: str
    measure: str
    sigma_lo: float
    sigma_hi: float
    value: Value
    n: int
    bound: bool = False
    unit: str = NATS


@dataclass(frozen=True)
class Logits:
    """A grader's logits [N, R] at points of both sides, and their noise levels [N, R]."""

    at_data: Float64
    sigma_at_data: Float64
    at_model: Float64
    sigma_at_model: Float64

    @property
    def n(self) -> int:
        """Units of the smaller side."""
        return min(len(self.at_data), len(self.at_model))

    @property
    def arrays(self) -> dict[str, Any]:
        """The four arrays by the names that metrics take them under."""
        names = ("logits_at_data", "sigma_at_data", "logits_at_model", "sigma_at_model")
        return dict(zip(names, vars(self).values(), strict=True))

    def first(self, draws: int) -> "Logits":
        """Of every unit the first draws."""
        return Logits(*(side[:, :draws] for side in vars(self).values()))

    def mapped(self, change: Callable[[Float64, Float64], Float64]) -> "Logits":
        """Logits changed as a function of logit and noise level."""
        data, model = change(self.at_data, self.sigma_at_data), change(self.at_model, self.sigma_at_model)
        return Logits(data, self.sigma_at_data, model, self.sigma_at_model)


def estimates(given: Logits, lo: float, hi: float, tag: str = "") -> Iterator[Line]:
    """Plug-in and variational estimates from logits at one noise level."""
    sizes = {"p": len(given.at_data), "q": len(given.at_model)}
    for name, value in ratio_bounds(logits_at_data=given.at_data, logits_at_model=given.at_model).items():
        divergence, estimator = _split(name)
        measure = "p and q" if estimator != "plug_in" else _PLUG_IN_MEASURE[divergence]
        n, bound = sizes.get(measure, given.n), is_lower_bound(name)
        yield Line("estimate", estimator + tag, divergence, measure, lo, hi, value, n, bound)


_PLUG_IN_MEASURE = {
    "kl": "p",
    "kl_reverse": "q",
    "js": "m",
    "chi2": "q",
    "chi2_neyman": "p",
    "hellinger2": "q",
}


def _split(name: str) -> tuple[str, str]:
    """`chi2_neyman_plug_in` -> ("chi2_neyman", "plug_in")."""
    estimator = next(e for e in ("plug_in", "nwj", "dv") if name.endswith(f"_{e}"))
    return name.removesuffix(f"_{estimator}"), estimator


def bound_curves(given: Logits, edges: Float64) -> Iterator[Line]:
    """The variational bounds in every noise bin: below the divergence's mean over the bin."""
    met = np.minimum(*(rows_met(sigma, edges) for sigma in (given.sigma_at_data, given.sigma_at_model)))
    for name in CURVES:
        found = bound_curve(f"{name}_nwj", **given.arrays, edges=edges)
        for k, value in enumerate(found):
            span = float(edges[k]), float(edges[k + 1])
            yield Line("curve", "nwj", name, "p and q", *span, value, int(met[k]), True)


def curve_lines(
    estimator: str,
    divergence: str,
    measure: str,
    found: SigmaCurve,
    sides: Sequence[Float64],
    *,
    kind: str,
    bound: bool,
) -> Iterator[Line]:
    """A total in nats, then its curve; `sides`: the noise levels [N, R] each side was drawn at, for n."""
    n = min(len(sigma) for sigma in sides)
    yield Line(kind, estimator, divergence, measure, found.low, found.high, found.total, n, bound)
    met = np.min([rows_met(sigma, found.edges) for sigma in sides], axis=0)
    for k, value in enumerate(found.curve):
        span = float(found.edges[k]), float(found.edges[k + 1])
        yield Line("curve", estimator, divergence, measure, *span, value, int(met[k]), bound, DENSITY)


def integrals(
    given: Logits, gap_at_data: Float64, gap_at_model: Float64, edges: Float64, at_top: Mapping[str, Value]
) -> Iterator[Line]:
    """The sigma integral of each divergence by the grader's own gradient, in its steadiest measure. No bound.

    Args:
        given: logits along sigma.
        gap_at_data, gap_at_model: squared norm of the logit's gradient, [N, R] and [M, R].
        edges: of the noise bins.
        at_top: each divergence at the upper end, `<name>_nwj`: a constant error of the logit does not enter twice there.
    """
    sides = {
        "p": (given.sigma_at_data, given.at_data, gap_at_data),
        "q": (given.sigma_at_model, given.at_model, gap_at_model),
    }
    sides["m"] = tuple(np.concatenate(pair) for pair in zip(sides["p"], sides["q"], strict=True))  # type: ignore[assignment]
    from_data = np.concatenate([np.ones_like(given.at_data), np.zeros_like(given.at_model)])
    for name in DIVERGENCES:
        measure = STEADY_MEASURE[name]
        sigma, ratio, gap = sides[measure]
        found = integral(
            name,
            sigma=sigma,
            log_ratio=ratio,
            squared_gap=gap,
            measure=measure,
            edges=edges,
            from_data=from_data if measure == "m" else None,
            at_sigma_max=at_top[f"{name}_nwj"],
        )
        drawn = [sides[side][0] for side in (measure if measure != "m" else "pq")]
        lines = list(curve_lines("integral", name, measure, found, drawn, kind="estimate", bound=False))
        yield from lines if name in CURVES else lines[:1]


def weights(given: Logits, error: Float64 | None, edges: Float64) -> Iterator[Line]:
    """Under p in every bin: the mean posterior, the mean weight f''(r) r, and weight times score error.

    Args:
        given: logits along sigma.
        error: sigma^2 |s_p - s|^2 at the data's points [N, R], where the true score is known.
        edges: of the noise bins.
    """
    n, met = len(given.at_data), rows_met(given.sigma_at_data, edges)

    def means(estimator: str, name: str, terms: Float64, unit: str) -> Iterator[Line]:
        found = sigma_curve(sigma=given.sigma_at_data, contribution=terms, edges=edges)
        for k, value in enumerate(found.curve):
            span = float(edges[k]), float(edges[k + 1])
            yield Line("curve", estimator, name, "p", *span, value, int(met[k]), False, unit)
        if unit == DENSITY:
            yield Line("estimate", estimator, name, "p", found.low, found.high, found.total, n)

    yield from means("posterior", "", expit(given.at_data), PURE)
    for name in WEIGHED:
        factors = weight(name, "p", given.at_data)
        yield from means("weight", name, factors, PURE)
        if error is not None:
            yield from means("product", name, factors * error, DENSITY)


def calibrated(fitted: Logits, edges: Float64) -> tuple[Calibration, list[Line]]:
    """A calibration fitted on other points than those reported, and a line for each bin's scale and bias."""
    found = fit_calibration(**fitted.arrays, edges=edges)
    lines = []
    for k, helped in enumerate(found.helped):
        note = (
            f"cross-entropy lower by {found.decrease[k].value:.2g}" if helped else "did not help: not applied"
        )
        for name, value in (("scale", found.scale[k]), ("bias", found.bias[k])):
            told = Value(float(value), float("nan"), None, note)
            lines.append(Line("check", name, "", "", edges[k], edges[k + 1], told, fitted.n, False, PURE))
    return found, lines


def checks(given: Logits, edges: Float64, tag: str = "") -> Iterator[Line]:
    """Calibration of each noise bin."""
    met = {
        "p": rows_met(given.sigma_at_data, edges),
        "q": rows_met(given.sigma_at_model, edges),
    }
    met["m"] = np.minimum(met["p"], met["q"])
    found = check_calibration(**given.arrays, edges=edges)
    for k, one in enumerate(found):
        for name, measure, value in (
            ("ratio_mean", "q", one.ratio_mean),
            ("inverse_ratio_mean", "p", one.inverse_ratio_mean),
            ("ece", "m", one.ece),
            ("cross_entropy", "m", one.cross_entropy),
        ):
            n = int(met[measure][k])
            yield Line("check", name + tag, "", measure, one.low, one.high, value, n, False, PURE)


def two_samples(given: Logits, sigma: float, permutations: int, seed: int) -> Iterator[Line]:
    """Two-sample test at one noise level: accuracy with its p-value, and the AUC; one draw a point."""
    data, model = given.at_data[:, 0], given.at_model[:, 0]
    found = two_sample_test(scores_at_data=data, scores_at_model=model, permutations=permutations, seed=seed)
    p = Value(found.p_value, float("nan"), None, f"{permutations} shuffles of the labels")
    values = {
        "accuracy": found.statistic,
        "p_value": p,
        "auc": auc(scores_at_data=data, scores_at_model=model),
    }
    for name, value in values.items():
        yield Line("check", name, "", "p and q", sigma, sigma, value, given.n, False, PURE)


def coverage(found: list[Value], target: Value, *, like: Line, truth: float | None = None) -> Iterator[Line]:
    """How often 95 % intervals of independent repeats hold what they estimate, and how often they lie above a truth.

    Args:
        found: the estimate of each repeat.
        target: what it estimates, from all repeats together or exactly.
        like: what it is.
        truth: what the estimate is a lower bound of.
    """
    value, error = np.array([v.value for v in found]), np.array([v.std_error for v in found])
    flagged = sum(not v.estimable for v in found)
    note = f"{len(found)} repeats; target {target.value:.5g} +- {target.std_error:.1g}"
    note += f"; {flagged} repeats flagged" if flagged else ""
    if 2 * flagged > len(found):  # an estimable mean is rarely flagged, a heavy tail in most repeats
        note = f"{NOT_ESTIMABLE}: {note}"

    def line(kind: str, hits: "np.ndarray") -> Line:
        told = share(hits, note)
        span = (like.sigma_lo, like.sigma_hi)
        return Line(
            kind, like.estimator, like.divergence, like.measure, *span, told, like.n, like.bound, PURE
        )

    yield line("coverage", np.abs(value - target.value) <= Z95 * error)
    if truth is not None and like.bound:
        yield line("above truth", value - Z95 * error > truth)
