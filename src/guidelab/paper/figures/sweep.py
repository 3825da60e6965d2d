"""Quality and diversity of points over the guidance weight: a group's curves against w minus its neutral weight.

Rows: one for each (variant, w, metric), report blocks only, columns plotted.OF_POINTS; offset = w - w_neutral; value, lo and hi
are nan unless status is `ok`; selected marks the chosen weight.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from guidelab.paper import charts, looks, names, page, plotted, ranges, reported, style

FULL = ("outliers_99", "precision", "recall", "mass_covered", "kl", "kl_reverse", "js")
NEUTRAL = "none"


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point with its interval, to four significant digits.

    Args:
        tables: `measurements`, `selected` (the chosen weights) and `metrics`, workflow/resources/metrics.csv.
        info: the job; settings.group names the variants, by default those without a group, settings.compared_with others.
    Raises:
        UserError: rows that may not be compared; see `checks`.
    """
    settings = info["settings"]
    report = reported.sampled(reported.rows(tables["measurements"], tables["selected"]))
    group = settings.get("group") or names.METHODS
    also = (NEUTRAL, *settings.get("compared_with", ()))
    drawn = report["variant"].map(lambda v: names.section(v) == group or v in also)
    return plotted.estimates(report[drawn], FULL, tables)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel for each metric with a number of a guided variant.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, plotted.OF_POINTS, str(info.get("figure", "sweep")))
    guided = charts.sound(rows)["variant"] != NEUTRAL
    metrics = [m for m in dict.fromkeys(rows["metric"]) if m in set(charts.sound(rows).loc[guided, "metric"])]
    lost = rows[~rows["metric"].isin(metrics)].drop_duplicates("metric")
    drawn = rows[rows["metric"].isin(metrics)]
    group = info["settings"].get("group")
    said = style.origin_line(
        info, *([group] if group else []), page.WEIGHTS, plotted.at_edge(rows), plotted.bands(rows),
        *([f"left out, no number: {', '.join(lost['label'])}"] if len(lost) else []),
    )  # fmt: skip
    handles = page.handles(rows["variant"]) + page.signs(drawn, chosen=bool(drawn["selected"].any()))
    with style.context():
        fig, axes = page.page(handles, len(metrics), said)
        for i, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            panel(ax, rows[rows["metric"] == metric], i)
    return fig


def panel(ax: Any, rows: pd.DataFrame, index: int) -> None:
    """One metric over w - neutral: no guidance across, a curve for each variant."""
    text, factor = plotted.label(rows)
    ok = charts.sound(rows, factor)
    guided = {v: looks.look(v) for v in names.ordered(rows["variant"]) if v != NEUTRAL}
    charts.curves(ax, ok[ok["variant"] != NEUTRAL], guided, x="offset")
    for row in ok[ok["variant"] == NEUTRAL].to_dict("records"):
        charts.level(ax, row, looks.look(NEUTRAL), star=True, name=NEUTRAL)
    chosen = ok[ok["selected"].astype(bool) & (ok["variant"] != NEUTRAL)]
    charts.rings(ax, chosen["offset"], chosen["value"])
    if len(ok):
        ranges.limits(ax, *(ok[c].to_numpy(float) for c in ("value", "lo", "hi")))
    charts.crosses(ax, rows, {NEUTRAL: looks.look(NEUTRAL)} | guided, x="offset")
    ax.set(xlabel=page.OFFSET, ylabel="")
    style.letter(ax, index, text)
    ax.set_label(str(rows["metric"].iloc[0]))
