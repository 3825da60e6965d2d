"""Integrals over ln sigma from draws: a curve with one value per noise bin, and the total over a stated range.

Draws are log-uniform in sigma over the range, at best one per stratum (`units.stratified_sigmas`). Each bin is
averaged by itself and weighted with its width, so that how many draws fell into it adds no variance.
"""

from dataclasses import dataclass

import numpy as np

from guidelab.metrics.units import Index, as_units, bin_index, same_shape
from guidelab.metrics.value import NOT_ESTIMABLE, ArrayLike, Float64, Value, as_vector, judge_tail, with_note


@dataclass(frozen=True)
class SigmaCurve:
    """A density along ln sigma and its integral.

    Attributes:
        edges: [K+1] ascending noise levels.
        curve: K values, nats per unit of ln sigma: the mean over each bin.
        total: nats, the integral from `edges[0]` to `edges[-1]`, plus the terms its note names.
    """

    edges: Float64
    curve: tuple[Value, ...]
    total: Value

    @property
    def low(self) -> float:
        """Lower end of the total's range."""
        return float(self.edges[0])

    @property
    def high(self) -> float:
        """Upper end of the total's range."""
        return float(self.edges[-1])


@dataclass(frozen=True)
class _Cells:
    """Draws sorted into bins, or into halves of bins by the side they were drawn from."""

    bins: Index  # [N, R]
    cells: Index  # [N, R]
    share: float  # of a bin's weight that each of its cells holds
    n_bins: int
    n_cells: int


def sigma_curve(
    *, sigma: ArrayLike, contribution: ArrayLike, edges: ArrayLike, from_data: ArrayLike | None = None
) -> SigmaCurve:
    """Bin means of contributions per unit of ln sigma, and their sum times the bins' widths.

    The standard error is over rows, for any bins of a row's draws: pairs and images count once.
    It counts sigma's spread inside a bin as noise, so with stratified sigma it is slightly too large for wide bins.

    Args:
        sigma: [N] or [N, R] noise levels, log-uniform within each bin; rows are independent units.
        contribution: same shape, nats per unit of ln sigma.
        edges: [K+1] ascending levels; the range of the total is from the first to the last.
        from_data: same shape, for points of (p + q) / 2: true where drawn from p. Each side counts half.

    Raises:
        ValueError: shapes differ, a value is not finite, a sigma lies outside the edges, or a bin (or one of
            its sides) holds no draw.
    """
    levels, terms = as_units(sigma, "sigma"), as_units(contribution, "contribution")
    same_shape("sigma_curve", sigma=levels, contribution=terms)
    borders = as_vector(edges, "edges")
    cells = _cells(levels, borders, from_data)
    counts = np.bincount(cells.cells.ravel(), minlength=cells.n_cells)
    if (counts == 0).any():
        empty = int(np.flatnonzero(counts == 0)[0]) * cells.n_bins // cells.n_cells
        raise ValueError(
            f"sigma_curve: no draw between sigma {borders[empty]:g} and {borders[empty + 1]:g} (of each side, "
            "for a mixture). Draw more, or use fewer bins"
        )
    means = np.bincount(cells.cells.ravel(), terms.ravel(), cells.n_cells) / counts
    scale = (cells.share / counts)[cells.cells]  # weight of a draw in its bin's mean
    spread = scale * _correction(cells)[cells.cells] * (terms - means[cells.cells])
    widths = np.diff(np.log(borders))
    by_bin = means.reshape(cells.n_bins, -1).sum(1) * cells.share
    curve = tuple(
        _value(float(by_bin[k]), _rows(spread, hit), _rows(scale * terms, hit))
        for k in range(cells.n_bins)
        for hit in (cells.bins == k,)
    )
    width = widths[cells.bins]
    total = _value(float(by_bin @ widths), (width * spread).sum(1), (width * scale * terms).sum(1))
    return SigmaCurve(borders, curve, with_note(total, f"sigma {borders[0]:g} to {borders[-1]:g}"))


def _cells(sigma: Float64, edges: Float64, from_data: ArrayLike | None) -> _Cells:
    bins, count = bin_index(sigma, edges), len(edges) - 1
    if from_data is None:
        return _Cells(bins, bins, 1.0, count, count)
    side = as_units(from_data, "from_data")
    same_shape("sigma_curve", sigma=sigma, from_data=side)
    return _Cells(bins, 2 * bins + (side > 0), 0.5, count, 2 * count)


def _correction(cells: _Cells) -> Float64:
    """sqrt(u / (u - 1)) per cell for its u units: residuals around a fitted mean are too small; nan for u = 1."""
    unit = np.arange(len(cells.cells))[:, None]
    met = np.unique(unit * cells.n_cells + cells.cells)
    units = np.bincount(met % cells.n_cells, minlength=cells.n_cells)
    with np.errstate(divide="ignore"):
        factor = np.sqrt(units / (units - 1))
    return np.asarray(np.where(units > 1, factor, np.nan))


def _rows(values: Float64, hit: np.ndarray) -> Float64:
    """Sums over the draws of each row that were hit, for rows with any."""
    return np.asarray(np.where(hit, values, 0.0)[hit.any(1)].sum(1))


def _value(value: float, spread: Float64, parts: Float64) -> Value:
    """A value from its units' independent deviations `spread [U]` and their `parts [U]` of the sum."""
    ess, note = judge_tail(np.abs(parts))
    scale = float(np.abs(spread).max()) or 1.0  # squares of 1e200 would overflow
    result = Value(value, scale * float(np.linalg.norm(spread / scale)), ess, note)
    if np.isnan(result.std_error):
        return with_note(result, f"{NOT_ESTIMABLE}: a single unit in a bin")
    return result
