# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Figure 9 of the autoguidance paper: densities of main and guiding nets, and their ratios, over noise levels.

Arrays (`fields/fig9.safetensors`), float; densities need no normalisation:
    grid/x [Gx], grid/y [Gy]                          positions, ascending, the same for all noise levels
    log_p1/<sigma>, log_p0_cfg/<sigma>, log_p0_ag/<sigma> [Gy, Gx]   with <sigma> as f"{sigma:g}", e.g. log_p1/0.25

Rows: columns sigma, x, y, log_p1, log_p0_cfg, log_p0_ag; a full grid for each sigma. The densities are 0 at their
maximum over the grid and cut at -20, far beyond where colours end.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import charts, page, style
from guidelab.paper.looks import INK

COLUMNS = ["sigma", "x", "y", "log_p1", "log_p0_cfg", "log_p0_ag"]
SIDE = 100  # drawn grid points a side
FLOOR = -8.0  # log density below the maximum at which the colours end
CUT = -20.0
REACH = 3.0  # nats at which the colours of a ratio end
TITLES = ("main\np₁", "CFG guide\np₀", "autog. guide\np₀", "CFG\nln p₁/p₀", "autoguidance\nln p₁/p₀")


def rows(arrays: ar.Arrays, info: dict[str, Any]) -> pd.DataFrame:
    """The three log densities at each of settings.sigmas on at most 100 x 100 points, to 0.01 nat.

    Raises:
        UserError: an array is absent or of another shape.
    """
    x, y = ar.take(arrays, "grid/x", (None,), "fig9"), ar.take(arrays, "grid/y", (None,), "fig9")
    parts = []
    for sigma in info["settings"]["sigmas"]:
        fields = [ar.take(arrays, f"{name}/{sigma:g}", (len(y), len(x)), "fig9") for name in COLUMNS[3:]]
        gx, gy, thin = ar.thinned(x, y, fields, SIDE)
        logs = dict(zip(COLUMNS[3:], (np.round(np.maximum(f - f.max(), CUT), 2) for f in thin), strict=True))
        parts.append(ar.grid_table(gx, gy, **logs).assign(sigma=float(sigma)))
    return ar.round_table(pd.concat(parts, ignore_index=True)[COLUMNS])


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: one line of panels for each sigma, densities in the first three columns, ratios in the last two.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "fig9")
    sigmas = sorted(rows["sigma"].unique(), reverse=True)
    window = (rows["x"].min(), rows["x"].max(), rows["y"].min(), rows["y"].max())
    said = style.origin_line(info, "σ: noise level; ratios are drawn where ln p₁ − max > −8")
    with style.context():
        fig, axes = page.maps(
            [], 5 * len(sigmas), window, said, columns=5, title_mm=0.3, head_mm=6.5, left_mm=4.0, foot_mm=8.0
        )
        for i, sigma in enumerate(sigmas):
            line = axes[5 * i : 5 * i + 5]
            _line(line, rows[rows["sigma"] == sigma])
            line[0].set_ylabel(f"σ = {sigma:g}", labelpad=2)
            for ax in line:
                style.square(ax, window)
        for i, (ax, title) in enumerate(zip(axes, TITLES, strict=False)):
            ax.set_title(title, size=6, linespacing=1.1)
            ax.set_label(f"column {i}")
        low = axes[-5:]
        page.bar(fig, low[:3], low[0].collections[0], "ln p − max", [FLOOR, FLOOR / 2, 0], "min")
        page.bar(fig, low[3:], low[3].collections[0], "ln p₁/p₀ − median", [-REACH, 0, REACH], "both")
    return fig


def _line(axes: Any, table: pd.DataFrame) -> None:
    """The five panels of one noise level."""
    fields = {}
    for column in COLUMNS[3:]:
        x, y, fields[column] = ar.as_grid(table, column, "fig9")
    p1, cfg, autog = (fields[c] for c in COLUMNS[3:])
    for ax, log_p in zip(axes, (p1, cfg, autog), strict=False):
        charts.field_map(ax, x, y, log_p, FLOOR, 0.0)
    for ax, guide in zip(axes[3:], (cfg, autog), strict=True):
        seen = p1 > FLOOR
        ratio = p1 - guide
        charts.field_map(ax, x, y, ratio - np.median(ratio[seen]), -REACH, REACH)
        cover = ax.contourf(
            x, y, p1, levels=[CUT - 1, FLOOR], colors=["white"]
        )  # where p1 is next to nothing
        cover.set_rasterized(True)
        ax.contour(x, y, p1, levels=[FLOOR], colors=[INK], linewidths=0.4, linestyles="solid")
