"""Figure 1 of the autoguidance paper: samples of each sampler over the region that holds 99 % of the data.

Arrays (`fields/fig1.safetensors`), float:
    grid/x [Gx], grid/y [Gy]        positions of the density, ascending; 300 to 500 a side draws thin twigs well
    grid/log_p [Gy, Gx]             log density of the drawn class's data
    grid/log_p_other [Gy, Gx]       the same of the other class (optional, drawn grey)
    samples/truth [n, 2]            exact draws of the class
    samples/<point> [n, 2]          draws of a sampler, e.g. samples/cfg/w4.00, in the order of settings.panels
    log_p/truth, log_p/<point> [n]  log density of the class at the samples (optional: marks those outside)

Rows: columns panel, kind, x, y, value, line.
    kind `region`: a vertex of an outline, panel `class` or `other`, line = ring (filled by even-odd), value = level
    kind `sample`: panel `truth` or a point, value = log density of the class there, nan if not given, line = 0
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from guidelab.paper import arrays as ar
from guidelab.paper import maps, names, page, style
from guidelab.paper.looks import INK

MOST = 5000  # samples drawn in a panel
COLUMNS = ["panel", "kind", "x", "y", "value", "line"]
TRUTH = "truth"


def rows(arrays: ar.Arrays, info: dict[str, Any]) -> pd.DataFrame:
    """The drawn outlines and samples as a table, coordinates to four significant digits.

    Args:
        arrays: see the module.
        info: the job's spec; settings.panels lists the points, settings.n (at most 5,000) the samples drawn.
    Raises:
        UserError: an array is absent or of another shape.
    """
    x, y = ar.take(arrays, "grid/x", (None,), "fig1"), ar.take(arrays, "grid/y", (None,), "fig1")
    parts = []
    for panel, name in (("other", "grid/log_p_other"), ("class", "grid/log_p")):
        if panel == "other" and name not in arrays:
            continue
        rings = ar.outline(x, y, ar.take(arrays, name, (len(y), len(x)), "fig1"), maps.CONTOUR)
        parts.append(rings.assign(panel=panel, kind="region", value=maps.CONTOUR))
    most = min(MOST, int(info["settings"].get("n", MOST)))
    for panel in [TRUTH, *points(info)]:
        drawn = ar.take(arrays, f"samples/{panel}", (None, 2), "fig1")[:most]
        log_p = np.full(len(drawn), np.nan)
        if f"log_p/{panel}" in arrays:
            log_p = ar.take(arrays, f"log_p/{panel}", (None,), "fig1")[:most]
        table = pd.DataFrame({"x": drawn[:, 0], "y": drawn[:, 1], "value": log_p})
        parts.append(table.assign(panel=panel, kind="sample", line=0))
    return ar.round_table(pd.concat(parts, ignore_index=True)[COLUMNS])


def points(info: dict[str, Any]) -> list[str]:
    """The samplers drawn, an unguided one written at its neutral weight."""
    return [p if "/" in p else f"{p}/w1.00" for p in info["settings"]["panels"]]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: one panel for the exact draws and one for each sampler, in the order they appear.

    Args:
        rows: see the module.
        info: experiment, scale, and in settings optionally window (x0, x1, y0, y1) and closeup, the window of
            figure 2, which is framed in the CFG panel.
    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "fig1")
    samples = rows[rows["kind"] == "sample"]
    panels = list(dict.fromkeys(samples["panel"]))
    region = rows[rows["kind"] == "region"]
    inside = region[region["panel"] == "class"]
    settings = info.get("settings", {})
    window = tuple(settings.get("window") or maps.window(inside if len(inside) else samples))
    count = samples.groupby("panel").size().max()
    said = style.origin_line(info, f"{count:,} samples a panel; arbitrary units")
    with style.context():
        handles = maps.handles_of_samples(
            bool(samples["value"].notna().any()), bool((region["panel"] == "other").any())
        )
        fig, axes = page.maps(handles, len(panels), window, said)
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            maps.regions(ax, region)
            maps.samples(ax, samples[samples["panel"] == panel], window)
            style.square(ax, window)
            style.letter(ax, i, "ground truth" if panel == TRUTH else names.point_label(panel), 6.0)
        closeup = settings.get("closeup")
        if closeup:
            x0, x1, y0, y1 = closeup
            where = next((ax for ax, p in zip(axes, panels, strict=True) if p.startswith("cfg")), axes[0])
            where.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=INK, lw=0.8, zorder=5))
    return fig
