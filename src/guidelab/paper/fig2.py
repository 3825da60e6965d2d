# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Figure 2 of the autoguidance paper: a close-up of why classifier-free guidance moves samples, at one noise level.

Arrays (`fields/fig2.safetensors`), float; densities need no normalisation:
    grid/x [Gx], grid/y [Gy]      positions in the close-up, ascending
    grid/log_p1 [Gy, Gx]          log density of the main net at settings.sigma
    grid/log_p0 [Gy, Gx]          log density of the unconditional net at settings.sigma
    grid/log_p [Gy, Gx]           log density of the data (optional: its region is drawn under the trajectories)
    arrow/x, arrow/y [A]          where arrows start, e.g. a 13 x 13 grid
    arrow/u, arrow/v [A]          gradient of ln p1/p0 there
    track/<point> [S, n, 2]       trajectories of n samples over S noise levels, high to low, e.g. track/cfg/w4.00

Rows: columns panel, kind, x, y, u, v, value, line, track.
    kind `grid`: panel `p1`, `p0` or `ratio`, value = its natural logarithm, 0 at its maximum (ratio: at its median)
    kind `arrow`: panel `ratio`, (u, v) the gradient
    kind `region`: panel `data`, an outline, line = ring
    kind `trajectory`: panel = point, track = sample, line = step
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch

from guidelab.paper import arrays as ar
from guidelab.paper import names, style
from guidelab.paper.fig1 import CONTOUR, points

COLUMNS = ["panel", "kind", "x", "y", "u", "v", "value", "line", "track"]
SIDE = 80  # drawn grid points a side: a density smoothed by sigma has no finer detail in a close-up
FLOOR = -8.0  # log density below the maximum at which the colours end
GRIDS = {"p1": "main  p₁(x | c; σ)", "p0": "unconditional  p₀(x; σ)", "ratio": "ln p₁/p₀, gradient"}


def rows(arrays: ar.Arrays, info: dict[str, Any]) -> pd.DataFrame:
    """What the five panels draw as a table, to four significant digits.

    Raises:
        UserError: an array is absent or of another shape.
    """
    x, y = ar.take(arrays, "grid/x", (None,), "fig2"), ar.take(arrays, "grid/y", (None,), "fig2")
    shape = (len(y), len(x))
    p1, p0 = (ar.take(arrays, f"grid/log_{p}", shape, "fig2") for p in ("p1", "p0"))
    seen = p1 > p1.max() + FLOOR
    fields = [
        np.maximum(p1 - p1.max(), 2 * FLOOR),
        np.maximum(p0 - p0.max(), 2 * FLOOR),
        p1 - p0 - np.median((p1 - p0)[seen]),
    ]
    gx, gy, thin = ar.thinned(x, y, fields, SIDE)
    parts = [
        ar.grid_table(gx, gy, value=f).assign(panel=panel, kind="grid")
        for panel, f in zip(GRIDS, thin, strict=True)
    ]
    if "grid/log_p" in arrays:
        rings = ar.outline(x, y, ar.take(arrays, "grid/log_p", shape, "fig2"), CONTOUR)
        parts.append(rings.assign(panel="data", kind="region"))
    arrow = {c: ar.take(arrays, f"arrow/{c}", (None,), "fig2") for c in "xyuv"}
    parts.append(pd.DataFrame(arrow).assign(panel="ratio", kind="arrow"))
    parts += [_track_rows(ar.take(arrays, f"track/{p}", (None, None, 2), "fig2"), p) for p in points(info)]
    table = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    table[["line", "track"]] = table[["line", "track"]].fillna(0).astype(int)
    return ar.round_table(table)


