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
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch

from guidelab.paper import arrays as ar
from guidelab.paper import charts, names, page, style
from guidelab.paper.figures.fig1 import CONTOUR, points
from guidelab.paper.looks import INK

COLUMNS = ["panel", "kind", "x", "y", "u", "v", "value", "line", "track"]
SIDE = 80  # drawn grid points a side: a density smoothed by sigma has no finer detail in a close-up
FLOOR = -8.0  # log density below the maximum at which the colours end
GRIDS = {"p1": "main p₁(x | c; σ)", "p0": "uncond. p₀(x; σ)", "ratio": "ln p₁/p₀, gradient"}


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
    said = style.origin_line(info, f"noise level σ = {info['settings']['sigma']:g} in a–c")
    with style.context():
        fig, axes = page.maps(_handles(bool(len(region))), len(panels), window, said, below_mm=7.0)
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            if panel in GRIDS:
                _grid(fig, ax, grids[grids["panel"] == panel], panel)
            else:
                _tracks(ax, tracks[tracks["panel"] == panel], region)
            style.square(ax, window)  # type: ignore[arg-type]
            style.letter(ax, i, GRIDS[panel] if panel in GRIDS else names.point_label(panel), 6.0)
        _arrows(axes[2], rows[rows["kind"] == "arrow"], window[1] - window[0])
    return fig


def _grid(fig: Figure, ax: Axes, table: pd.DataFrame, panel: str) -> None:
    """A field with its colour bar."""
    x, y, value = ar.as_grid(table, "value", "fig2")
    if panel == "ratio":
        reach = float(np.quantile(np.abs(value), 0.95)) or 1.0
        mesh = charts.field_map(ax, x, y, value, -reach, reach)
        page.bar(fig, [ax], mesh, "ln p₁/p₀ − median", [-_nice(reach), 0, _nice(reach)], "both")
    else:
        mesh = charts.field_map(ax, x, y, value, FLOOR, 0.0)
        page.bar(fig, [ax], mesh, f"ln {GRIDS[panel].split()[1][:2]} − max", [FLOOR, FLOOR / 2, 0], "min")
    ax.set_label(panel)


def _arrows(ax: Axes, table: pd.DataFrame, side: float) -> None:
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


def _tracks(ax: Axes, table: pd.DataFrame, region: pd.DataFrame) -> None:
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


def _handles(region: bool) -> list[Any]:
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
