"""Independent units and noise bins, shared by the estimators along sigma.

Arrays hold one draw per point `[N]`, or `[N, R]` when R draws share a unit: the two signs of an antithetic pair,
or one image at several noise levels. Rows are independent of each other, the draws of a row are not; every
standard error is over rows.
"""

import numpy as np
from numpy.typing import NDArray

from guidelab.metrics.value import ArrayLike, Float64, Value, as_vector, judge_tail, std_error

Index = NDArray[np.intp]


def as_units(values: ArrayLike, name: str) -> Float64:
    """A finite float64 array `[N, R]` from `[N]` or `[N, R]`, one row per independent unit.

    Raises:
        ValueError: another shape, an empty array, or a value that is not finite.
    """
    shape = tuple(values.shape)
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(f"{name}: shape {shape}, wanted [N] or [N, R] with one row per independent unit")
    array = as_vector(values.reshape(-1), name).reshape(shape[0], -1)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} are not finite")
    return array


def same_shape(name: str, **arrays: Float64) -> None:
    """ValueError when the named arrays differ in shape."""
    if len({array.shape for array in arrays.values()}) > 1:
        given = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise ValueError(f"{name}: given {given}; wanted one shape")


def unit_mean(terms: Float64, *, heavy: bool) -> Value:
    """Mean of `terms [N, R]` with its standard error over units; `heavy` terms carry size and tail flag."""
    rows = terms.mean(1)
    if not heavy:
        return Value(float(rows.mean()), std_error(rows))
    ess, note = judge_tail(np.abs(rows))
    return Value(float(rows.mean()), std_error(rows), ess, note)


def log_edges(low: float, high: float, bins: int) -> Float64:
    """`bins + 1` edges equally spaced in ln sigma.

    Raises:
        ValueError: not 0 < low < high, or no bin.
    """
    if not 0 < low < high < np.inf or bins < 1:
        raise ValueError(f"sigma {low} to {high} in {bins} bins: wanted 0 < low < high and at least one bin")
    return np.asarray(np.geomspace(low, high, bins + 1), dtype=np.float64)


def bin_index(sigma: Float64, edges: ArrayLike, name: str = "sigma") -> Index:
    """Which bin of the ascending `edges [K+1]` holds each noise level; the ends belong to their bins.

    Raises:
        ValueError: edges that do not ascend from above 0, or a sigma outside them (rounding of 1e-9 allowed).
    """
    borders = as_vector(edges, "edges")
    if len(borders) < 2 or borders[0] <= 0 or (np.diff(borders) <= 0).any():
        raise ValueError(f"edges: given {borders.tolist()}, wanted two or more ascending levels above 0")
    outside = (sigma < borders[0] * (1 - 1e-9)) | (sigma > borders[-1] * (1 + 1e-9))
    if outside.any():
        raise ValueError(
            f"{name}: {int(outside.sum())} of {sigma.size} lie outside {borders[0]:g} to {borders[-1]:g}; "
            "draw them in the stated range, or state another"
        )
    return np.clip(np.searchsorted(borders, sigma, side="right") - 1, 0, len(borders) - 2)


def rows_met(sigma: Float64, edges: ArrayLike) -> Index:
    """How many rows of noise levels `[N, R]` have a draw in each bin, `[K]`: the independent units of a curve."""
    bins = bin_index(sigma, edges)
    return np.array([(bins == k).any(1).sum() for k in range(len(edges) - 1)], dtype=np.intp)


def stratified_sigmas(uniform: ArrayLike, low: float, high: float) -> Float64:
    """Noise levels `[N]`, log-uniform on low to high, one in each of N equal strata of ln sigma.

    Args:
        uniform: [N] uniform draws in [0, 1); entry i moves within stratum i.
        low, high: ends of the range. Bins of `log_edges` hold whole strata when their number divides N.
    """
    move = as_vector(uniform, "uniform")
    log_edges(low, high, 1)
    place = (np.arange(len(move)) + move) / len(move)
    return np.asarray(np.exp(np.log(low) + np.log(high / low) * place))
