# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Score mismatch, the weights that make divergences of it, and their products along sigma.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from guidelab.paper import style
from guidelab.paper.sigma import lines

COLUMNS = lines.COLUMNS
# series, divergence, title
PANELS = (
    ("score_error_sampler", "score_error", "σ² E‖∇log p − s‖²"),
    ("weight", "kl_reverse", "weight of KL(q‖p), E 1/r"),
    ("weight", "js", "weight of JS, E (1 − d)/2"),
    ("weight", "chi2", "weight of χ², E 2r"),
    ("posterior", "", "discriminator, E d"),
    ("product", "kl_reverse", "product for KL(q‖p)"),
    ("product", "js", "product for JS"),
    ("product", "chi2", "product for χ²"),
)
_KNOWN = ("weight", "kl_reverse")  # E_p 1/r = 1
_HEIGHT_MM = 96.0


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the points that settings ask for."""
    return lines.rows(tables["divergences"], _points(info), PANELS)


def _points(info: dict[str, Any]) -> list[str]:
    return [lines.point_name(p) for p in info["settings"]["points"]]


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
        for index, (series, divergence, title) in enumerate(PANELS):
            left, bottom = 10 + 43.3 * (index % 4), height - 42 - 43 * (index // 4)
            ax = fig.add_axes((left / style.PAGE_MM, bottom / height, 34 / style.PAGE_MM, 33 / height))
            mine = rows[(rows["series"] == series) & (rows["divergence"] == divergence)]
            _panel(ax, mine, points, log=series in ("score_error_sampler", "product"))
            if (series, divergence) == _KNOWN:
                ax.axhline(1.0, color=style.INK, lw=0.5, zorder=1)
            style.letter(ax, index, title)
            ax.set_label(f"{series} {divergence}".strip())
            if index >= 4:
                ax.set_xlabel("σ", labelpad=1)
        handles = [lines.handle(point) for point in points]
        fig.legend(handles=handles, loc="upper right", ncols=len(points), bbox_to_anchor=(0.99, 1.0))
        style.footer(fig, said)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, points: list[str], log: bool) -> None:
    lines.panel(ax, rows, points, log=log)
    if log and (rows["value"] > 0).any():
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    lines.room(ax, rows, points)


def _said(rows: pd.DataFrame) -> str:
    seeds = sorted(set(rows["train_seed"]))
    return (
        f"training seed {', '.join(map(str, seeds))}; σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, "
        f"{rows['sigma'].nunique()} bins; means over p, {lines.bins_n(rows)} real points a bin that no net has seen; a and products in "
        "nats per unit of ln σ. a: mismatch, exact, and KL(p‖q)'s own product, whose weight is 1; s is the score that is sampled with. "
        "r and d are the grader's, so no weight or product is a bound. b: exactly 1 (line) for the true r, so what is seen there is the "
        "grader's error. Bands 95 % over points; × and gaps: not estimable, a few points carry the mean"
    )
