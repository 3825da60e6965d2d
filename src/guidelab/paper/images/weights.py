# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""FID and recall over the guidance weight: one panel a metric, every method against w minus its neutral weight.

A method starts at no guidance, at 0 on this axis, where it is the unguided sampler itself; sums of methods do not, as
one of them keeps its weight while the other is swept. Where there are several nets, each has its own no guidance.

Rows: one for each (variant, w, metric): columns COLUMNS; offset = w - w_neutral; value, lo and hi are nan unless
status is `ok`; selected marks the weight chosen by FID in the metric's own feature space, starts whether w_neutral is no guidance.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import curves, style, summary
from guidelab.paper.images import compare, panels, wording

COLUMNS = ["variant", "label", "w", "offset", *panels.TITLE, *panels.NUMBER, "selected", "starts"]
METRICS = ("fid@lite0", "fid@classifier", "recall@lite0", "recall@classifier")
VARIANTS = ("cfg", "autog", "dg", "dg_autog")
NEUTRAL = "none"
_PANEL_MM = 56.0
_FAR = 1.4  # times the value of no guidance


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
    table = points(tables, wanted, settings.get("metrics") or METRICS, info)
    return curves.round_rows(table[COLUMNS])


def points(
    tables: Mapping[str, pd.DataFrame], variants: list[str], metrics: Any, info: dict[str, Any]
) -> pd.DataFrame:
    """The points of some variants: columns COLUMNS."""
    report = compare.report(tables["measurements"], tables["selected"])
    mains = info.get("mains")
    bases = [compare.baseline(report, v, mains) for v in variants] if mains else []
    variants = [*dict.fromkeys([*(b[0] for b in bases if b), *variants])]
    report = report[report["variant"].isin(variants)]
    compare.same(report, ("steps",), f"figure {info.get('figure', 'weights')}")
    described = wording.describe(tables["metrics"], metrics).to_dict("records")
    found: list[dict[str, object]] = []
    for variant in [v for v in dict.fromkeys(variants) if v in set(report["variant"])]:
        mine = report[report["variant"] == variant]
        for w in sorted(float(x) for x in mine["w"].unique()):
            for d in described:
                space = wording.features(str(d["metric"]))
                best = compare.chosen(mine, tables["selected"], variant, f"fid@{space}")
                found.append({
                    "variant": variant, "label": wording.label(variant, info.get("labels")), "w": w,
                    "offset": w - float(mine["w_neutral"].iloc[0]), "features": wording.features_short(space),
                    **{key: d[key] for key in ("metric", "name", "unit", "direction")},
                    **panels.number(mine, variant, w, d),
                    "starts": compare.starts_unguided(report, variant, mains),
                    "selected": mine["w"].nunique() > 1 and best is not None and abs(best - w) < 5e-3,
                })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: two panels a row.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "weights")
    metrics = list(dict.fromkeys(rows["metric"]))
    labels = dict(zip(rows["variant"], rows["label"], strict=True))
    with style.context():
        handles = [panels.handle(style.look(v), label) for v, label in labels.items()]
        handles += panels.signs(rows, chosen=bool(rows["selected"].any()))
        fig, found = panels.page(handles, len(metrics), _PANEL_MM, (12, 89.0, 10, 76, 17))
        for i, (ax, metric) in enumerate(zip(found, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], info.get("mains") or {}, i)
        style.footer(fig, style.origin_line(info, panels.bars(rows)))
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, mains: Mapping[str, str], index: int) -> None:
    """One metric: no guidance as a line across for each net, every method from there through its weights."""
    scale = panels.factor(rows)
    ax.margins(x=0.04)
    starts = {v: rows[rows["variant"] == v] for v in _unguided(rows, mains)}
    for variant, start in starts.items():
        panels.level(ax, start, style.look(variant), scale)
    sound = {v: start.iloc[0] for v, start in starts.items() if (start["status"] == summary.OK).all()}
    for variant in dict.fromkeys(rows["variant"]):
        mine = rows[(rows["variant"] == variant) & (rows["status"] == summary.OK)]
        if variant in starts or mine.empty:
            continue
        ink = style.look(variant)
        panels.curve(ax, mine, "offset", ink, scale, variant)
        chosen = mine[mine["selected"].astype(bool)]
        panels.ring(ax, chosen["offset"], chosen["value"] * scale)
        own = next((v for v in sound if mains.get(v) == mains.get(variant)), None)
        if own and mine["starts"].all() and mine["offset"].min() > 0:
            first = mine.sort_values("offset").iloc[0]
            ends = (float(sound[own]["value"]) * scale, float(first["value"]) * scale)
            ax.plot([0, first["offset"]], ends, color=ink.color, ls=ink.dashes, lw=0.7, alpha=0.6, zorder=2)
    for variant, at in sound.items():
        look = style.look(variant)
        ax.plot([0], at["value"] * scale, look.marker, ms=6, color=look.color, mew=0, zorder=5, label=variant)
    ok = rows[rows["status"] == summary.OK]
    if len(ok):
        _limits(ax, ok, max((float(s["value"]) for s in sound.values()), default=float("nan")), scale)
    else:
        ax.text(0.5, 0.5, summary.NOT_RUN, transform=ax.transAxes, ha="center", color=style.FAINT)
    ax.set_xlabel("w − neutral w", labelpad=1)
    style.letter(ax, index, panels.title(rows))
    ax.set_label(str(rows["metric"].iloc[0]))


def _unguided(rows: pd.DataFrame, mains: Mapping[str, str]) -> list[str]:
    """The variants that are no guidance of some net: NEUTRAL, and where nets are told apart what has one point, at 0."""
    alone = rows.groupby("variant", sort=False)["offset"].agg(lambda x: x.nunique() == 1 and x.iloc[0] == 0)
    return [str(v) for v, at_zero in alone.items() if v == NEUTRAL or (mains and at_zero)]


def _limits(ax: Axes, ok: pd.DataFrame, start: float, scale: float) -> None:
    """Room for everything that is not far worse than no guidance; what is, is written at the upper edge.

    Too large a weight can multiply FID; drawn to scale it would press all optima into a flat line.
    """
    beyond = ok["value"] > _FAR * start if ok["direction"].iloc[0] == "lower" else ok["value"] != ok["value"]
    drawn = ok[~beyond]
    curves.limits(ax, *(ar.rounded(drawn[c].to_numpy(float) * scale, 6) for c in ("value", "lo", "hi")))
    low, top = ax.get_ylim()
    far = ok[beyond].sort_values(["offset", "value"]).to_dict("records")
    above = [sum(other["offset"] == row["offset"] for other in far[:i]) for i, row in enumerate(far)]
    top += (top - low) * 0.08 * (max(above, default=-1) + 1)  # room for what is written
    ax.set_ylim(low, top)
    for row, line in zip(far, above, strict=True):
        value = row["value"] * scale
        ax.annotate(
            f"{value:.0f} ↑" if value >= 100 else f"{value:.3g} ↑", (row["offset"], top), xytext=(0, -6 - 7 * line), size=5.5,
            ha="right", textcoords="offset points", color=style.look(str(row["variant"])).color, zorder=6,
            bbox={"fc": "white", "ec": "none", "pad": 0.4},
        )  # fmt: skip
