# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""What maps of the plane show: regions of the data, samples, paths, arrows of a gradient, a field with its colour bar."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch

from guidelab.paper import arrays as ar
from guidelab.paper import charts, page, style
from guidelab.paper.looks import INK

CONTOUR = -1.594  # nats: the paper's contour, 2.12^2 below the peak; 98.6 % of the data lies inside
FLOOR = -8.0  # log density below the maximum at which the colours end


def window(table: pd.DataFrame) -> tuple[float, float, float, float]:
    """A square window around the class's region with a margin for the fringe."""
    x0, x1, y0, y1 = table["x"].min(), table["x"].max(), table["y"].min(), table["y"].max()
    half = 0.56 * max(x1 - x0, y1 - y0)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return float(cx - half), float(cx + half), float(cy - half), float(cy + half)


def regions(ax: Axes, region: pd.DataFrame) -> None:
    """The regions of both classes, filled."""
    for panel, color in (("other", style.REGION_OTHER), ("class", style.REGION)):
        part = region[region["panel"] == panel]
        if len(part):
            ax.add_patch(PathPatch(style.rings(part), fc=color, ec="none", zorder=1))


def samples(ax: Axes, table: pd.DataFrame, window: tuple[float, float, float, float]) -> None:
    """Dark dots inside the contour, larger red ones outside; how many lie beyond the window is written."""
    outside = (table["value"] < CONTOUR).to_numpy()
    for mask, color, size, order in ((~outside, INK, 0.75, 2), (outside, style.OUTSIDE, 1.1, 3)):
        ax.plot(
            table["x"][mask], table["y"][mask], "o", ms=size, mew=0, color=color, zorder=order, rasterized=True
        )  # fmt: skip
    lost = ~(table["x"].between(*window[:2]) & table["y"].between(*window[2:]))
    texts = []
    if table["value"].notna().any():
        texts.append(f"{100 * outside.mean():.1f} % outside")
    if lost.any():
        texts.append(f"{int(lost.sum())} beyond the frame")
    ax.text(0.03, 0.03, "\n".join(texts), transform=ax.transAxes, size=5.5, va="bottom", zorder=6)


def handles_of_samples(judged: bool, other: bool) -> list[Any]:
    """Regions, and samples inside and outside the class's."""
    found: list[Any] = [Patch(fc=style.REGION, label="region of the class (98.6 % of its mass)")]
    if other:
        found.append(Patch(fc=style.REGION_OTHER, label="region of the other class"))
    found.append(Line2D([], [], marker="o", ls="", ms=2, mew=0, color=INK, label="sample"))
    if judged:
        found.append(
            Line2D([], [], marker="o", ls="", ms=3, mew=0, color=style.OUTSIDE, label="sample outside it")
        )
    return found


def field(fig: Figure, ax: Axes, table: pd.DataFrame, panel: str, label: str) -> None:
    """A field with its colour bar."""
    x, y, value = ar.as_grid(table, "value", "fig2")
    if panel == "ratio":
        reach = float(np.quantile(np.abs(value), 0.95)) or 1.0
        mesh = charts.field_map(ax, x, y, value, -reach, reach)
        page.bar(fig, [ax], mesh, "ln p₁/p₀ − median", [-_nice(reach), 0, _nice(reach)], "both")
    else:
        mesh = charts.field_map(ax, x, y, value, FLOOR, 0.0)
        page.bar(fig, [ax], mesh, f"ln {label} − max", [FLOOR, FLOOR / 2, 0], "min")
    ax.set_label(panel)


def arrows(ax: Axes, table: pd.DataFrame, side: float) -> None:
    """Arrows along the gradient, their length by its cube root so that weak ones are still seen."""
    u, v = table["u"].to_numpy(), table["v"].to_numpy()
    norm = np.hypot(u, v)
    top = float(np.quantile(norm, 0.95)) or 1.0
    length = 0.066 * side * np.cbrt(np.minimum(norm / top, 1.0)) / np.where(norm > 0, norm, 1.0)
    ax.quiver(
        table["x"], table["y"], u * length, v * length, angles="xy", scale_units="xy", scale=1, color=INK,
        width=0.010, headwidth=3.6, headlength=3.6, headaxislength=3.2, pivot="mid",
        edgecolor="white", linewidth=0.25, zorder=3,
    )  # fmt: skip


def tracks(ax: Axes, table: pd.DataFrame, region: pd.DataFrame) -> None:
    """Paths of samples and their ends, over the region of the data."""
    if len(region):
        ax.add_patch(PathPatch(style.rings(region), fc=style.REGION, ec="none", zorder=1))
    for _, one in table.groupby("track", sort=True):
        path = one.sort_values("line")
        ax.plot(path["x"], path["y"], "-", lw=0.6, color=INK, alpha=0.75, zorder=2)
        ax.plot(
            path["x"].iloc[-1:],
            path["y"].iloc[-1:],
            "o",
            ms=2.6,
            mew=0.4,
            mec="white",
            color=style.OUTSIDE,
            zorder=3,
        )


def _nice(value: float) -> float:
    """The largest of 1, 2, 5 x 10^k that is at most 0.9 value."""
    power = 10 ** np.floor(np.log10(0.9 * value))
    return float(max(m for m in (1, 2, 5) if m * power <= 0.9 * value) * power)


def handles_of_paths(region: bool) -> list[Any]:
    """Paths and their ends, and the region under them."""
    found: list[Any] = [Patch(fc=style.REGION, label="region of the class")] if region else []
    found.append(Line2D([], [], color=INK, lw=0.8, label="path of a sample"))
    end: dict[str, Any] = {
        "marker": "o",
        "ls": "",
        "ms": 3.5,
        "mew": 0.4,
        "mec": "white",
        "color": style.OUTSIDE,
    }
    return [*found, Line2D([], [], label="its end", **end)]
