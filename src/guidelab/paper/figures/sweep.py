# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Quality and diversity of points over the guidance weight: a group's curves against w minus its neutral weight.

Rows: one for each (variant, w, metric), report blocks only, columns COLUMNS; offset = w - w_neutral; value, lo and hi
are nan unless status is `ok`; selected marks the chosen weight.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import charts, checks, looks, names, page, reported, style, summary

COLUMNS = [
    "variant", "metric", "label", "unit", "w", "offset", "value", "lo", "hi", "over", "n_trainings", "n_generated",
    "selected", "status",
]  # fmt: skip
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
    report = reported.rows(tables["measurements"], tables["selected"])
    group = settings.get("group") or names.METHODS
    also = (NEUTRAL, *settings.get("compared_with", ()))
    drawn = report["variant"].map(lambda v: names.section(v) == group or v in also)
    return estimates(report[drawn], FULL, tables)


def estimates(report: pd.DataFrame, metrics: Any, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Columns COLUMNS of report rows, for these metrics."""
    checks.known_metrics(metrics, tables["metrics"])
    selected, described = tables["selected"], tables["metrics"].set_index("metric")
    chosen = selected[selected["n_candidates"].astype(int) > 1]
    parts = []
    for (variant, weight), at in report.groupby(["variant", "w"], sort=False):
        w = float(str(weight))
        ring = bool(((chosen["variant"] == variant) & ((chosen["w"] - w).abs() < 5e-3)).any())
        for metric in metrics:
            unit = str(described.loc[metric, "unit"])
            e = summary.estimate(at[at["metric"] == metric], share=unit == "%")
            parts.append(
                (variant, metric, described.loc[metric, "label"], unit, w, w - at["w_neutral"].iloc[0], e.value,
                 e.lo, e.hi, e.over, e.n_trainings, e.n_generated, ring, e.status)
            )  # fmt: skip
    return ar.round_table(pd.DataFrame(parts, columns=COLUMNS).assign(offset=lambda t: t["offset"].round(6)))


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel for each metric with a number of a guided variant.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, str(info.get("figure", "sweep")))
    guided = charts.sound(rows)["variant"] != NEUTRAL
    metrics = [m for m in dict.fromkeys(rows["metric"]) if m in set(charts.sound(rows).loc[guided, "metric"])]
    lost = rows[~rows["metric"].isin(metrics)].drop_duplicates("metric")
    drawn = rows[rows["metric"].isin(metrics)]
    group = info["settings"].get("group")
    said = style.origin_line(
        info, *([group] if group else []), page.WEIGHTS, spread(rows),
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
    text, factor = label(rows)
    ok = charts.sound(rows, factor)
    guided = {v: looks.look(v) for v in names.ordered(rows["variant"]) if v != NEUTRAL}
    charts.curves(ax, ok[ok["variant"] != NEUTRAL], guided, x="offset")
    for row in ok[ok["variant"] == NEUTRAL].to_dict("records"):
        charts.level(ax, row, looks.look(NEUTRAL), star=True, name=NEUTRAL)
    chosen = ok[ok["selected"].astype(bool) & (ok["variant"] != NEUTRAL)]
    charts.rings(ax, chosen["offset"], chosen["value"])
    if len(ok):
        charts.limits(ax, *(ok[c].to_numpy(float) for c in ("value", "lo", "hi")))
    charts.crosses(ax, rows, {NEUTRAL: looks.look(NEUTRAL)} | guided, x="offset")
    ax.set(xlabel=page.OFFSET, ylabel="")
    style.letter(ax, index, text)
    ax.set_label(str(rows["metric"].iloc[0]))


def label(rows: pd.DataFrame) -> tuple[str, float]:
    """A metric with its unit, and what values are multiplied by (100 for shares)."""
    first = rows.iloc[0]
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(first["unit"]), "")
    return f"{first['label']}{unit}", 100.0 if first["unit"] == "%" else 1.0


def spread(rows: pd.DataFrame) -> str:
    """What bands run over, in one line."""
    n = sorted({int(k) for k in rows.loc[rows["status"] == summary.OK, "n_trainings"]})
    if not n:
        return summary.NOT_RUN
    counted = "–".join(str(k) for k in dict.fromkeys((n[0], n[-1])))
    return (
        f"{counted} training{'s' if n[-1] > 1 else ''} a curve; bands: 95 %, over trainings (filled markers) "
        "or samples and seed blocks of one training (open)"
    )
