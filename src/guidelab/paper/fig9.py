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
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import style

COLUMNS = ["sigma", "x", "y", "log_p1", "log_p0_cfg", "log_p0_ag"]
SIDE = 100  # drawn grid points a side
FLOOR = -8.0  # log density below the maximum at which the colours end
CUT = -20.0
REACH = 3.0  # nats at which the colours of a ratio end
TITLES = ("main  p₁", "CFG guide  p₀", "autoguidance guide  p₀", "ln p₁/p₀, CFG", "ln p₁/p₀, autoguidance")


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
    with style.context():
        left, right, bottom, top, gap = 9.0, 1.0, 17.0, 6.0, 1.0  # mm
        side = (style.PAGE_MM - left - right - 4 * gap) / 5
        tall = side * (window[3] - window[2]) / (window[1] - window[0])
        height = len(sigmas) * tall + (len(sigmas) - 1) * gap + bottom + top
        fig = style.figure(style.PAGE_MM, height)
        axes = fig.subplots(len(sigmas), 5, squeeze=False)
        fig.subplots_adjust(
            left=left / style.PAGE_MM, right=1 - right / style.PAGE_MM, bottom=bottom / height, top=1 - top / height,
            wspace=gap / side, hspace=gap / tall,
        )  # fmt: skip
        for line, sigma in zip(axes, sigmas, strict=True):
            _line(line, rows[rows["sigma"] == sigma])
            line[0].set_ylabel(f"σ = {sigma:g}", labelpad=3)
            for ax in line:
                style.square(ax, window)
        for i, (ax, title) in enumerate(zip(axes[0], TITLES, strict=True)):
            ax.set_title(title)
            ax.set_label(f"column {i}")
        _bars(fig, axes[-1], bottom / height, height)
        style.footer(fig, style.origin_line(info, "ratios are drawn where ln p₁ − max > −8"))
    return fig


def _line(axes: Any, table: pd.DataFrame) -> None:
    """The five panels of one noise level."""
    fields = {}
    for column in COLUMNS[3:]:
        x, y, fields[column] = ar.as_grid(table, column, "fig9")
    p1, cfg, autog = (fields[c] for c in COLUMNS[3:])
    for ax, log_p in zip(axes, (p1, cfg, autog), strict=False):
        _draw(ax, x, y, log_p, FLOOR, 0.0)
    for ax, guide in zip(axes[3:], (cfg, autog), strict=True):
        seen = p1 > FLOOR
        ratio = p1 - guide
        _draw(ax, x, y, ratio - np.median(ratio[seen]), -REACH, REACH)
        cover = ax.contourf(
            x, y, p1, levels=[CUT - 1, FLOOR], colors=["white"]
        )  # where p1 is next to nothing
        cover.set_rasterized(True)
        ax.contour(x, y, p1, levels=[FLOOR], colors=[style.INK], linewidths=0.4, linestyles="solid")


def _draw(ax: Axes, x: ar.Float, y: ar.Float, values: ar.Float, low: float, high: float) -> None:
    norm = TwoSlopeNorm(0.0, low, high) if high > 0 else None
    image = ax.pcolormesh(
        x, y, values, shading="gouraud", norm=norm, vmin=None if norm else low, vmax=None if norm else high,
        cmap=style.RATIO if norm else style.DENSITY, rasterized=True,
    )  # fmt: skip
    image.set_label("ratio" if norm else "density")


def _bars(fig: Figure, axes: Any, bottom: float, height: float) -> None:
    for first, last, label, ticks in (
        (0, 2, "ln p − max", [FLOOR, FLOOR / 2, 0]),
        (3, 4, "ln p₁/p₀ − median", [-REACH, 0, REACH]),
    ):
        x0, x1 = axes[first].get_position().x0, axes[last].get_position().x1
        bar = fig.add_axes((x0 + 0.15 * (x1 - x0), bottom - 4.5 / height, 0.7 * (x1 - x0), 2.2 / height))
        fig.colorbar(
            axes[first].collections[0], cax=bar, orientation="horizontal", extend="both" if first else "min"
        )
        bar.set_xticks(ticks, [f"{t:g}".replace("-", "−") for t in ticks])
        bar.set_xlabel(label, labelpad=1)
