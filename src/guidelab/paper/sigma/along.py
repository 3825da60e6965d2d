# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Along sigma: score mismatch, the weights that make divergences of it and their products; without a true score, gains.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed. Where the true score is not known the null stands beside them.
"""

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from guidelab.paper import style
from guidelab.paper.sigma import lines, numbers

COLUMNS = lines.COLUMNS


class Panel(NamedTuple):
    """One series of every point; `level`: the value of a sampler whose law is the data's."""

    series: str
    divergence: str
    title: str
    level: float | None = None
    log: bool = False


EXACT = (
    Panel("score_error_sampler", "score_error", "σ² E‖∇log p − s‖²", log=True),
    Panel("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    Panel("weight", "js", "weight of JS, E (1 − d)/2"),
    Panel("weight", "chi2", "weight of χ², E 2r"),
    Panel("posterior", "", "discriminator, E d"),
    Panel("product", "kl_reverse", "product for KL(q‖p)", log=True),
    Panel("product", "js", "product for JS", log=True),
    Panel("product", "chi2", "product for χ²", log=True),
)
BOUNDS = (
    Panel("gain_guidance", "score_error", "gain of guidance", 0.0),
    Panel("gain_grader", "score_error", "gain of the grader", 0.0),
    Panel("weighted_gain", "kl_reverse", "b, weighed for KL(q‖p)", 0.0),
    Panel("weighted_gain", "js", "b, weighed for JS", 0.0),
    Panel("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    Panel("weight", "js", "weight of JS, E (1 − d)/2", 0.25),
    Panel("nwj", "kl", "KL(p‖q) ≥ NWJ, nats", 0.0),
    Panel("nwj", "js", "JS ≥ NWJ, nats", 0.0),
)
_HEIGHT_MM = 96.0
_MANY = 4  # names that fit above the panels with room between them
_TIGHT = {"columnspacing": 0.9, "handlelength": 1.6, "handletextpad": 0.5}


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the points that settings name, and of the null where there is no truth to compare with."""
    given = tables["divergences"]
    exact = numbers.exact_known(given)
    return lines.rows(given, _points(info, exact), EXACT if exact else BOUNDS)


def _points(info: dict[str, Any], exact: bool) -> list[str]:
    shown = [lines.point_name(p) for p in info["settings"]["points"]]
    return shown if exact else [numbers.NULL, *shown]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: eight panels, one curve a point.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_sigma")
    exact = EXACT[0].series in set(rows["series"])
    points = [p for p in _points(info, exact) if p in set(rows["point"])]
    with style.context():
        words = (_EXACT if exact else _BOUNDS).format(n=lines.bins_n(rows))
        said = style.origin_line(info, f"{_range(rows)}; {words}")
        height = _HEIGHT_MM + style.footer_mm(said)
        fig = style.figure(style.PAGE_MM, height)
        for index, panel in enumerate(EXACT if exact else BOUNDS):
            left, bottom = 10 + 43.3 * (index % 4), height - 42 - 43 * (index // 4)
            ax = fig.add_axes((left / style.PAGE_MM, bottom / height, 34 / style.PAGE_MM, 33 / height))
            mine = rows[(rows["series"] == panel.series) & (rows["divergence"] == panel.divergence)]
            lines.panel(ax, mine, points, log=panel.log)
            if panel.level is not None:
                ax.axhline(panel.level, color=style.INK, lw=0.5, zorder=1)
            if panel.log and (mine["value"] > 0).any():
                ax.set_yscale("log")
                ax.yaxis.set_minor_formatter(NullFormatter())
            lines.room(ax, mine, points)
            style.letter(ax, index, panel.title)
            ax.set_label(f"{panel.series} {panel.divergence}".strip())
            if index >= 4:
                ax.set_xlabel("σ", labelpad=1)
        looks: dict[str, Any] = _TIGHT if len(points) > _MANY else {}
        right = 0.995 if len(points) > _MANY else 0.99
        handles = [lines.handle(point) for point in points]
        fig.legend(
            handles=handles, loc="upper right", ncols=len(points), bbox_to_anchor=(right, 1.0), **looks
        )
        style.footer(fig, said)
    return fig


def _range(rows: pd.DataFrame) -> str:
    seeds = ", ".join(map(str, sorted(set(rows["train_seed"]))))
    span = f"σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, {rows['sigma'].nunique()} bins"
    return f"training seed {seeds}; {span}"


_EXACT = (
    "means over p, {n} real points a bin that no net has seen; a and products in "
    "nats per unit of ln σ. a: mismatch, exact, and KL(p‖q)'s own product, whose weight is 1; s is the score that is sampled with. "
    "r and d are the grader's, so no weight or product is a bound. b: exactly 1 (line) for the true r, so what is seen there is the "
    "grader's error. Bands 95 % over points; × and gaps: not estimable, a few points carry the mean"
)
_BOUNDS = (
    "{n} test images (g, h: a side) in a bin, no net has seen them. "
    "a, b: held-out denoising loss that guidance removes, and that the grader's gradient would remove after it, nats per unit of ln σ: "
    "lower bounds of the score error; below 0 it harms. c, d: b under each divergence's weight by the grader's r, no bounds. e: exactly 1 "
    "for the true r, so what is seen there is the grader's error. g, h: lower bounds, means over a bin; of DG's samplers lowered by "
    "more than their divergence, not to be ranked by. A grader may use traces in pixels that no eye sees. Black line: where nothing "
    "differs. Bands 95 % over images; × and gaps: not estimable"
)
