"""Exact divergences against the guidance weight, with the grader's bounds, with quality and diversity.

`rows(tables, info)` makes one row per (variant, w, metric, source): source `measured` for report blocks of all trainings,
`bound` for the grader's lower bound, `exact` for the divergence of the graded training by itself, above which no bound
should lie; the other columns are those of the sweep. Where no density is known there is no curve: see `points`.
"""

from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from guidelab.paper import arrays as ar
from guidelab.paper import (
    captions,
    charts,
    divergence_numbers,
    looks,
    page,
    plotted,
    reported,
    style,
    summary,
)
from guidelab.paper.figures import divergence_points as points
from guidelab.paper.figures import sweep

COLUMNS = [
    "variant", "metric", "source", "label", "unit", "w", "offset", "value", "lo", "hi", "over", "n_trainings", "n_generated",
    "selected", "status",
]  # fmt: skip
DIVERGENCES = ("kl", "kl_reverse", "js")
GRADED = {"bound": ("estimate", "nwj"), "exact": ("truth", "exact")}  # of the one training that is graded
NEUTRAL = "none"
_MARKS: dict[str, dict[str, Any]] = {
    "bound": {"marker": "_", "ms": 7, "mew": 1.4},
    "exact": {"marker": "o", "ms": 3.2, "mfc": "white", "mew": 0.8},
}


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Measured numbers of the variants that settings name, and the bounds of those points that are graded."""
    if not divergence_numbers.exact_known(tables["divergences"]):
        return points.rows(tables, info)
    settings = info["settings"]
    report = reported.rows(tables["measurements"], tables["selected"])
    report = report[report["variant"].isin([NEUTRAL, *settings["variants"]])]
    measured = plotted.estimates(report, [*DIVERGENCES, *settings["metrics"]], tables)
    described = tables["metrics"].set_index("metric")
    parts = []
    for (variant, w), at in measured.groupby(["variant", "w"], sort=False):
        point, offset = f"{variant}/w{w:.2f}", float(at["offset"].iloc[0])
        parts.append(at.assign(source="measured", selected=False))
        graded = _graded(tables["divergences"], point, str(variant), float(str(w)), offset, described)
        parts += [pd.DataFrame(graded, columns=COLUMNS)] if graded else []
    return ar.round_table(pd.concat(parts, ignore_index=True)[COLUMNS])


def _graded(
    given: pd.DataFrame, point: str, variant: str, w: float, offset: float, described: pd.DataFrame
) -> list[tuple[Any, ...]]:
    """The grader's bounds at one point, and what they are bounds of."""
    found = []
    mine = given[given["point"] == point]
    for metric, (source, (kind, estimator)) in product(DIVERGENCES, GRADED.items()):
        same = mine[
            (mine["kind"] == kind) & (mine["divergence"] == metric) & (mine["estimator"] == estimator)
        ]
        for row in same.to_dict("records"):
            e = divergence_numbers.interval(row)
            told = (described.loc[metric, "label"], "nat", w, offset, e["value"], e["lo"], e["hi"])
            found.append((variant, metric, source, *told, summary.SAMPLES, 1, row["n"], False, e["status"]))
    return found


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel a metric.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    if "panel" in rows:
        return points.make(rows, info)
    style.need(rows, COLUMNS, "divergence_weight")
    metrics = list(dict.fromkeys(rows["metric"]))
    measured = rows[rows["source"] == "measured"]
    handles = page.handles(rows["variant"]) + page.signs(measured)
    words = {"exact": "exact, graded training", "bound": "its lower bound"}
    handles += [
        Line2D([], [], ls="", color=style.FAINT, label=words[source], **mark)
        for source, mark in _MARKS.items()
    ]
    with style.context():
        fig, axes = page.page(
            handles, len(metrics), style.origin_line(info, page.WEIGHTS, captions.divergence_weight(rows))
        )
        for index, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], index)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, index: int) -> None:
    """The sweep's panel, and the bounds of the graded training with what they are bounds of."""
    sweep.panel(ax, rows[rows["source"] == "measured"], index)
    graded = charts.sound(rows[rows["source"] != "measured"])
    for row in graded.to_dict("records"):
        color = looks.look(str(row["variant"])).color
        x = 0.0 if row["variant"] == NEUTRAL else float(row["offset"])
        ax.plot([x, x], [row["lo"], row["hi"]], "-", color=color, lw=0.7, zorder=5)
        ax.plot(x, row["value"], ls="", color=color, zorder=6, **_MARKS[row["source"]])
    if len(graded):
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, 0.98 * graded["value"].min()), max(high, 1.04 * graded["value"].max()))
