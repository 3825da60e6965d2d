# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Divergences of images along sigma: what is lost in denoising, the grader's weights, and bounds; the null beside them.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from guidelab.paper import style
from guidelab.paper.sigma import lines, numbers

COLUMNS = lines.COLUMNS
# series, divergence, title, where nothing differs
PANELS = (
    ("gain_guidance", "score_error", "gain of guidance", 0.0),
    ("gain_grader", "score_error", "gain of the grader", 0.0),
    ("weighted_gain", "kl_reverse", "b, weighed for KL(q‖p)", 0.0),
    ("weighted_gain", "js", "b, weighed for JS", 0.0),
    ("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    ("weight", "js", "weight of JS, E (1 − d)/2", 0.25),
    ("nwj", "kl", "KL(p‖q) ≥ NWJ, nats", 0.0),
    ("nwj", "js", "JS ≥ NWJ, nats", 0.0),
)
_HEIGHT_MM = 96.0


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the null and of the points that settings ask for."""
    return lines.rows(tables["divergences"], _points(info), PANELS)


def _points(info: dict[str, Any]) -> list[str]:
    return [numbers.NULL, *(lines.point_name(p) for p in info["settings"]["points"])]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: eight panels, one curve a point.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_sigma")
    points = [p for p in _points(info) if p in set(rows["point"])]
    with style.context():
        said = style.origin_line(info, _said(rows))
        height = _HEIGHT_MM + style.footer_mm(said)
        fig = style.figure(style.PAGE_MM, height)
        for index, (series, divergence, title, level) in enumerate(PANELS):
            left, bottom = 10 + 43.3 * (index % 4), height - 42 - 43 * (index // 4)
            ax = fig.add_axes((left / style.PAGE_MM, bottom / height, 34 / style.PAGE_MM, 33 / height))
            mine = rows[(rows["series"] == series) & (rows["divergence"] == divergence)]
            lines.panel(ax, mine, points)
            ax.axhline(level, color=style.INK, lw=0.5, zorder=1)
            lines.room(ax, mine, points)
            style.letter(ax, index, title)
            ax.set_label(f"{series} {divergence}")
            if index >= 4:
                ax.set_xlabel("σ", labelpad=1)
        fig.legend(
            handles=[lines.handle(point) for point in points],
            loc="upper right",
            ncols=len(points),
            bbox_to_anchor=(0.995, 1.0),
            columnspacing=0.9,
            handlelength=1.6,
            handletextpad=0.5,
        )
        style.footer(fig, said)
    return fig


def _said(rows: pd.DataFrame) -> str:
    seeds = sorted(set(rows["train_seed"]))
    return (
        f"training seed {', '.join(map(str, seeds))}; σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, "
        f"{rows['sigma'].nunique()} bins; {lines.bins_n(rows)} test images (g, h: a side) in a bin, no net has seen them. "
        "a, b: held-out denoising loss that guidance removes, and that the grader's gradient would remove after it, nats per unit of ln σ: "
        "lower bounds of the score error; below 0 it harms. c, d: b under each divergence's weight by the grader's r, no bounds. e: exactly 1 "
        "for the true r, so what is seen there is the grader's error. g, h: lower bounds, means over a bin; of DG's samplers lowered by "
        "more than their divergence, not to be ranked by. A grader may use traces in pixels that no eye sees. Black line: where nothing "
        "differs. Bands 95 % over images; × and gaps: not estimable"
    )
