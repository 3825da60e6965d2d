"""Statistics of the 2D toy experiment, where the exact data density is known.

A sample whose coordinates or log-density are not finite is counted as an outlier and a runaway; it never
enters a mean silently, the note says how many there were.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Float64,
    Value,
    as_matrix,
    as_vector,
    judge_tail,
    share,
    std_error,
    with_note,
)

CONTOUR_LOG_P = -1.594  # max log p (2.900) - 2.12^2: level of the contour drawn in arXiv:2406.02507, Fig. 1
CLIP_LOG_P = -20.0  # nats; far below the 0.1 % quantile of the data's own log p (-4.03)
RUNAWAY_RADIUS = 2.0  # data units; the farthest data component is 1.57 from the origin
EMPTY_SHARE = 0.10  # a branch with less than this part of its data mass counts as empty


def mean_log_p(log_p: ArrayLike) -> Value:
    """Mean exact log-density [nats] of generated points [N]. Heavy-tailed: a few runaways own it.

    `ess` is that of the absolute deviations from the median. Points that are not finite are left out, counted,
    and make it `not estimable`.
    """
    values = as_vector(log_p, "log_p")
    kept = values[np.isfinite(values)]
    if len(kept) == 0:
        return Value(float("-inf"), float("nan"), 0.0, f"{NOT_ESTIMABLE}: no point is finite")
    ess, note = judge_tail(np.abs(kept - np.median(kept)))
    value = Value(float(kept.mean()), std_error(kept), ess, note)
    lost = len(values) - len(kept)
    return with_note(value, f"{NOT_ESTIMABLE}: {_lost(lost, len(values))}, left out") if lost else value


def mean_log_p_clipped(log_p: ArrayLike, *, floor: float = CLIP_LOG_P) -> Value:
    """Mean of max(log p, floor); points that are not finite count as the floor."""
    values = as_vector(log_p, "log_p")
    finite = np.isfinite(values)
    clipped = np.where(finite, np.maximum(values, floor), floor)
    return Value(float(clipped.mean()), std_error(clipped), None, _at(~finite, "counted at the floor"))


def median_log_p(log_p: ArrayLike) -> Value:
    """Median log-density; points that are not finite rank lowest.

    The standard error is half the distance between the order statistics one binomial deviation either side.
    """
    values = as_vector(log_p, "log_p")
    finite = np.isfinite(values)
    ranked = np.sort(np.where(finite, values, -np.inf))
    n = len(ranked)
    step = np.sqrt(n) / 2
    low, high = (ranked[int(np.clip(round((n - 1) / 2 + s), 0, n - 1))] for s in (-step, step))
    error = float(high - low) / 2 if np.isfinite(low) and n > 1 else float("nan")
    return Value(float(np.median(ranked)), error, None, _at(~finite, "ranked lowest"))


def outliers_contour(log_p: ArrayLike, *, level: float = CONTOUR_LOG_P) -> Value:
    """Share of points outside the contour of the paper's figure, log p < -1.594 (1.4 % for exact data)."""
    return _below(log_p, level)


def outliers_99(log_p: ArrayLike, *, threshold: float) -> Value:
    """Share of points outside the smallest region that holds 99 % of the data (1 % for exact data).

    Args:
        log_p: [N] exact log-density of the generated points.
        threshold: from `region_threshold(log_p_of_data, 0.99)`; its own sampling error is not in `std_error`.
    """
    return _below(log_p, threshold)


def region_threshold(log_p_of_data: ArrayLike, mass: float = 0.99) -> float:
    """Log-density whose upper level set holds `mass` of the data: the (1 - mass) quantile of log p at data draws.

    Raises:
        ValueError: mass outside (0, 1) or a log-density that is not finite.
    """
    values = as_vector(log_p_of_data, "log_p_of_data")
    if not 0 < mass < 1:
        raise ValueError(f"mass = {mass}: wanted a share between 0 and 1")
    if not np.isfinite(values).all():
        raise ValueError("region_threshold: log p of exact data draws must be finite")
    return float(np.quantile(values, 1 - mass))


def runaways(x: ArrayLike, *, radius: float = RUNAWAY_RADIUS) -> Value:
    """Share of points [N, 2] farther than 2 from the origin, or not finite."""
    points = as_matrix(x, "x").cpu().numpy()
    with np.errstate(over="ignore"):
        return share(~(np.linalg.norm(points, axis=1) <= radius))


