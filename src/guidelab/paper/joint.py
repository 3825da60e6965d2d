"""Joint errors of points: the covariance that a difference on common seeds needs, in addition to two standard errors.

A number's standard error is the length of a vector: its parts, one for each sample, group of samples or half
(`metrics.value.Value`). On common seeds and one reference the parts of two points belong to the same units, so the error of
their difference is the length of the difference. Only lengths and angles count, so the vectors of P points are kept as P
numbers each, however many samples there are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PARTS = "parts"  # the column of rows that holds vectors
COMMON = "common"  # the column that is true where all blocks are compared with one reference, whose error is counted
_BOTH_SIDES = ("kid", "precision", "recall")  # metrics whose errors are over the reference too
Vector = NDArray[np.float64]


class Number(NamedTuple):
    """One value with its standard error, and the parts of the error where they are known.

    `common`: the error is over the reference too, and all blocks are compared with the whole of it.
    """

    value: float
    error: float
    parts: Vector | None = None
    common: bool = False


def errors(sides: Sequence[tuple[Number, Number]]) -> Vector | None:
    """The standard error of each difference on common seeds; None unless every number has its parts."""
    found = []
    for before, after in sides:
        if before.parts is None or after.parts is None or len(before.parts) != len(after.parts):
            return None
        found.append(float(np.linalg.norm(after.parts - before.parts)))
    return np.asarray(found) if np.isfinite(found).all() else None


def reduced(
    parts: Mapping[str, Mapping[str, Vector]],
) -> tuple[dict[str, Vector], dict[str, list[str]]]:
    """Vectors of the same lengths and angles in as few dimensions as there are points.

    Args:
        parts: `metric/seed/block` to point to its vector [D]; points with other D were not drawn or compared alike, and
            only those with the commonest D are kept; a vector that overflowed is left out, as it would spoil the others.
    Returns:
        an array [P, min(P, D)] for each, and its P points.
    """
    found: dict[str, Vector] = {}
    points: dict[str, list[str]] = {}
    for name, every in parts.items():
        of_point = {point: vector for point, vector in every.items() if np.isfinite(vector).all()}
        if not of_point:
            continue
        sizes = [len(vector) for vector in of_point.values()]
        usual = max(set(sizes), key=lambda size: (sizes.count(size), size))
        alike = {point: vector for point, vector in of_point.items() if len(vector) == usual}
        stacked = np.stack([np.asarray(vector, dtype=np.float64) for vector in alike.values()])
        # columns of R have the lengths and angles of the columns of Q R
        found[name] = np.asarray(np.linalg.qr(stacked.T, mode="r")).T
        points[name] = list(alike)
    return found, points


def attached(
    measurements: pd.DataFrame, arrays: Mapping[str, Vector], points: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """The rows with a column `parts`: the vector of each number that has one, else None.

    Args:
        measurements: rows with the columns metric, train_seed, seed_block, variant and w.
        arrays: from `reduced`.
        points: from `reduced`.
    """
    vectors = {
        (name, point): row
        for name, array in arrays.items()
        for point, row in zip(points[name], array, strict=True)
    }
    columns = (measurements[c] for c in ("metric", "train_seed", "seed_block", "variant", "w"))
    found = [
        vectors.get((f"{metric}/seed{seed}/{block}", f"{variant}/w{w:.2f}"))
        for metric, seed, block, variant, w in zip(*columns, strict=True)
    ]
    return measurements.assign(**{PARTS: pd.Series(found, index=measurements.index, dtype=object)})


def common(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a row's error holds that of a whole reference: as many examples as any metric of this split compares with.

    Blocks that each draw a subset of their own share little of it.
    """
    n = pd.to_numeric(rows["n_reference"], errors="coerce").fillna(0)
    whole = n.groupby(rows["reference_split"].astype(str)).transform("max")
    two_sided = rows["metric"].astype(str).str.split("@").str[0].isin(_BOTH_SIDES)
    return two_sided & (n > 0) & (n == whole)
