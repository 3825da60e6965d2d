"""f-divergences as integrals along sigma of a weighted squared score gap.

    D_f(p_a||q_a) - D_f(p_b||q_b) = int_a^b sigma^2 E[w |s_p - s_q|^2] d ln sigma,   a < b

for p and q diffused by dx = sqrt(2 sigma) dW, whose factor is exactly one: half of g^2 = 2 sigma. The weight w
belongs to the measure of the expectation (`divergence_weights`). Without D_f at the upper end the integral alone
is not the divergence.

**No bound property**: with the gradient of an estimated log-ratio in place of s_p - s_q the integral is consistent,
but an overfit ratio makes it arbitrarily large, on held-out points too. Print it only together with `gain` and
`ratio_bounds`.

Source: Kim et al. 2023, arXiv:2211.17091 (KL, in the time of a general diffusion).
"""

import math

import numpy as np

from guidelab.metrics.divergence_weights import STEADY_MEASURE, Measure, weight
from guidelab.metrics.sigma_curve import SigmaCurve, sigma_curve
from guidelab.metrics.units import as_units, same_shape
from guidelab.metrics.value import ArrayLike, Float64, Value, with_note

__all__ = ["STEADY_MEASURE", "closure", "integral", "integral_terms", "weight"]


def integral_terms(
    name: str, *, sigma: ArrayLike, log_ratio: ArrayLike, squared_gap: ArrayLike, measure: Measure
) -> Float64:
    """w(r) sigma^2 |s_p - s_q|^2 `[N, R]` per draw, in nats per unit of ln sigma.

    Args:
        name: divergence, a key of `STEADY_MEASURE`, which names the measure to prefer.
        sigma: [N] or [N, R].
        log_ratio: log(p/q) at the noisy points, same shape.
        squared_gap: |s_p - s_q|^2 there: a sum over dimensions, in score units (1 / length^2), same shape. From
            denoisers, |D_p - D_q|^2 / sigma^4; of a gradient with respect to m(sigma) x, m^2 times its square.
        measure: where the noisy points come from: "p", "q" or "m" = (p + q) / 2.
    """
    levels, ratio = as_units(sigma, "sigma"), as_units(log_ratio, "log_ratio")
    gap = as_units(squared_gap, "squared_gap")
    same_shape("integral_terms", sigma=levels, log_ratio=ratio, squared_gap=gap)
    return np.asarray(weight(name, measure, ratio) * levels**2 * gap)


def integral(
    name: str,
    *,
    sigma: ArrayLike,
    log_ratio: ArrayLike,
    squared_gap: ArrayLike,
    measure: Measure,
    edges: ArrayLike,
    from_data: ArrayLike | None = None,
    at_sigma_max: Value | None = None,
) -> SigmaCurve:
    """The curve of a divergence along ln sigma and its total over the range of `edges`.

    Rows are independent units: give both signs of an antithetic pair, or an image's noise levels, as one row.

    Args:
        name, sigma, log_ratio, squared_gap, measure: as in `integral_terms`; sigma is log-uniform.
        edges: [K+1] ascending levels.
        from_data: for measure "m", true for the points drawn from p; each side counts half in each bin.
        at_sigma_max: the divergence at the upper end, estimated independently; added to the total.

    Returns:
        Curve and total in nats. The total's note states its range and whether the upper end is in it.

    Raises:
        ValueError: as `sigma_curve`; `from_data` missing for "m" or given for another measure.
    """
    if (measure == "m") != (from_data is not None):
        raise ValueError(f"integral under {measure!r}: from_data is wanted for 'm' and for no other measure")
    found = sigma_curve(
        sigma=sigma,
        contribution=integral_terms(
            name, sigma=sigma, log_ratio=log_ratio, squared_gap=squared_gap, measure=measure
        ),
        edges=edges,
        from_data=from_data,
    )
    if at_sigma_max is None:
        return SigmaCurve(found.edges, found.curve, with_note(found.total, "without D(sigma_max)"))
    total = Value(
        found.total.value + at_sigma_max.value,
        float(np.hypot(found.total.std_error, at_sigma_max.std_error)),
        found.total.ess,
        found.total.note,
    )
    note = at_sigma_max.note if not at_sigma_max.estimable else "with D(sigma_max)"
    return SigmaCurve(found.edges, found.curve, with_note(total, note))


def closure(*, at_low: Value, at_high: Value, between: Value) -> Value:
    """D(a) - D(b) - integral from a to b: zero within its interval when ratio and score gap belong together.

    Args:
        at_low: divergence at the lower noise level a.
        at_high: at the higher level b.
        between: total of `integral` over a to b, without D(sigma_max).

    Returns:
        The defect in nats; its standard error takes the three as independent.
    """
    parts = (at_low, at_high, between)
    defect = Value(
        at_low.value - at_high.value - between.value,
        math.hypot(*(part.std_error for part in parts)),
    )
    flagged = [part.note for part in parts if not part.estimable]
    return with_note(defect, flagged[0] if flagged else "")
