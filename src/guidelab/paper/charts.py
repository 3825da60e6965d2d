"""Five charts that all figures are made of: curves, a plane, curves along sigma, images and a map of a field."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray

from guidelab.paper import ranges, style, summary
from guidelab.paper.looks import INK, Look

Float = NDArray[np.float64]
RING: dict[str, Any] = {"marker": "o", "ms": 6.5, "mfc": "none", "mec": INK, "mew": 0.7}  # the chosen weight
_UNSURE = (summary.NOT_ESTIMABLE, summary.NOT_FINITE)  # measured, but no number
_TOP, _STEP = 0.985, 0.05  # positions of crosses, in fractions of the axis: a separate line for each curve


def sound(rows: pd.DataFrame, factor: float = 1.0) -> pd.DataFrame:
    """The estimable rows, as floats times `factor`."""
    ok = rows[rows["status"] == summary.OK]
    return ok.assign(**{c: ok[c].astype(float) * factor for c in ("value", "lo", "hi")})


def unsure(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows were measured, but have no number."""
    return rows["status"].isin(_UNSURE)


# ---- curves ----------------------------------------------------------------------------------------------------------


def curves(
    ax: Axes,
    rows: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    x: str,
    key: str = "variant",
    band: bool = True,
) -> None:
    """A line for each `key` of `looks` with its 95 % interval as a band or as bars; open markers: one training.

    Args:
        ax: where.
        rows: of `sound`, with columns `key`, `x`, value, lo, hi, n_trainings.
        looks: of every key that is drawn, in the order of drawing.
        x: the column across.
        key: the column that identifies lines.
        band: intervals as bands (as bars where a line has one point), else as bars.
    """
    _joined(ax, rows, looks, x, "value", key)
    for name, look in looks.items():
        mine = rows[rows[key] == name].sort_values(x)
        at, lo, hi = (mine[c].to_numpy(float) for c in (x, "lo", "hi"))
        if band and len(mine) > 1:
            ax.fill_between(at, lo, hi, color=look.color, alpha=0.16, lw=0, zorder=1)
        else:
            ax.vlines(at, lo, hi, color=look.color, lw=0.8, alpha=0.75, zorder=2)
        _markers(ax, at, mine["value"].to_numpy(float), look, (mine["n_trainings"] > 1).to_numpy())


def _joined(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], x: str, y: str, key: str) -> None:
    """The lines alone, each labelled with its key; joined in the order of the rows."""
    shown = [name for name in looks if name in set(rows[key])]
    if not shown:
        return
    before = len(ax.lines)
    sns.lineplot(
        rows, x=x, y=y, hue=key, style=key, hue_order=shown, style_order=shown, sort=False, estimator=None, errorbar=None,
        palette={n: looks[n].color for n in shown}, legend=False, markers=False, zorder=3, ax=ax,
        dashes={n: "" if looks[n].dashes == "-" else looks[n].dashes[1] for n in shown},
    )  # fmt: skip
    for line, name in zip(ax.lines[before:], shown, strict=True):
        line.set_label(name)


def _markers(ax: Axes, x: Float, y: Float, look: Look, filled: NDArray[np.bool_]) -> None:
    size = 6.0 if look.marker == "*" else 3.4
    for mask, face in ((filled, look.color), (~filled, "white")):
        ax.plot(
            x[mask], y[mask], look.marker, ms=size, color=look.color, mfc=face, mec=look.color, mew=0.8, zorder=4
        )  # fmt: skip


def level(ax: Axes, row: Mapping[Any, Any], look: Look, *, star: bool = False, name: str = "") -> None:
    """A number as a line across with its interval as a band; a star marks it at 0."""
    ax.axhline(row["value"], color=look.color, ls=look.dashes, lw=0.8, zorder=2)
    ax.axhspan(row["lo"], row["hi"], color=look.color, alpha=0.08, lw=0, zorder=0)
    if star:
        ax.plot([0], [row["value"]], look.marker, ms=6, color=look.color, mew=0, zorder=5, label=name)


def joined(ax: Axes, x: tuple[float, float], y: tuple[float, float], look: Look) -> None:
    """A thin line from no guidance to a method's first point."""
    ax.plot(x, y, color=look.color, ls=look.dashes, lw=0.7, alpha=0.6, zorder=2)


def rings(ax: Axes, x: Any, y: Any) -> None:
    """A ring around each chosen point."""
    ax.plot(np.asarray(x, float), np.asarray(y, float), ls="", zorder=5, **RING)


def crosses(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], *, x: str, key: str = "variant") -> None:
    """A cross at the upper edge where a number was measured but cannot be trusted, a line of crosses a curve."""
    bad = rows[unsure(rows)]
    for i, (name, look) in enumerate((n, o) for n, o in looks.items() if n in set(bad[key])):
        at = bad.loc[bad[key] == name, x].to_numpy(float)
        ax.plot(
            at, np.full(len(at), _TOP - _STEP * i), "x", transform=ax.get_xaxis_transform(), color=look.color, ms=3, mew=0.8,
            zorder=5,
        )  # fmt: skip
    ranges.room(ax, _TOP, _STEP * bad[key].nunique())


