"""Standard errors of shares of points in k-NN balls, over the points and over the centres of the balls.

A share (precision: of generated points in balls of real ones; recall: the converse) varies because other points would be
asked and because other centres would have other balls. The first part is binomial with the balls held fixed. For the
second the centres are split in two halves at random, `SPLITS` times: with radii of their own, the halves are independent
draws of half the size, so half their squared difference is the variance at that size, and half of that is the variance at
the full size. Deleting single centres instead overstates the error up to threefold: a deleted ball and its neighbours'
larger radii do not add up like means.

Half of what the halves differ by in single points (whether a point near the border of the balls is in them) is in both
parts. The first part is therefore that of the mean of a point's indicator and of its share of halves that hold it, which
carries about half of this.

docs/errors.md has the ratio to the true error in simulations: 0.93 to 1.10 in fourteen cases.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from guidelab.metrics.neighbours import TREE_MAX_FEATURES
from guidelab.metrics.value import Float64, Value, mean_parts, share

SPLITS = 48
NEAREST = 32  # neighbours looked through for the k-th in the same half: of 32, fewer than 4 once in a million
BLOCK, TILE = 2**21, 512  # distances held at a time (8 MB), and rows that are widened
Halves = NDArray[np.bool_]  # [SPLITS, M]: which half a centre is in


def share_in_balls(hits: NDArray[np.bool_], *, points: torch.Tensor, centres: torch.Tensor, k: int) -> Value:
    """The share of `hits`, with its standard error over points and centres, and its parts where none is missing.

    Args:
        hits: [N] whether a point lies in some ball; more of them than points: the others have no coordinates.
        points: [P, F] finite, P <= N.
        centres: [M, F] finite. With fewer than 2 (k + 1) of them the error is over points alone, and the note says so.
        k: neighbours that set a ball's radius, the centre itself excluded.
    """
    value = share(hits)
    if len(centres) < 2 * (k + 1):
        return replace(value, note=f"error over points alone: {len(centres)} balls")
    held = _held(points, centres, k)  # [SPLITS, 2, P]
    missing = len(hits) - len(points)
    soft = np.concatenate([held.mean((0, 1)), np.zeros(missing)])
    gaps = held.sum(2).astype(np.float64) @ [1.0, -1.0] / len(hits)
    parts = np.concatenate([mean_parts((hits + soft) / 2), gaps / (2 * np.sqrt(SPLITS))])
    # all or none of a few points in balls: the parts may all be 0, and the share is not known exactly
    error = max(float(np.linalg.norm(parts)), value.std_error)
    return replace(value, std_error=error, parts=None if missing else parts)


def _held(points: torch.Tensor, centres: torch.Tensor, k: int) -> NDArray[np.bool_]:
    """[SPLITS, 2, P] whether a half's balls hold a point."""
    halves = _halves(len(centres))
    radius2 = _radii2(centres, k, halves)
    held = np.zeros((SPLITS, 2, len(points)), dtype=np.bool_)
    for centre, point, distance2 in _pairs(points, centres, radius2.max(0)):
        for s in range(SPLITS):
            inside = distance2 <= radius2[s, centre]
            held[s, halves[s, centre[inside]].astype(np.intp), point[inside]] = True
    return held


def _halves(n: int) -> Halves:
    """The same splits for every set of n centres: so differences between sets are split alike."""
    rng = np.random.default_rng(n)
    found = np.zeros((SPLITS, n), dtype=np.bool_)
    for row in found:
        row[rng.permutation(n)[: n // 2]] = True
    return found


def _radii2(centres: torch.Tensor, k: int, halves: Halves) -> Float64:
    """[SPLITS, M] squared distance of each centre to its k-th neighbour in its own half."""
    keep = min(max(NEAREST, 8 * k), len(centres) - 1)
    if centres.shape[1] <= TREE_MAX_FEATURES:
        array = centres.cpu().numpy()
        found = (np.asarray(part)[:, 1:] for part in cKDTree(array).query(array, k=keep + 1))
        distance, index = found
        distance2 = np.square(distance)
    else:
        near = _Near(centres, centres)
        rows_found = [
            near.distances2(rows).topk(keep + 1, dim=1, largest=False)
            for rows in _rows(len(centres), len(centres))
        ]
        distance2, index = (torch.cat(part).cpu().numpy()[:, 1:] for part in zip(*rows_found, strict=True))
        distance2 = near.scale**2 * distance2.astype(np.float64)
    result = np.empty((len(halves), len(centres)))
    every = np.arange(len(centres))
    for s, half in enumerate(halves):
        enough = np.cumsum(half[index] == half[:, None], axis=1) >= k
        place = np.where(enough.any(1), enough.argmax(1), keep - 1)
        result[s] = distance2[every, place]
    return result


def _pairs(
    points: torch.Tensor, centres: torch.Tensor, reach2: Float64
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Float64]]:
    """Centre, point and squared distance of every pair within a centre's reach, in batches."""
    if points.shape[1] > TREE_MAX_FEATURES:
        near = _Near(points, centres)
        limit = torch.as_tensor(reach2 / near.scale**2, dtype=torch.float32, device=centres.device)
        for rows in _rows(len(points), len(centres)):
            distances2 = near.distances2(rows)
            row, column = torch.nonzero(distances2 <= limit, as_tuple=True)
            distance2 = near.scale**2 * distances2[row, column].cpu().numpy().astype(np.float64)
            yield column.cpu().numpy(), row.cpu().numpy() + rows.start, distance2
        return
    array, middles = points.cpu().numpy(), centres.cpu().numpy()
    tree, reach = cKDTree(array), np.sqrt(reach2) * (1 + 1e-9)
    for rows in _rows(len(middles), len(array)):
        found = tree.query_ball_point(middles[rows], reach[rows])
        centre = np.repeat(np.arange(rows.start, rows.stop), [len(ball) for ball in found])
        point = np.fromiter((i for ball in found for i in ball), dtype=np.intp, count=len(centre))
        yield centre, point, np.square(array[point] - middles[centre]).sum(1)


def _rows(n: int, columns: int) -> list[slice]:
    """Consecutive rows so that BLOCK distances to all columns are held at a time."""
    step = max(1, BLOCK // columns)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class _Near:
    """Squared distances in float32, without a copy of a whole side: an error needs no more, and no decision hangs on it.

    Both sides are taken around the centres' mean in a unit of their size: squares stay inside the range of float32.
    """

    def __init__(self, points: torch.Tensor, centres: torch.Tensor) -> None:
        self.points, self.centres = points, centres
        self.middle = centres.mean(0, dtype=torch.float64)
        self.scale = 2 * max(float(end.abs()) for side in (points, centres) for end in side.aminmax()) or 1.0

    def distances2(self, rows: slice) -> torch.Tensor:
        """[R, M] from some points to all centres, in units of scale^2."""
        some = self._unit(self.points[rows])
        result = torch.empty(len(some), len(self.centres), device=some.device)
        for start in range(0, len(self.centres), TILE):
            tile = self._unit(self.centres[start : start + TILE])
            part = torch.cdist(some, tile, compute_mode="use_mm_for_euclid_dist")
            torch.square(part, out=result[:, start : start + TILE])
        return result

    def _unit(self, rows: torch.Tensor) -> torch.Tensor:
        return ((rows.double() - self.middle) / self.scale).float()
