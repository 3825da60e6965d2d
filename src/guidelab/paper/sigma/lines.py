"""Curves along sigma: their rows, and one panel of them, with gaps and crosses where a bin is not estimable."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from guidelab.paper import names, style
from guidelab.paper.sigma import numbers

COLUMNS = [
    "point", "variant", "series", "divergence", "sigma_lo", "sigma_hi", "sigma", "value", "lo", "hi", "status", "n",
    "train_seed",
]  # fmt: skip
_TOP, _STEP = 0.985, 0.042  # where crosses lie, in parts of the axis: each point has a line of its own


def rows(given: pd.DataFrame, points: list[str], panels: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """The curves of `points`, columns COLUMNS; a panel opens with its series and its divergence."""
    curves = given[(given["kind"] == "curve") & given["point"].isin(points)]
    found = []
    for series, divergence, *_ in panels:
        same = curves[(curves["estimator"] == series) & (curves["divergence"] == divergence)]
        for row in same.to_dict("records"):
            lo, hi = float(row["sigma_lo"]), float(row["sigma_hi"])
            found.append({
                "point": row["point"], "variant": names.split_point(str(row["point"]))[0], "series": series,
                "divergence": divergence, "sigma_lo": lo, "sigma_hi": hi, "sigma": float(f"{math.sqrt(lo * hi):.6g}"),
                **numbers.interval(row), "n": row["n"], "train_seed": row["train_seed"],
            })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def point_name(point: str) -> str:
    """A point of the settings as rows name it: an unguided one at its neutral weight."""
    return point if "/" in point else f"{point}/w1.00"


def looks(point: str) -> dict[str, Any]:
    """Colour, dashes and marker of a point; the null is grey and crossed."""
    if point == numbers.NULL:
        return {"color": style.FAINT, "ls": (0, (2, 1)), "marker": "x"}
    look = style.look(names.split_point(point)[0])
    return {"color": look.color, "ls": look.dashes, "marker": look.marker}


def handle(point: str) -> Line2D:
    """A point's entry in the legend."""
    return Line2D([], [], ms=3, lw=0.9, label=numbers.point_label(point), **looks(point))


def panel(ax: Axes, rows: pd.DataFrame, points: list[str], *, log: bool = False) -> None:
    """Draw one series of every point; lines break at bins that are not estimable, and a cross marks each."""
    for place, point in enumerate(points):
        mine = rows[rows["point"] == point].sort_values("sigma")
        bad, how = (mine["status"] != numbers.OK).to_numpy(), looks(point)
        x = mine["sigma"].to_numpy(float)
        y, lo, hi = (np.where(bad, np.nan, mine[c].to_numpy(float)) for c in ("value", "lo", "hi"))
        floor = np.maximum(lo, 0.3 * y) if log else lo  # an interval down to 0 has no end on a log axis
        ax.fill_between(x, floor, hi, color=how["color"], alpha=0.18, lw=0, zorder=2)
        ax.plot(x, y, ms=2.2, lw=0.9, zorder=3, **how)
        alone = ~bad & np.r_[True, bad[:-1]] & np.r_[bad[1:], True]  # a band needs a neighbour
        ax.vlines(x[alone], floor[alone], hi[alone], color=how["color"], lw=0.7, zorder=2)
        height = np.full(int(bad.sum()), _TOP - _STEP * place)
        across = ax.get_xaxis_transform()
        ax.plot(x[bad], height, "x", color=how["color"], ms=2.6, mew=0.8, transform=across, zorder=4)
    ax.set_xscale("log")
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(pad=1)


def room(ax: Axes, rows: pd.DataFrame, points: list[str]) -> None:
    """Raise the upper end of an axis so that no curve runs among the crosses."""
    crossed = [
        k for k, p in enumerate(points) if (rows.loc[rows["point"] == p, "status"] != numbers.OK).any()
    ]
    if not crossed:
        return
    share = 1 - (_TOP - _STEP * (crossed[-1] + 1))
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(np.array(ax.get_ylim(), dtype=float))
    ax.set_ylim(*scale.inverted().transform(np.array([low, low + (high - low) / (1 - share)])))


def bins_n(rows: pd.DataFrame) -> str:
    """`5,120 to 8,192`: independent units in a bin."""
    low, high = int(rows["n"].min()), int(rows["n"].max())
    return f"{low:,} to {high:,}" if low < high else f"{low:,}"
