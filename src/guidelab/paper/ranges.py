"""Ranges and ticks of axes: margins for curves, bands and notes at the upper edge; ticks at measured positions."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from guidelab.paper import arrays
from guidelab.paper.looks import GREY, INK, look

Float = NDArray[np.float64]
_FAR = 1.4  # times the value of no guidance
_LINEAR = 0.1  # below, axes of what spans decades are linear


def limits(ax: Axes, value: Float, lo: Float, hi: Float) -> None:
    """Room for all values and for the bands, as long as these do not flatten the curves; 0 is kept when near.

    Values that are all equal have no curve to flatten: their bands alone set the range.
    """
    span, size = float(value.max() - value.min()), float(np.abs(value).max())
    reach = 0.35 * span if span > 1e-6 * size else np.inf  # rounding is no range
    low = max(float(np.nanmin([*value, *lo])), float(value.min()) - reach)
    high = min(float(np.nanmax([*value, *hi])), float(value.max()) + reach)
    least = 0.06 * (size or 1.0) if high - low <= 1e-6 * size else 0.0  # neither a curve nor a band
    pad = max(0.06 * (high - low), least)
    near_zero = value.min() >= 0 and low - pad < 0.25 * high
    ax.set_ylim(0 if near_zero else low - pad, high + pad)


def cut(ax: Axes, ok: pd.DataFrame, start: float) -> None:
    """Room for everything that is not far worse than no guidance; what is, is written at the upper edge.

    Too large a weight can multiply FID; drawn to scale it would press all optima into a flat line.
    """
    lower = ok["direction"].iloc[0] == "lower"
    beyond = ok["value"] > _FAR * start if lower else ok["value"] != ok["value"]
    drawn = ok[~beyond]
    limits(ax, *(arrays.rounded(drawn[c].to_numpy(float), 6) for c in ("value", "lo", "hi")))
    low, top = ax.get_ylim()
    far = ok[beyond].sort_values("offset").groupby("variant", sort=False)
    top += (top - low) * 0.1 * far.ngroups  # room for what is written
    ax.set_ylim(low, top)
    for line, (variant, part) in enumerate(far):
        text = ", ".join(f"{v:.0f}" if v >= 100 else f"{v:.3g}" for v in part["value"])
        ax.annotate(
            f"{text} ↑", (part["offset"].iloc[0], top), xytext=(-2, -6 - 6.5 * line), size=5.5, textcoords="offset points",
            color=look(str(variant)).color, zorder=6, bbox={"fc": "white", "ec": "none", "pad": 0.3},
        )  # fmt: skip


def room(ax: Axes, top: float, below: float) -> None:
    """Raise the upper end of an axis, so that no curve runs from `below` under `top` to the end, in parts of the axis."""
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(np.array(ax.get_ylim(), dtype=float))
    share = 1 - top + below if below else 0.0
    ax.set_ylim(*scale.inverted().transform(np.array([low, low + (high - low) / (1 - share)])))


def ticks(ax: Axes, at: list[float], log: bool) -> None:
    """Ticks at the measured positions, left out where they would touch; matplotlib's own when few would be left."""
    place = [math.log(x) if log else x for x in at]
    ax.tick_params(axis="x", labelsize=5.5 if len(at) > 3 else 6.5)
    least = 0.14 * (place[-1] - place[0])
    kept: list[int] = []
    for i in range(len(at)):
        if not kept or place[i] - place[kept[-1]] >= least:
            kept.append(i)
    if log or len(kept) == len(at):
        ax.xaxis.set_major_locator(FixedLocator([at[i] for i in kept]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def square(ax: Axes, *, curved: bool, drawn: bool) -> None:
    """The same range on both axes with its diagonal; `curved`: linear near 0 and by decades beyond; `drawn`: whether there are points."""
    if curved:
        ax.set_xscale("symlog", linthresh=_LINEAR)
        ax.set_yscale("symlog", linthresh=_LINEAR)
        ax.axhline(0, color=GREY, lw=0.4)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    if drawn:
        ends = [*ax.get_xlim(), *ax.get_ylim()]
        low, high = (min(ends), max(ends)) if curved else (min(0.0, min(ends)), max(ends))
        ax.plot([low, high], [low, high], color=INK, lw=0.6, zorder=1)
        ax.set(xlim=(low, high), ylim=(low, high))
    if curved:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(FixedLocator(decades(*axis.get_view_interval())))


def decades(low: float, high: float) -> list[float]:
    """0 and every second power of ten inside the limits, on both sides."""
    powers = [10.0**k for k in range(-1, 7, 2)]
    return [t for t in (*(-p for p in reversed(powers)), 0.0, *powers) if low <= t <= high]
