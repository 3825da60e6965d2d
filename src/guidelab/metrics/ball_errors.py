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

`benchmarks/interval_coverage.py` measures the ratio to the true error; see docs/errors.md.
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
CHUNK = 1024  # rows of a distance matrix held at a time
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
    held = _held(*_unit(points, centres), k)  # [SPLITS, 2, P]
    missing = len(hits) - len(points)
    soft = np.concatenate([held.mean((0, 1)), np.zeros(missing)])
    gaps = (held[:, 0].sum(1) - held[:, 1].sum(1)) / len(hits)
    parts = np.concatenate([mean_parts((hits + soft) / 2), gaps / (2 * np.sqrt(SPLITS))])
    # all or none of a few points in balls: the parts may all be 0, and the share is not known exactly
    error = max(float(np.linalg.norm(parts)), value.std_error)
    return replace(value, std_error=error, parts=None if missing else parts)


def _unit(points: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides around the centres' mean in a unit of their size: squares stay inside the range of float32."""
    middle = centres.mean(0, dtype=torch.float64)
    scale = max(float((side - middle).abs().max()) for side in (points, centres)) or 1.0
    few = centres.shape[1] <= TREE_MAX_FEATURES
    both = ((side.double() - middle) / scale for side in (points, centres))
    first, second = (side if few else side.float() for side in both)
    return first, second


def _held(points: torch.Tensor, centres: torch.Tensor, k: int) -> NDArray[np.float64]:
    """[SPLITS, 2, P] 1 where a half's balls hold a point."""
    halves = _halves(len(centres))
    radius2 = _radii2(centres, k, halves)
    held = np.zeros((SPLITS, 2, len(points)))
    for centre, point, distance2 in _pairs(points, centres, radius2.max(0)):
        for s in range(SPLITS):
            inside = distance2 <= radius2[s, centre]
            held[s, halves[s, centre[inside]].astype(np.intp), point[inside]] = 1.0
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
        rows_found = [
            _chunk_distances2(centres, centres, rows).topk(keep + 1, dim=1, largest=False)
            for rows in _rows(len(centres))
        ]
        distance2, index = (torch.cat(part).cpu().numpy()[:, 1:] for part in zip(*rows_found, strict=True))
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
        limit = torch.as_tensor(reach2, dtype=torch.float32, device=centres.device)
        for rows in _rows(len(points)):
            near = _chunk_distances2(points, centres, rows)
            row, column = torch.nonzero(near <= limit, as_tuple=True)
            distance2 = near[row, column].cpu().numpy().astype(np.float64)
            yield column.cpu().numpy(), row.cpu().numpy() + rows.start, distance2
        return
    array, middles = points.cpu().numpy(), centres.cpu().numpy()
    tree, reach = cKDTree(array), np.sqrt(reach2) * (1 + 1e-9)
    for rows in _rows(len(middles)):
        found = tree.query_ball_point(middles[rows], reach[rows])
        centre = np.repeat(np.arange(rows.start, rows.stop), [len(ball) for ball in found])
        point = np.fromiter((i for ball in found for i in ball), dtype=np.intp, count=len(centre))
        yield centre, point, np.square(array[point] - middles[centre]).sum(1)


def _rows(n: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


def _chunk_distances2(points: torch.Tensor, centres: torch.Tensor, rows: slice) -> torch.Tensor:
    """[R, M] squared distances in float32: an error needs no more, and a decision on a border is one point of many."""
    return torch.cdist(points[rows], centres, compute_mode="use_mm_for_euclid_dist").square_()
