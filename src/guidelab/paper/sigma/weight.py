# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Exact divergences against the guidance weight, with the grader's bounds, beside quality and diversity.

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

from guidelab.paper import checks, curves, names, style, summary
from guidelab.paper.sigma import numbers, points

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
_HEIGHT_MM = 100.0


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Measured numbers of the variants that settings ask for, and the bounds of those points that are graded."""
    if not numbers.exact_known(tables["divergences"]):
        return points.rows(tables, info)
    settings = info["settings"]
    report = summary.report_rows(tables["measurements"], tables["selected"])
    shown = [NEUTRAL, *settings["variants"]]
    report = report[report["variant"].isin(shown)]
    metrics = [*DIVERGENCES, *settings["metrics"]]
    checks.known_metrics(metrics, tables["metrics"])
    described = tables["metrics"].set_index("metric")
    parts = []
    for (variant, weight), at in report.groupby(["variant", "w"], sort=False):
        w, neutral = float(str(weight)), float(at["w_neutral"].iloc[0])
        for metric in metrics:
            unit = str(described.loc[metric, "unit"])
            e = summary.estimate(at[at["metric"] == metric], share=unit == "%")
            told = (described.loc[metric, "label"], unit, w, w - neutral)
            parts.append(
                (
                    variant,
                    metric,
                    "measured",
                    *told,
                    e.value,
                    e.lo,
                    e.hi,
                    e.over,
                    e.n_trainings,
                    e.n_generated,
                    False,
                    e.status,
                )
            )
        point = f"{variant}/w{w:.2f}"
        parts += _graded(tables["divergences"], point, str(variant), w, neutral, described)
    return curves.round_rows(pd.DataFrame(parts, columns=COLUMNS))


def _graded(
    given: pd.DataFrame, point: str, variant: str, w: float, neutral: float, described: pd.DataFrame
) -> list[tuple[Any, ...]]:
    """The grader's bounds at one point, and what they are bounds of."""
    found = []
    mine = given[given["point"] == point]
    for metric, (source, (kind, estimator)) in product(DIVERGENCES, GRADED.items()):
        same = mine[
            (mine["kind"] == kind) & (mine["divergence"] == metric) & (mine["estimator"] == estimator)
        ]
        for row in same.to_dict("records"):
            e = numbers.interval(row)
            told = (described.loc[metric, "label"], "nat", w, w - neutral, e["value"], e["lo"], e["hi"])
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
    with style.context():
        said = style.origin_line(info, _said(rows))
        height = _HEIGHT_MM + style.footer_mm(said)
        fig = style.figure(style.PAGE_MM, height)
        for index, metric in enumerate(metrics):
            left, bottom = 12 + 59 * (index % 3), height - 42 - 46 * (index // 3)
            box = (left / style.PAGE_MM, bottom / height, 45 / style.PAGE_MM, 35 / height)
            _panel(fig.add_axes(box), rows[rows["metric"] == metric], metric, index)
        handles = curves.handles(rows) + curves.sign_handles(rows[rows["source"] == "measured"])
        handles += [
            Line2D([], [], ls="", color=style.FAINT, label=words, **_MARKS[source])
            for source, words in (
                ("exact", "exact, the graded training"),
                ("bound", "its lower bound, by the grader"),
            )
        ]
        fig.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.70, 0.46), labelspacing=0.5)
        style.footer(fig, said)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, metric: str, index: int) -> None:
    measured = rows[rows["source"] == "measured"]
    label, factor = curves.axis_label(measured, metric)
    for variant in names.ordered(measured["variant"]):
        if variant != NEUTRAL:
            curves.curve(ax, measured[measured["variant"] == variant], factor)
    curves.reference(ax, measured[measured["variant"] == NEUTRAL], factor)
    sound = rows[(rows["source"] != "measured") & (rows["status"] == summary.OK)]
    for row in sound.to_dict("records"):
        color = style.look(str(row["variant"])).color
        x = 0.0 if row["variant"] == NEUTRAL else float(row["offset"])
        ax.plot([x, x], [row["lo"], row["hi"]], "-", color=color, lw=0.7, zorder=5)
        ax.plot(x, row["value"], ls="", color=color, zorder=6, **_MARKS[row["source"]])
    drawn = pd.concat([measured[measured["status"] == summary.OK], sound])
    if len(drawn):
        curves.limits(ax, *(drawn[c].to_numpy(float) * factor for c in ("value", "lo", "hi")))
    curves.mark_unestimable(ax, measured)
    ax.set_xlabel("w − neutral w", labelpad=1)
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.05)
    style.letter(ax, index, label)
    ax.set_label(metric)


def _said(rows: pd.DataFrame) -> str:
    measured, bounds = (rows[rows["source"] == source] for source in ("measured", "bound"))
    n = int(measured["n_generated"].max())
    graded = (
        f"; small circles and bars: one training, the graded one; bounds (NWJ) on {int(bounds['n_generated'].min()):,} points a side that "
        "no net has seen: a bound may lie anywhere below its circle, and that of DG lies lower for being guided by a net of the grader's "
        "kind; do not rank by bounds"
        if len(bounds)
        else ""
    )
    return (
        f"curves: exact divergences at the lowest σ, and metrics of blocks of up to {n:,} samples; bands 95 %, over trainings (filled) or "
        f"samples of one (open){graded}"
    )