def class_wrong(*, log_p_a: ArrayLike, log_p_b: ArrayLike) -> Value:
    """Share of points, meant for class A, that are more likely under class B; not finite ones are not wrong.

    Raises:
        ValueError: different lengths.
    """
    a, b = as_vector(log_p_a, "log_p_a"), as_vector(log_p_b, "log_p_b")
    if a.shape != b.shape:
        raise ValueError(f"class_wrong: {len(a)} log_p_a and {len(b)} log_p_b")
    unknown = ~(np.isfinite(a) & np.isfinite(b))
    return share((b > a) & ~unknown, _at(unknown, "not counted as wrong"))


def mass_covered(branch: ArrayLike, *, mass: ArrayLike) -> Value:
    """Data mass on the branches that are not empty (see `branches_empty`); 1 when none is."""
    counts, masses, n = _counts(branch, mass)
    chance = _chance_empty(counts, masses, n)
    error = float(np.sqrt(np.sum(masses**2 * chance * (1 - chance))))
    return Value(float(masses[counts > _limit(n, masses)].sum()), error)


def branches_empty(branch: ArrayLike, *, mass: ArrayLike) -> Value:
    """Number of branches that received less than 10 % of their data mass.

    With few points thin branches empty by chance: the note gives how many would for exact data of this n. The
    standard error supposes independent counts at the observed shares, with half a point where none was seen.

    Args:
        branch: [N] most likely branch of each point, -1 for none (not finite).
        mass: [K] data mass of each branch, summing to 1.
    """
    counts, masses, n = _counts(branch, mass)
    limit, chance = _limit(n, masses), _chance_empty(counts, masses, n)
    expected = float(np.sum(binom.cdf(limit, n, masses)))
    note = f"exact data: {expected:.1f} at this n" if expected >= 0.05 else ""
    error = float(np.sqrt(np.sum(chance * (1 - chance))))
    return Value(float((counts <= limit).sum()), error, None, note)


def branch_tv(branch: ArrayLike, *, mass: ArrayLike) -> Value:
    """Total variation between the branch histogram and the data masses; points of no branch are lost mass.

    Positive at finite n even for exact data (about 0.4 sum_k sqrt(mass_k / n)): compare equal n only.
    """
    counts, masses, n = _counts(branch, mass)
    shares = np.append(counts / n, 1 - counts.sum() / n)
    gaps = shares - np.append(masses, 0.0)
    signs = np.sign(gaps)
    variance = np.sum(shares * signs**2) - np.sum(shares * signs) ** 2  # of sign(gap of its branch) per point
    return Value(0.5 * float(np.abs(gaps).sum()), 0.5 * float(np.sqrt(max(variance, 0.0) / n)))


def leaf_mass(branch: ArrayLike, *, depth: ArrayLike) -> Value:
    """Share of points on branches of the greatest depth.

    Args:
        branch: [N] branch of each point, -1 for none.
        depth: [K] depth of each branch.
    """
    depths = as_vector(depth, "depth")
    index = _index(branch, len(depths))
    return share((index >= 0) & (depths[index] == depths.max()))


def _below(log_p: ArrayLike, level: float) -> Value:
    values = as_vector(log_p, "log_p")
    finite = np.isfinite(values)
    return share(~finite | (values < level), _at(~finite, "counted as outliers"))


def _lost(lost: int, total: int) -> str:
    return f"{lost} of {total} points not finite"


def _at(bad: NDArray[np.bool_], treatment: str) -> str:
    return f"{_lost(int(bad.sum()), len(bad))}, {treatment}" if bad.any() else ""


def _index(branch: ArrayLike, branches: int) -> NDArray[np.int64]:
    index = as_vector(branch, "branch").astype(np.int64)
    if index.min() < -1 or index.max() >= branches:
        raise ValueError(f"branch: indices {index.min()}..{index.max()}, wanted -1..{branches - 1}")
    return index


def _counts(branch: ArrayLike, mass: ArrayLike) -> tuple[Float64, Float64, int]:
    """Points per branch [K], branch masses [K], and the number of all points, those of no branch included."""
    masses = as_vector(mass, "mass")
    if not np.isclose(masses.sum(), 1.0, atol=1e-5) or masses.min() < 0:
        raise ValueError(f"mass: sums to {masses.sum():.6g}, wanted non-negative branch masses that sum to 1")
    index = _index(branch, len(masses))
    counts = np.bincount(index[index >= 0], minlength=len(masses)).astype(np.float64)
    return counts, masses / masses.sum(), len(index)


def _limit(n: int, masses: Float64) -> Float64:
    """The largest count that is still empty: strictly below 10 % of n * mass."""
    return np.asarray(np.ceil(EMPTY_SHARE * n * masses) - 1)


def _chance_empty(counts: Float64, masses: Float64, n: int) -> Float64:
    """Probability that each branch would be empty in another draw at the observed shares."""
    return np.asarray(binom.cdf(_limit(n, masses), n, np.maximum(counts, 0.5) / n))
