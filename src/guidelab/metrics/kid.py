"""Kernel distance (KID): the unbiased squared maximum mean discrepancy of the cubic polynomial kernel."""

from dataclasses import replace

import numpy as np
import torch

from guidelab.metrics.value import (
    NOT_ESTIMABLE,
    ArrayLike,
    Float64,
    Value,
    as_matrix,
    judge_tail,
    with_note,
)

BLOCKS = 20  # deleted in turn for the standard error; at 1,000 rows a block still holds 50
DEGREE, OFFSET = 3, 1.0  # k(x, y) = (x.y / F + 1)^3


def kid(*, generated: ArrayLike, reference: ArrayLike, blocks: int = BLOCKS) -> Value:
    """Unbiased MMD^2 between features [N, F] and [M, F], from all pairs, with a block jackknife error.

    Unbiased at every n, so sizes may differ; slightly negative values are valid and mean "no difference seen".
    The whole sets are used once, where other implementations average over random subsets of 1,000: the same
    expectation with less noise. The standard error deletes one of `blocks` interleaved blocks of each side in turn
    and adds the two variances: both sides' sampling is in it. For equal distributions, where the leading term of
    the variance vanishes, it errs on the large side.

    Generated rows that are not finite are left out, counted in the note, and make the value `not estimable`.

    Raises:
        ValueError: sides with other numbers of features, fewer than 2 rows a side, a reference that is not finite.

    Source: Binkowski et al. 2018, arXiv:1801.01401.
    """
    x, y = as_matrix(generated, "generated").cpu(), as_matrix(reference, "reference", rows=2).cpu()
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"kid: {x.shape[1]} features generated, {y.shape[1]} in the reference")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("kid: the reference holds points that are not finite")
    given = len(x)
    x = x[torch.isfinite(x).all(dim=1)]
    if len(x) < 2:
        raise ValueError(f"kid: {len(x)} finite generated points, wanted at least 2")
    counts = [min(blocks, len(side)) for side in (x, y)]
    xs, ys = ([side[i::b] for i in range(b)] for side, b in zip((x, y), counts, strict=True))
    within_x, within_y, between = _sums(xs, xs), _sums(ys, ys), _sums(xs, ys)
    n, m = (np.array([len(part) for part in parts], dtype=np.float64) for parts in (xs, ys))

    value = _mmd2(within_x.sum(), within_y.sum(), between.sum(), n.sum(), m.sum())
    without_x = _mmd2(
        _deleted(within_x), within_y.sum(), between.sum() - between.sum(1), n.sum() - n, m.sum()
    )
    without_y = _mmd2(
        within_x.sum(), _deleted(within_y), between.sum() - between.sum(0), n.sum(), m.sum() - m
    )
    parts = np.concatenate([_jackknife(np.atleast_1d(d)) for d in (without_x, without_y)])
    # the cube of a norm: a few far samples can hold the whole sum
    _, note = judge_tail(_kernel_of_itself(x).numpy())
    result = Value(float(value), float(np.linalg.norm(parts)), None, note)
    if len(x) == given:
        return replace(result, parts=parts)
    return with_note(
        result, f"{NOT_ESTIMABLE}: {given - len(x)} of {given} generated points not finite, left out"
    )


def _sums(rows: list[torch.Tensor], columns: list[torch.Tensor]) -> Float64:
    """Kernel sums [A, B] over pairs of blocks; a set with itself leaves out each row with itself."""
    same = rows is columns
    result = np.zeros((len(rows), len(columns)))
    edges = np.concatenate([[0], np.cumsum([len(part) for part in columns])])
    everything = torch.cat(columns)
    for a, part in enumerate(rows):
        start = int(edges[a]) if same else 0  # symmetric: blocks to the left are known
        kernel = _kernel(part, everything[start:]).sum(0).numpy()
        first = a if same else 0
        result[a, first:] = np.add.reduceat(kernel, edges[first:-1] - start)
    if not same:
        return result
    upper = np.triu(result, 1)
    own = np.array([float(_kernel_of_itself(part).sum()) for part in rows])
    return np.asarray(upper + upper.T + np.diag(np.diag(result) - own))


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.addmm(torch.full((), OFFSET, dtype=x.dtype), x, y.mT, alpha=1 / x.shape[1]).pow_(DEGREE)


def _kernel_of_itself(x: torch.Tensor) -> torch.Tensor:
    return (x.square().sum(1) / x.shape[1] + OFFSET) ** DEGREE


def _deleted(within: Float64) -> Float64:
    """Sums of a set with itself without each block in turn: its row, its column, its diagonal entry once."""
    return np.asarray(within.sum() - within.sum(0) - within.sum(1) + np.diag(within))


def _mmd2(
    xx: Float64 | float, yy: Float64 | float, xy: Float64 | float, n: Float64 | float, m: Float64 | float
) -> Float64:
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # two rows in two blocks: nothing is left without one
        return np.asarray(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m))


def _jackknife(estimates: Float64) -> Float64:
    """Parts (see `Value`) from the estimates without each of the blocks."""
    blocks = len(estimates)
    return np.asarray(np.sqrt((blocks - 1) / blocks) * (estimates - estimates.mean()))