# ---- a plane ---------------------------------------------------------------------------------------------------------


def plane(ax: Axes, points: pd.DataFrame, looks: Mapping[str, Look], *, bars: bool = False) -> None:
    """One number against another, a line for each variant through its weights, which are written where there is room.

    Args:
        ax: where.
        points: columns variant, w, x, y, many (whether several trainings stand behind it), written (whether w is);
            with `bars` also lo_x, hi_x, lo_y, hi_y.
        looks: of every variant.
        bars: draw the intervals of both numbers.
    """
    ordered = points.sort_values("w", kind="stable")
    _joined(ax, ordered, looks, "x", "y", "variant")
    for name, look in looks.items():
        mine = ordered[ordered["variant"] == name]
        x, y = mine["x"].to_numpy(float), mine["y"].to_numpy(float)
        if bars:
            ax.hlines(y, mine["lo_x"], mine["hi_x"], color=look.color, lw=0.5, alpha=0.4, zorder=1)
            ax.vlines(x, mine["lo_y"], mine["hi_y"], color=look.color, lw=0.5, alpha=0.4, zorder=1)
        _markers(ax, x, y, look, mine["many"].to_numpy(bool) | (look.marker == "*"))
    ax.margins(0.09)
    named = ordered["w"].where(ordered["written"])
    _write_weights(ax, list(zip(ordered["x"], ordered["y"], named, strict=True)))


def _write_weights(ax: Axes, points: list[tuple[float, float, float]]) -> None:
    """Write w at each marker where there is room; crowded labels are left out rather than printed over others."""
    if not points:
        return
    ax.autoscale_view()
    at = ax.transData.transform([(x, y) for x, y, _ in points]) * 72 / ax.figure.dpi  # pixels to points
    taken = [(px - 3, py - 3, px + 3, py + 3) for px, py in at]
    for (x, y, w), (px, py) in zip(points, at, strict=True):
        text = "" if np.isnan(w) else f"{w:g}"
        width = 3.2 * len(text)
        for dx, dy in ((3.5, 2.5), (3.5, -7.0), (-3.5 - width, 2.5), (-3.5 - width, -7.0)):
            box = (px + dx, py + dy, px + dx + width, py + dy + 5.0)
            if text and not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
            ):
                ax.annotate(text, (x, y), xytext=(dx, dy), textcoords="offset points", size=5.5, zorder=6)
                taken.append(box)
                break


# ---- along sigma -----------------------------------------------------------------------------------------------------


def along(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], *, log: bool = False) -> None:
    """One series of every point along sigma; lines break at bins that are not estimable, and a cross marks each.

    Args:
        ax: where.
        rows: columns point, sigma, value, lo, hi, status.
        looks: of every point.
        log: whether values span decades.
    """
    for name, look in looks.items():
        mine = rows[rows["point"] == name].sort_values("sigma")
        bad = (mine["status"] != summary.OK).to_numpy()
        x = mine["sigma"].to_numpy(float)
        y, lo, hi = (np.where(bad, np.nan, mine[c].to_numpy(float)) for c in ("value", "lo", "hi"))
        floor = np.maximum(lo, 0.3 * y) if log else lo  # an interval down to 0 has no end on a log axis
        ax.fill_between(x, floor, hi, color=look.color, alpha=0.18, lw=0, zorder=2)
        ax.plot(x, y, look.marker, ls=look.dashes, color=look.color, ms=2.2, lw=0.9, zorder=3)
        alone = ~bad & np.r_[True, bad[:-1]] & np.r_[bad[1:], True]  # a band needs a neighbour
        ax.vlines(x[alone], floor[alone], hi[alone], color=look.color, lw=0.7, zorder=2)
    ax.set_xscale("log")
    if log and (rows["value"] > 0).any():
        ax.set_yscale("log")
    flagged = rows.assign(status=rows["status"].where(rows["status"] == summary.OK, summary.NOT_ESTIMABLE))
    crosses(ax, flagged, looks, x="sigma", key="point")


# ---- pictures --------------------------------------------------------------------------------------------------------


def images(ax: Axes, stack: list[NDArray[np.uint8]]) -> None:
    """Images `[H, W]` or `[H, W, 3]` of one size from left to right, a white line between."""
    gap = max(1, stack[0].shape[1] // 14)
    white = np.full((stack[0].shape[0], gap, *stack[0].shape[2:]), 255, np.uint8)
    row = np.concatenate([part for image in stack for part in (white, image)][1:], axis=1)
    ax.imshow(row, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")
    ax.set_axis_off()


def field_map(ax: Axes, x: Float, y: Float, values: Float, low: float, high: float) -> QuadMesh:
    """Values `[Gy, Gx]` at positions x, y in colours: of a density up to `high` 0, of a ratio on both sides of 0."""
    signed = high > 0
    mesh = ax.pcolormesh(
        x, y, values, shading="gouraud", rasterized=True, cmap=style.RATIO if signed else style.DENSITY,
        norm=TwoSlopeNorm(0.0, low, high) if signed else None, vmin=None if signed else low, vmax=None if signed else high,
    )  # fmt: skip
    mesh.set_label("ratio" if signed else "density")
    return mesh
