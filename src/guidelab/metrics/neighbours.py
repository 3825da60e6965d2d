"""Exact nearest-neighbour radii and ball membership with bounded memory.

Every decision is made on float64 distances formed from coordinate differences. In few dimensions a tree finds
the pairs; in many, a matrix product in float32 screens them and only pairs closer to a boundary than the
product's rounding bound are decided again, so the answer equals brute force at a fraction of its cost.
"""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from guidelab.metrics.value import Float64

TREE_MAX_FEATURES = 8  # above it a k-d tree visits nearly every point
BLOCK = 2**22  # distances held at a time, 32 MB in float64
SPARE = 8  # candidates beyond k that are measured exactly before a row is searched in full
FLOAT32_RANGE = 1e-9  # smallest over largest norm below which products of float32 may underflow


def kth_radius2(points: torch.Tensor, k: int) -> torch.Tensor:
    """Squared distance [N] from every point [N, F] to its k-th nearest other point (itself excluded)."""
    if not 1 <= k < len(points):
        raise ValueError(f"k = {k}: wanted 1 <= k <= {len(points) - 1} for {len(points)} points")
    if points.shape[1] <= TREE_MAX_FEATURES:
        array = points.cpu().numpy()
        kth = np.asarray(cKDTree(array).query(array, k=[k + 1])[1])[:, 0]
        # Itself is at distance zero, as are duplicates: dropping any one zero leaves the right k-th distance.
        exact = np.square(array[kth] - array).sum(1)
        return torch.as_tensor(exact, device=points.device)
    return _kth_radius2_screened(points, k)


def ball_counts(
    points: torch.Tensor, centres: torch.Tensor, radius2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Closed balls (distance <= radius): per point the balls that hold it [N], per ball the points in it [M].

    Args:
        points: [N, F] float64.
        centres: [M, F] float64.
        radius2: [M] squared radii.
    """
    if points.shape[1] <= TREE_MAX_FEATURES:
        return _ball_counts_tree(points, centres, radius2)
    return _ball_counts_screened(points, centres, radius2)


def _ball_counts_tree(
    points: torch.Tensor, centres: torch.Tensor, radius2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    array, middles, limits = (t.cpu().numpy() for t in (points, centres, radius2))
    tree = cKDTree(array)
    reach = np.sqrt(limits) * (1 + 1e-9)  # generous: the pairs found are decided on limits below
    lengths = tree.query_ball_point(middles, reach, return_length=True)
    per_point = np.zeros(len(array), dtype=np.int64)
    per_centre = np.zeros(len(middles), dtype=np.int64)
    for rows in _batches(cast(NDArray[np.int64], lengths)):
        found = tree.query_ball_point(middles[rows], reach[rows])
        owner = np.repeat(rows, lengths[rows])
        member = np.fromiter((i for ball in found for i in ball), dtype=np.int64, count=len(owner))
        inside = np.square(array[member] - middles[owner]).sum(1) <= limits[owner]
        per_point += np.bincount(member[inside], minlength=len(array))
        per_centre += np.bincount(owner[inside], minlength=len(middles))
    return torch.as_tensor(per_point), torch.as_tensor(per_centre)


def _batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Consecutive row numbers whose balls together hold about BLOCK / 4 points (a Python int is 32 bytes)."""
    part = np.cumsum(lengths) // (BLOCK // 4)
    return np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(part)) + 1)


class _Screen:
    """Squared distances by a matrix product, with a bound on their rounding."""

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        middle = columns.mean(0)  # distances do not change, norms and so rounding become small
        self.rows, self.columns = rows, columns
        left, right = rows - middle, columns - middle
        self.row_norms, self.column_norms = left.square().sum(1), right.square().sum(1)
        norms = torch.cat([self.row_norms, self.column_norms])
        smallest, largest = norms[norms > 0].aminmax() if bool(norms.any()) else (norms.new_ones(()),) * 2
        dtype = torch.float32 if smallest > FLOAT32_RANGE**2 * largest else torch.float64
        self.scale = (
            largest.sqrt()
        )  # unit norms stay inside the range of float32 for any unit of the features
        self.left, self.right = (left / self.scale).to(dtype), (right / self.scale).to(dtype)
        # |dot error| <= F eps |a||b| <= F eps (|a|^2 + |b|^2) / 2, twice that in d^2, and casts add a few eps.
        self.slack = (rows.shape[1] + 16) * torch.finfo(dtype).eps

    def block(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Approximate squared distances [stop - start, M], and the bound on their error, same shape."""
        norms = self.row_norms[start:stop, None] + self.column_norms
        dots = (self.left[start:stop] @ self.right.mT).to(torch.float64)  # scaling back may leave float32
        squared = norms - 2 * self.scale**2 * dots
        return squared, norms * self.slack

    def exact(self, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """Squared distances [P] of the pairs (row [P], column [P]) from differences in float64."""
        step = max(1, BLOCK // self.rows.shape[1])
        return torch.cat(
            [
                (self.rows[r] - self.columns[c]).square().sum(1)
                for r, c in zip(torch.split(row, step), torch.split(column, step), strict=True)
            ]
            or [self.rows.new_zeros(0)]
        )

    def starts(self) -> range:
        return range(0, len(self.rows), max(1, BLOCK // len(self.columns)))


def _kth_radius2_screened(points: torch.Tensor, k: int) -> torch.Tensor:
    screen, result = (
        _Screen(points, points),
        torch.empty(len(points), dtype=torch.float64, device=points.device),
    )
    keep = min(k + SPARE, len(points) - 1)
    for start in screen.starts():
        stop = min(start + screen.starts().step, len(points))
        own = torch.arange(start, stop, device=points.device)
        squared, bound = screen.block(start, stop)
        squared[own - start, own] = torch.inf
        nearest, columns = squared.topk(keep, dim=1, largest=False)
        candidates = screen.exact(own.repeat_interleave(keep), columns.reshape(-1)).reshape(-1, keep)
        result[start:stop] = candidates.kthvalue(k, dim=1).values
        # A point not measured is at least as far as the last candidate less the bound: proof or full search.
        unproven = nearest[:, -1] - bound.amax(1) < result[start:stop]
        if keep < len(points) - 1 and bool(unproven.any()):
            for row in own[unproven].tolist():
                distances = (points - points[row]).square().sum(1)
                distances[row] = torch.inf
                result[row] = distances.kthvalue(k).values
    return result


def _ball_counts_screened(
    points: torch.Tensor, centres: torch.Tensor, radius2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    screen = _Screen(points, centres)
    per_point = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    per_centre = torch.zeros(len(centres), dtype=torch.int64, device=points.device)
    for start in screen.starts():
        squared, bound = screen.block(start, min(start + screen.starts().step, len(points)))
        margin = squared - radius2
        inside = margin <= 0
        row, column = torch.nonzero(margin.abs() <= bound, as_tuple=True)
        inside[row, column] = screen.exact(row + start, column) <= radius2[column]
        per_point[start : start + len(inside)] = inside.sum(1)
        per_centre += inside.sum(0)
    return per_point.cpu(), per_centre.cpu()


def squared_distances(points: Float64, centres: Float64) -> Float64:
    """All squared distances [N, M] from differences in float64: the definition, for tests and small sets."""
    return np.asarray(np.square(points[:, None, :] - centres[None, :, :]).sum(-1), dtype=np.float64)
