"""Curves over the weight: one variant's line with its band, the unguided reference, and the quality-diversity plane."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from guidelab.paper import arrays as ar
from guidelab.paper import names, style, summary

Float = NDArray[np.float64]
_UNSURE = (
    summary.NOT_ESTIMABLE,
    summary.NOT_FINITE,
)  # measured, but no number; `not defined` could not be measured


def round_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The drawn numbers to four significant digits; differences of weights without their last-bit noise."""
    return ar.round_table(rows.assign(offset=rows["offset"].round(6)))


def axis_label(rows: pd.DataFrame, metric: str) -> tuple[str, float]:
    """Label with its unit, and what values are multiplied by (100 for shares)."""
    if rows.empty:
        return metric.replace("_", " "), 1.0
    first = rows.iloc[0]
    percent = first["unit"] == "%"
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(first["unit"]), "")
    return f"{first['label']}{unit}", 100.0 if percent else 1.0


def curve(ax: Axes, rows: pd.DataFrame, factor: float) -> None:
    """One variant: line, band, markers (open when one training stands behind them), a ring at the chosen weight."""
    ok = rows[rows["status"] == summary.OK].sort_values("offset")
    if ok.empty:
        return
    look = style.look(str(rows["variant"].iloc[0]))
    x = ok["offset"].to_numpy(float)
    y, lo, hi = (ok[c].to_numpy(float) * factor for c in ("value", "lo", "hi"))
    if len(ok) > 1:
        ax.fill_between(x, lo, hi, color=look.color, alpha=0.16, lw=0, zorder=1)
    else:
        ax.plot([x[0], x[0]], [lo[0], hi[0]], "-", color=look.color, lw=0.9, zorder=1)
    ax.plot(x, y, color=look.color, ls=look.dashes, zorder=3, label=str(rows["variant"].iloc[0]))
    for many, face in ((True, look.color), (False, "white")):
        mask = (ok["n_trainings"] > 1).to_numpy() == many
        ax.plot(
            x[mask], y[mask], look.marker, color=look.color, mfc=face, mec=look.color, mew=0.9, zorder=4,
        )  # fmt: skip
    ring = ok["selected"].to_numpy(bool)
    ax.plot(x[ring], y[ring], "o", ms=7, mfc="none", mec=style.INK, mew=0.7, zorder=5)


def reference(ax: Axes, rows: pd.DataFrame, factor: float) -> None:
    """No guidance: a star at 0 and a dotted line across."""
    ok = rows[rows["status"] == summary.OK]
    if ok.empty:
        return
    look, first = style.look("none"), ok.iloc[0]
    ax.axhline(first["value"] * factor, color=look.color, ls=look.dashes, lw=0.8, zorder=2)
    ax.axhspan(first["lo"] * factor, first["hi"] * factor, color=look.color, alpha=0.08, lw=0, zorder=0)
    ax.plot(
        [0], [first["value"] * factor], look.marker, ms=6, color=look.color, mew=0, zorder=5, label="none"
    )


def mark_unestimable(ax: Axes, rows: pd.DataFrame) -> None:
    """A cross at the top edge where a number was measured but cannot be trusted."""
    across = blended_transform_factory(ax.transData, ax.transAxes)
    bad = rows[rows["status"].isin(_UNSURE)]
    for variant, part in bad.groupby("variant", sort=False):
        color = style.look(str(variant)).color
        ax.plot(part["offset"], np.full(len(part), 0.97), "x", transform=across, color=color, ms=4, zorder=5)


def limits(ax: Axes, value: Float, lo: Float, hi: Float) -> None:
    """Room for all values and for the bands, as long as these do not flatten the curves; 0 is kept when near.

    Values that are all equal have no curve to flatten: their bands alone set the range.
    """
    span, size = float(value.max() - value.min()), float(np.abs(value).max())
    room = 0.35 * span if span > 1e-6 * size else np.inf  # rounding is no range
    low = max(float(np.nanmin([*value, *lo])), float(value.min()) - room)
    high = min(float(np.nanmax([*value, *hi])), float(value.max()) + room)
    least = 0.06 * (size or 1.0) if high - low <= 1e-6 * size else 0.0  # neither a curve nor a band
    pad = max(0.06 * (high - low), least)
    near_zero = value.min() >= 0 and low - pad < 0.25 * high
    ax.set_ylim(0 if near_zero else low - pad, high + pad)


