"""FID and recall over the guidance weight: one panel a metric, every method against w minus its neutral weight.

A method starts at no guidance, at 0 on this axis, where it is the unguided sampler itself; sums of methods do not, as
one of them keeps its weight while the other is swept. Where there are several nets, each has its own no guidance.

Rows: one for each (variant, w, metric): columns plotted.OF_IMAGES; offset = w - w_neutral; value, lo and hi are nan unless
status is `ok`; selected marks the weight chosen by FID in the metric's own feature space, starts whether w_neutral is no guidance.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import charts, looks, page, plotted, ranges, style

METRICS = ("fid@lite0", "fid@classifier", "recall@lite0", "recall@classifier")
VARIANTS = ("cfg", "autog", "dg", "dg_autog")
NEUTRAL = "none"


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point with its interval, to four significant digits.

    Args:
        tables: `measurements`, tidy rows; `selected`, the chosen weights; `metrics`, workflow/resources/metrics.csv.
        info: the job's spec; settings.variants and settings.metrics say what is drawn.
    Raises:
        UserError: rows that may not be compared, or variants at another step count than no guidance.
    """
    settings = info.get("settings", {})
    wanted = [NEUTRAL, *(settings.get("variants") or VARIANTS)]
    table = plotted.points(tables, wanted, settings.get("metrics") or METRICS, info)
    return ar.round_table(table[plotted.OF_IMAGES].assign(offset=table["offset"].round(6)))


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: two panels a row.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, plotted.OF_IMAGES, "weights")
    metrics = list(dict.fromkeys(rows["metric"]))
    labels = dict(zip(rows["variant"], rows["label"], strict=True))
    handles = [page.handle(looks.look(v), label) for v, label in labels.items()]
    handles += page.signs(rows, chosen=bool(rows["selected"].any()))
    said = style.origin_line(
        info, page.WEIGHTS, "↓ lower is better, ↑ higher", plotted.at_edge(rows), plotted.bars(rows)
    )
    with style.context():
        fig, axes = page.page(handles, len(metrics), said, panel_mm=28.0)
        for i, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], info.get("mains") or {}, i)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, mains: Mapping[str, str], index: int) -> None:
    """One metric: no guidance as a line across for each net, every method from there through its weights."""
    text, factor = plotted.title(rows)
    ok = charts.sound(rows, factor)
    starts = [v for v in _unguided(rows, mains) if v in set(ok["variant"])]
    methods = [v for v in dict.fromkeys(ok["variant"]) if v not in _unguided(rows, mains)]
    across = {v: ok[ok["variant"] == v].iloc[0].to_dict() for v in starts}
    for variant, row in across.items():
        charts.level(ax, row, looks.look(variant), star=True, name=variant)
    guided = ok[ok["variant"].isin(methods)]
    charts.curves(ax, guided, {v: looks.look(v) for v in methods}, x="offset", band=False)
    chosen = guided[guided["selected"].astype(bool)]
    charts.rings(ax, chosen["offset"], chosen["value"])
    for variant in methods:
        mine = guided[guided["variant"] == variant].sort_values("offset")
        own = next((v for v in across if mains.get(v) == mains.get(variant)), None)
        if own and mine["starts"].all() and mine["offset"].min() > 0:
            charts.joined(
                ax,
                (0.0, mine["offset"].iloc[0]),
                (across[own]["value"], mine["value"].iloc[0]),
                looks.look(variant),
            )
    if len(ok):
        ranges.cut(ax, ok, max((float(row["value"]) for row in across.values()), default=float("nan")))
    else:
        page.nothing(ax, rows)
    ax.set(xlabel=page.OFFSET, ylabel="")
    style.letter(ax, index, text)
    ax.set_label(str(rows["metric"].iloc[0]))


def _unguided(rows: pd.DataFrame, mains: Mapping[str, str]) -> list[str]:
    """The variants that are no guidance of some net: NEUTRAL, and where nets are told apart what has one point, at 0."""
    alone = rows.groupby("variant", sort=False)["offset"].agg(lambda x: x.nunique() == 1 and x.iloc[0] == 0)
    return [str(v) for v, at_zero in alone.items() if v == NEUTRAL or (mains and at_zero)]