def _track_rows(track: ar.Float, panel: str) -> pd.DataFrame:
    steps, n = track.shape[:2]
    line, sample = np.meshgrid(np.arange(steps), np.arange(n), indexing="ij")
    flat = track.reshape(-1, 2)
    table = pd.DataFrame({"x": flat[:, 0], "y": flat[:, 1], "line": line.ravel(), "track": sample.ravel()})
    return table.assign(panel=panel, kind="trajectory")


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: the two densities, their ratio with its gradient, and trajectories of each sampler.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "fig2")
    grids = rows[rows["kind"] == "grid"]
    tracks = rows[rows["kind"] == "trajectory"]
    panels = [*GRIDS, *dict.fromkeys(tracks["panel"])]
    window = tuple(float(f(grids[c])) for c in "xy" for f in (np.min, np.max))
    region = rows[rows["kind"] == "region"]
    with style.context():
        fig = style.figure(style.PAGE_MM, style.PAGE_MM / len(panels) + 18)
        axes = fig.subplots(1, len(panels), squeeze=False)[0]
        fig.subplots_adjust(left=0.012, right=0.995, top=0.90, bottom=0.27, wspace=0.06)
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            if panel in GRIDS:
                _grid(ax, grids[grids["panel"] == panel], panel)
            else:
                _tracks(ax, tracks[tracks["panel"] == panel], region)
            style.square(ax, window)  # type: ignore[arg-type]
            style.letter(ax, i, GRIDS[panel] if panel in GRIDS else names.point_label(panel))
        _arrows(axes[2], rows[rows["kind"] == "arrow"], window[1] - window[0])
        for ax, label in zip(axes, ("ln p₁ − max", "ln p₀ − max", "ln p₁/p₀ − median"), strict=False):
            _bar(fig, ax, label)
        _legend(fig, axes[3], bool(len(region)))
        style.footer(fig, style.origin_line(info, f"noise level σ = {info['settings']['sigma']:g} in a–c"))
    return fig


def _grid(ax: Axes, table: pd.DataFrame, panel: str) -> None:
    x, y, value = ar.as_grid(table, "value", "fig2")
    if panel == "ratio":
        reach = float(np.quantile(np.abs(value), 0.95)) or 1.0
        norm, levels = TwoSlopeNorm(0.0, -reach, reach), np.linspace(-reach, reach, 17)
        drawn = ax.contourf(x, y, value, levels=levels, norm=norm, cmap=style.RATIO, extend="both")
    else:
        drawn = ax.contourf(x, y, value, levels=np.linspace(FLOOR, 0, 17), cmap=style.DENSITY, extend="min")
    drawn.set_rasterized(True)
    ax.set_label(panel)


def _arrows(ax: Axes, table: pd.DataFrame, side: float) -> None:
    """Arrows along the gradient, their length by its cube root so that weak ones are still seen."""
    u, v = table["u"].to_numpy(), table["v"].to_numpy()
    norm = np.hypot(u, v)
    top = float(np.quantile(norm, 0.95)) or 1.0
    length = 0.066 * side * np.cbrt(np.minimum(norm / top, 1.0)) / np.where(norm > 0, norm, 1.0)
    ax.quiver(
        table["x"], table["y"], u * length, v * length, angles="xy", scale_units="xy", scale=1, color=style.INK,
        width=0.010, headwidth=3.6, headlength=3.6, headaxislength=3.2, pivot="mid",
        edgecolor="white", linewidth=0.25, zorder=3,
    )  # fmt: skip


def _tracks(ax: Axes, table: pd.DataFrame, region: pd.DataFrame) -> None:
    if len(region):
        ax.add_patch(PathPatch(style.rings(region), fc=style.REGION, ec="none", zorder=1))
    for _, one in table.groupby("track", sort=True):
        path = one.sort_values("line")
        ax.plot(path["x"], path["y"], "-", lw=0.6, color=style.INK, alpha=0.75, zorder=2)
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


def _bar(fig: Figure, ax: Axes, label: str) -> None:
    """A colour bar under a panel, as wide as the panel."""
    box = ax.get_position()
    bar = fig.add_axes((box.x0 + 0.1 * box.width, box.y0 - 0.055, 0.8 * box.width, 0.028))
    fig.colorbar(ax.collections[0], cax=bar, orientation="horizontal", extendfrac=0.04)
    low, high = ax.collections[0].get_clim()
    ticks = [low, low / 2, 0] if high <= 0 else [-_nice(high), 0, _nice(high)]
    bar.set_xticks(ticks, [f"{t:g}".replace("-", "−") for t in ticks])
    bar.tick_params(labelsize=5.5, length=1.5, pad=1)
    bar.set_xlabel(label, size=6, labelpad=1)


def _nice(value: float) -> float:
    """The largest of 1, 2, 5 x 10^k that is at most 0.9 value."""
    power = 10 ** np.floor(np.log10(0.9 * value))
    return float(max(m for m in (1, 2, 5) if m * power <= 0.9 * value) * power)


def _legend(fig: Figure, ax: Axes, region: bool) -> None:
    handles: list[Any] = [
        Line2D([], [], color=style.INK, lw=0.8, label="path of a sample"),
        Line2D([], [], marker="o", ls="", ms=3.5, mew=0.4, mec="white", color=style.OUTSIDE, label="its end"),
    ]
    if region:
        handles.insert(0, Patch(fc=style.REGION, label="region of the class"))
    box = ax.get_position()
    fig.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(box.x0 - 0.01, box.y0), ncols=2, columnspacing=1
    )