def plane(ax: Axes, rows: pd.DataFrame, x_metric: str, y_metric: str, index: int) -> None:
    """Quality against diversity, one line per variant through its weights, each weight written beside its marker."""
    keys = ["variant", "w"]
    sides = [rows[(rows["metric"] == m) & (rows["status"] == summary.OK)] for m in (x_metric, y_metric)]
    label_x, factor_x = axis_label(sides[0], x_metric)
    label_y, factor_y = axis_label(sides[1], y_metric)
    both = sides[0].merge(sides[1], on=keys, suffixes=("_x", "_y"), how="inner", validate="one_to_one")
    points: list[tuple[float, float, float]] = []
    for variant in names.ordered(both["variant"]):
        part = both[both["variant"] == variant].sort_values("w")
        look = style.look(variant)
        x, y = part["value_x"].to_numpy() * factor_x, part["value_y"].to_numpy() * factor_y
        size = 8 if variant == "none" else 4
        ax.plot(x, y, color=look.color, ls=look.dashes, zorder=3, label=variant)
        for many, face in ((True, look.color), (False, "white")):
            mask = (part["n_trainings_x"] > 1).to_numpy() == many
            ax.plot(x[mask], y[mask], look.marker, ms=size, mfc=face, mec=look.color, mew=0.9, zorder=4)
        named = part["w"] if variant != "none" else [np.nan] * len(part)
        points += [(float(a), float(b), float(w)) for a, b, w in zip(x, y, named, strict=True)]
    style.letter(ax, index, f"{label_y} against {label_x}")
    ax.set_xlabel(f"{label_x}  → more diverse")
    ax.set_ylabel(label_y)
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(0.07)
    if points:
        name_weights(ax, points)
    lost = len(rows[rows["metric"].isin([x_metric, y_metric])].groupby(keys)) - len(both)
    if lost:
        ax.text(
            0.99, 0.01, f"{lost} points without both numbers", transform=ax.transAxes, ha="right", size=5.5
        )
    ax.set_label(f"{y_metric} against {x_metric}")


def name_weights(ax: Axes, points: list[tuple[float, float, float]]) -> None:
    """Write w beside each marker where there is room; crowded labels are left out rather than printed over others.

    Args:
        points: x, y, w of every marker; w is nan for one without a label.
    """
    ax.autoscale_view()
    scale = 72 / ax.figure.dpi  # pixels to points
    at = ax.transData.transform([(x, y) for x, y, _ in points]) * scale
    taken = [(px - 3, py - 3, px + 3, py + 3) for px, py in at]
    for (x, y, w), (px, py) in zip(points, at, strict=True):
        text = "" if np.isnan(w) else f"{w:g}"
        width = 3.2 * len(text)
        for dx, dy in ((3.5, 2.5), (3.5, -7.0), (-3.5 - width, 2.5), (-3.5 - width, -7.0)):
            box = (px + dx, py + dy, px + dx + width, py + dy + 5.0)
            if text and not any(_overlap(box, other) for other in taken):
                ax.annotate(text, (x, y), xytext=(dx, dy), textcoords="offset points", size=5.5, zorder=6)
                taken.append(box)
                break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def handles(rows: pd.DataFrame) -> list[Any]:
    """Legend entries of the variants in the rows."""
    found = []
    for variant in names.ordered(rows["variant"]):
        look = style.look(variant)
        size = 6.0 if variant == "none" else 3.6
        found.append(
            Line2D(
                [],
                [],
                color=look.color,
                ls=look.dashes,
                marker=look.marker,
                ms=size,
                label=names.label(variant),
            )
        )
    return found


def sign_handles(rows: pd.DataFrame) -> list[Any]:
    """Legend entries of the signs that occur: ring, open marker, cross."""
    signs = []
    if rows["selected"].any():
        signs.append(
            Line2D([], [], ls="", marker="o", ms=7, mfc="none", mec=style.INK, mew=0.7, label="chosen weight")
        )
    if (rows.loc[rows["status"] == summary.OK, "n_trainings"] == 1).any():
        signs.append(
            Line2D(
                [], [], ls="", marker="o", mfc="white", mec=style.FAINT, mew=0.7, label="one training only"
            )
        )
    if rows["status"].isin(_UNSURE).any():
        signs.append(Line2D([], [], ls="", marker="x", color=style.FAINT, ms=4, label="not estimable"))
    return signs
