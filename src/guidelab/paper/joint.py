"""How the errors of points go together: what a difference on common seeds needs beside the two standard errors.

A number's standard error is the length of a vector: its parts, one for each sample, group of samples or half
(`metrics.value.Value`). On common seeds and one reference the parts of two points belong to the same units, so the error of
their difference is the length of the difference. Only lengths and angles count, so the vectors of P points are kept as P
numbers each, however many samples there are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from guidelab.io import load_arrays, read_csv

PARTS = "parts"  # the column of rows that holds vectors
Vector = NDArray[np.float64]


def reduced(
    parts: Mapping[str, Mapping[str, Vector]],
) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """Vectors of the same lengths and angles in as few dimensions as there are points.

    Args:
        parts: `metric/seed/block` to point to its vector [D]; points with other D were not drawn or compared alike, and
            only those with the commonest D are kept.
    Returns:
        a tensor [P, min(P, D)] float32 for each, and its P points.
    """
    tensors: dict[str, torch.Tensor] = {}
    points: dict[str, list[str]] = {}
    for name, of_point in parts.items():
        sizes = [len(vector) for vector in of_point.values()]
        usual = max(set(sizes), key=lambda size: (sizes.count(size), size))
        alike = {point: vector for point, vector in of_point.items() if len(vector) == usual}
        stacked = np.stack([np.asarray(vector, dtype=np.float64) for vector in alike.values()])
        # columns of R have the lengths and angles of the columns of Q R
        tensors[name] = torch.from_numpy(np.linalg.qr(stacked.T, mode="r").T.copy()).float()
        points[name] = list(alike)
    return tensors, points


def measured(inputs: Mapping[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with their vectors in a column `parts`, and the chosen weights, of a job that compares points.

    Raises:
        UserError: files that are absent or broken.
    """
    measurements, selected = (read_csv(inputs[name][0]) for name in ("measurements", "selected"))
    return attached(measurements, *load_arrays(inputs["errors"][0])), selected


def attached(
    measurements: pd.DataFrame, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> pd.DataFrame:
    """The rows with a column `parts`: the vector of each number that has one, else None."""
    vectors = {
        (name, point): row
        for name, tensor in tensors.items()
        for point, row in zip(about["points"][name], tensor.double().numpy(), strict=True)
    }
    keys = zip(
        *(measurements[c] for c in ("metric", "train_seed", "seed_block", "variant", "w")), strict=True
    )
    found = [
        vectors.get((f"{metric}/seed{seed}/{block}", f"{variant}/w{w:.2f}"))
        for metric, seed, block, variant, w in keys
    ]
    return measurements.assign(**{PARTS: pd.Series(found, index=measurements.index, dtype=object)})
