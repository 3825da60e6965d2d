"""Exact precision and recall of large sets in bounded memory: 10,000 against 50,000 rows of 2,048 features in 2 GB.

`manifold` holds several float64 copies of both sets; here the sets stay as they are given (float32) and pairs of
chunks are widened. Each pair is screened by a float32 product and decided in float64 near a boundary, as in
`neighbours`, so every count equals brute force on the values given.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from guidelab.metrics.ball_errors import share_in_balls
from guidelab.metrics.neighbours import SPARE, _Screen
from guidelab.metrics.value import ArrayLike, Value

CHUNK = 4096  # rows on a side of a pair: 64 MB a float64 copy at 2,048 features, 128 MB of distances
SCREENED = 1024  # rows screened at a time inside a pair


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of one generated set against one reference set, of any two sizes."""

    precision: Value
    recall: Value


def precision_recall_chunked(
    *, generated: ArrayLike, reference: ArrayLike, k: int = 3, chunk: int = CHUNK
) -> PrecisionRecall:
    """k-NN precision and recall, exact, with memory for the sets given and about eleven float64 chunks.

    The standard errors are over both sides (see `ball_errors`). Unequal sizes are allowed, as in the
    protocol of ADM (50,000 generated, 10,000 real); such numbers compare with numbers of the same two sizes only.

    Args:
        generated: [N, F] finite.
        reference: [M, F] finite.
        k: neighbours that set a ball's radius, the point itself excluded.
        chunk: rows of a chunk.

    Raises:
        ValueError: shapes differ, too few points for k, or values that are not finite.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    fake, real = (torch.as_tensor(x).detach().cpu() for x in (generated, reference))
    for name, side in (("generated", fake), ("reference", real)):
        if side.ndim != 2 or side.shape[1] != real.shape[-1] or len(side) <= k or k < 1:
            raise ValueError(
                f"precision_recall_chunked: {name} of shape {tuple(side.shape)}, wanted [N, {real.shape[-1]}] with "
                f"more than k = {k} rows"
            )
        if not all(bool(torch.isfinite(part).all()) for part in torch.split(side, chunk)):
            raise ValueError(f"precision_recall_chunked: {name} holds values that are not finite")
    radius_of_fake, radius_of_real = (kth_radius2_chunked(side, k, chunk) for side in (fake, real))
    balls_of_fake = torch.zeros(len(fake), dtype=torch.bool)
    balls_of_real = torch.zeros(len(real), dtype=torch.bool)
    for rows, some_fake in _chunks(fake, chunk):
        for columns, some_real in _chunks(real, chunk):
            found = _members(some_fake, some_real, radius_of_fake[rows], radius_of_real[columns])
            balls_of_fake[rows] |= found[0]
            balls_of_real[columns] |= found[1]
    return PrecisionRecall(
        precision=share_in_balls(balls_of_fake.numpy(), points=fake, centres=real, k=k),
        recall=share_in_balls(balls_of_real.numpy(), points=real, centres=fake, k=k),
    )


def kth_radius2_chunked(points: Tensor, k: int, chunk: int = CHUNK) -> Tensor:
    """Squared distance [N] float64 from every point [N, F] to its k-th nearest other point, as `kth_radius2`."""
    nearest = torch.full((len(points), k), torch.inf, dtype=torch.float64)
    for rows, some in _chunks(points, chunk):
        for columns, others in _chunks(points, chunk):
            if columns.start < rows.start:
                continue  # distances are symmetric: this pair served both sides before
            same = columns.start == rows.start
            _merge(nearest[rows], some, others, same)
            if not same:
                _merge(nearest[columns], others, some, False)
    return nearest[:, -1].clone()


def _chunks(points: Tensor, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Consecutive rows, widened to float64."""
    for start in range(0, len(points), chunk):
        where = slice(start, min(start + chunk, len(points)))
        yield where, points[where].to(torch.float64)


def _members(
    rows: Tensor, columns: Tensor, row_radius2: Tensor, column_radius2: Tensor
) -> tuple[Tensor, Tensor]:
    """Which rows lie in the ball of some column, and which columns in that of some row, from one screening."""
    screen = _Screen(rows, columns)
    in_column_ball = torch.zeros(len(rows), dtype=torch.bool)
    in_row_ball = torch.zeros(len(columns), dtype=torch.bool)
    for start in range(0, len(rows), SCREENED):
        stop = min(start + SCREENED, len(rows))
        squared, bound = screen.block(start, stop)
        for radius2, dim, hit in (
            (column_radius2, 1, in_column_ball[start:stop]),
            (row_radius2[start:stop, None], 0, in_row_ball),
        ):
            margin = squared - radius2
            hit |= (margin < -bound).any(dim)
            row, column = torch.nonzero(margin.abs_() <= bound, as_tuple=True)
            limit = column_radius2[column] if dim == 1 else row_radius2[row + start]
            inside = screen.exact(row + start, column) <= limit
            hit[(row if dim == 1 else column)[inside]] = True
    return in_column_ball, in_row_ball


def _merge(nearest: Tensor, rows: Tensor, columns: Tensor, same: bool) -> None:
    """Bring the k smallest squared distances [R, k] of `rows` up to date with `columns`, in place.

    Only columns that may be nearer than the k-th known are measured exactly: all but the few nearest by the screen
    are proven farther, and rows where that proof fails are searched in full.
    """
    k = nearest.shape[1]
    screen = _Screen(rows, columns)
    keep = min(k + SPARE, len(columns) - same)
    if keep < 1:
        return
    for start in range(0, len(rows), SCREENED):
        stop = min(start + SCREENED, len(rows))
        own = torch.arange(start, stop)
        squared, bound = screen.block(start, stop)
        if same:
            squared[own - start, own] = torch.inf
        # The lowest each column can be, against what is known: most rows need no exact distance at all.
        promising = (squared - bound).amin(1) < nearest[start:stop, -1]
        own, squared, bound = own[promising], squared[promising], bound[promising]
        if not len(own):
            continue
        approximate, found = squared.topk(keep, dim=1, largest=False)
        # A candidate that is surely farther than k others, here or known, needs no exact distance either.
        doubt = bound.gather(1, found)
        limit = torch.minimum((approximate + doubt).sort(1).values[:, min(k, keep) - 1], nearest[own, -1])
        row, place = torch.nonzero(approximate - doubt <= limit[:, None], as_tuple=True)
        exact = torch.full_like(approximate, torch.inf)
        exact[row, place] = screen.exact(own[row], found[row, place])
        merged = torch.cat([nearest[own], exact], 1).sort(1).values[:, :k]
        unproven = (approximate[:, -1] - bound.amax(1) < merged[:, -1]) & (keep < len(columns) - same)
        for i in torch.nonzero(unproven)[:, 0].tolist():
            distances = (columns - rows[own[i]]).square().sum(1)
            if same:
                distances[own[i]] = torch.inf
            merged[i] = torch.cat([nearest[own[i]], distances]).sort().values[:k]
        nearest[own] = merged
