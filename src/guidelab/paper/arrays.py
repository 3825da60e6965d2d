"""Convert named arrays to long tables: checks and rounding shared by the figures' row builders."""

from collections.abc import Mapping
from typing import Any

import contourpy
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guidelab.errors import UserError

Arrays = Mapping[str, NDArray[Any]]
Float = NDArray[np.float64]

DIGITS = 4  # significant digits of a plotted coordinate: finer than a printer's dot


def take(arrays: Arrays, name: str, shape: tuple[int | None, ...], figure: str) -> Float:
    """`arrays[name]` as float64, its shape checked (None for any length).

    Raises:
        UserError: absent or of another shape; names the figure, the array and what was wanted.
    """
    if name not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(
            f"figure {figure}: no array {name!r} (given {held}); wanted one of shape {shape}. "
            f"Build fields/{figure}.safetensors again."
        )
    array = np.asarray(arrays[name], dtype=np.float64)
    if array.ndim != len(shape) or any(
        w is not None and w != g for w, g in zip(shape, array.shape, strict=True)
    ):
        raise UserError(
            f"figure {figure}: array {name!r} has shape {array.shape}, wanted {shape}. "
            f"Build fields/{figure}.safetensors again."
        )
    return array


def rounded(values: Float, digits: int = DIGITS) -> Float:
    """`values` to so many significant digits; nan, infinities and 0 stay as they are."""
    safe = np.where((values == 0) | ~np.isfinite(values), 1.0, np.abs(values))
    factor = 10.0 ** (digits - 1 - np.floor(np.log10(safe)))
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values), np.round(values * factor) / factor, values)


def round_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every float column to DIGITS significant digits."""
    floats = table.select_dtypes("float").columns
    return table.assign(**{str(c): rounded(table[c].to_numpy(np.float64)) for c in floats})


def grid_table(x: Float, y: Float, **values: Float) -> pd.DataFrame:
    """One row per grid point, y outer and x inner; `values` are [len(y), len(x)]."""
    xx, yy = np.meshgrid(x, y)
    return pd.DataFrame({"x": xx.ravel(), "y": yy.ravel(), **{n: v.ravel() for n, v in values.items()}})


def as_grid(table: pd.DataFrame, column: str, figure: str) -> tuple[Float, Float, Float]:
    """The inverse of `grid_table`: x [Gx], y [Gy], values [Gy, Gx].

    Raises:
        UserError: the rows are no complete regular grid.
    """
    wide = table.pivot_table(index="y", columns="x", values=column, dropna=False)
    if wide.size != len(table) or wide.isna().to_numpy().any():
        raise UserError(
            f"figure {figure}: {len(table)} rows of {column} over {wide.shape[1]} x {wide.shape[0]} positions; "
            "wanted one finite value at every grid point. Delete the CSV and build the figure again."
        )
    return wide.columns.to_numpy(np.float64), wide.index.to_numpy(np.float64), wide.to_numpy(np.float64)


def thinned(x: Float, y: Float, fields: list[Float], most: int) -> tuple[Float, Float, list[Float]]:
    """Every k-th grid line, so that neither side has more than `most` points."""
    step = max(-(-len(x) // most), -(-len(y) // most), 1)
    return x[::step], y[::step], [f[::step, ::step] for f in fields]


def outline(x: Float, y: Float, log_p: Float, level: float) -> pd.DataFrame:
    """The closed lines log_p = level as columns x, y, line; rings open at the window's edge are closed there.

    A region is kept as its outline rather than as grid cells: sharper, and a tenth of the rows.
    """
    pad = np.pad(np.maximum(log_p, level - 20.0), 1, constant_values=level - 20.0)  # closes rings at the edge
    xp = np.concatenate([[x[0] - 1e-6], x, [x[-1] + 1e-6]])
    yp = np.concatenate([[y[0] - 1e-6], y, [y[-1] + 1e-6]])
    lines = contourpy.contour_generator(xp, yp, pad).lines(level)
    parts = [
        pd.DataFrame({"x": points[:, 0], "y": points[:, 1], "line": i})
        for i, points in enumerate(np.asarray(p, dtype=np.float64) for p in lines)
    ]
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["x", "y", "line"], dtype=float)
    )
