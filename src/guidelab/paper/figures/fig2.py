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
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import maps, names, page, style
from guidelab.paper.figures.fig1 import points

COLUMNS = ["panel", "kind", "x", "y", "u", "v", "value", "line", "track"]
SIDE = 80  # drawn grid points a side: a density smoothed by sigma has no finer detail in a close-up
GRIDS = {"p1": "main p₁(x | c; σ)", "p0": "uncond. p₀(x; σ)", "ratio": "ln p₁/p₀, gradient"}


def rows(arrays: ar.Arrays, info: dict[str, Any]) -> pd.DataFrame:
    """What the five panels draw as a table, to four significant digits.

    Raises:
        UserError: an array is absent or of another shape.
    """
    x, y = ar.take(arrays, "grid/x", (None,), "fig2"), ar.take(arrays, "grid/y", (None,), "fig2")
    shape = (len(y), len(x))
    p1, p0 = (ar.take(arrays, f"grid/log_{p}", shape, "fig2") for p in ("p1", "p0"))
    seen = p1 > p1.max() + maps.FLOOR
    fields = [
        np.maximum(p1 - p1.max(), 2 * maps.FLOOR),
        np.maximum(p0 - p0.max(), 2 * maps.FLOOR),
        p1 - p0 - np.median((p1 - p0)[seen]),
    ]
    gx, gy, thin = ar.thinned(x, y, fields, SIDE)
    parts = [
        ar.grid_table(gx, gy, value=f).assign(panel=panel, kind="grid")
        for panel, f in zip(GRIDS, thin, strict=True)
    ]
    if "grid/log_p" in arrays:
        rings = ar.outline(x, y, ar.take(arrays, "grid/log_p", shape, "fig2"), maps.CONTOUR)
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
        fig, axes = page.maps(
            maps.handles_of_paths(bool(len(region))), len(panels), window, said, below_mm=7.0
        )
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            if panel in GRIDS:
                maps.field(fig, ax, grids[grids["panel"] == panel], panel, GRIDS[panel].split()[1][:2])
            else:
                maps.tracks(ax, tracks[tracks["panel"] == panel], region)
            style.square(ax, window)  # type: ignore[arg-type]
            style.letter(ax, i, GRIDS[panel] if panel in GRIDS else names.point_label(panel), 6.0)
        maps.arrows(axes[2], rows[rows["kind"] == "arrow"], window[1] - window[0])
    return fig
