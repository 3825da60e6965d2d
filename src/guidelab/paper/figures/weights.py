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
from guidelab.paper import charts, looks, metric_names, names, page, reported, style, summary

NUMBER = ["value", "lo", "hi", "over", "n_trainings", "n_blocks", "n_generated", "status"]
TITLE = ["metric", "name", "features", "unit", "direction"]
COLUMNS = ["variant", "label", "w", "offset", *TITLE, *NUMBER, "selected", "starts"]
METRICS = ("fid@lite0", "fid@classifier", "recall@lite0", "recall@classifier")
VARIANTS = ("cfg", "autog", "dg", "dg_autog")
NEUTRAL = "none"
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
    return ar.round_table(table[COLUMNS].assign(offset=table["offset"].round(6)))


def points(
    tables: Mapping[str, pd.DataFrame], variants: list[str], metrics: Any, info: dict[str, Any]
) -> pd.DataFrame:
    """The points of some variants: columns COLUMNS."""
    report = reported.rows(tables["measurements"], tables["selected"])
    mains = info.get("mains")
    bases = [reported.baseline(report, v, mains) for v in variants] if mains else []
    variants = [*dict.fromkeys([*(b[0] for b in bases if b), *variants])]
    report = report[report["variant"].isin(variants)]
    reported.same(report, ("steps",), f"figure {info.get('figure', 'weights')}")
    described = metric_names.describe(tables["metrics"], metrics).to_dict("records")
    found: list[dict[str, object]] = []
    for variant in [v for v in dict.fromkeys(variants) if v in set(report["variant"])]:
        mine = report[report["variant"] == variant]
        for w in sorted(float(x) for x in mine["w"].unique()):
            for d in described:
                space = metric_names.features(str(d["metric"]))
                best = reported.chosen(mine, tables["selected"], variant, f"fid@{space}")
                found.append({
                    "variant": variant, "label": names.label(variant), "w": w,
                    "offset": w - float(mine["w_neutral"].iloc[0]), "features": metric_names.features_short(space),
                    **{key: d[key] for key in ("metric", "name", "unit", "direction")},
                    **number(mine, variant, w, d),
                    "starts": reported.starts_unguided(report, variant, mains),
                    "selected": mine["w"].nunique() > 1 and best is not None and abs(best - w) < 5e-3,
                })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def number(rows: pd.DataFrame, variant: str, w: float, info: dict[Any, Any]) -> dict[str, object]:
    """The estimate of one metric at a point of report rows: columns NUMBER."""
    e = summary.estimate(reported.at_point(rows, variant, w, str(info["metric"])), share=info["unit"] == "%")
    return {key: getattr(e, key) for key in NUMBER}


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: two panels a row.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "weights")
    metrics = list(dict.fromkeys(rows["metric"]))
    labels = dict(zip(rows["variant"], rows["label"], strict=True))
    handles = [page.handle(looks.look(v), label) for v, label in labels.items()]
    handles += page.signs(rows, chosen=bool(rows["selected"].any()))
    said = style.origin_line(info, page.WEIGHTS, "↓ lower is better, ↑ higher", spread(rows))
    with style.context():
        fig, axes = page.page(handles, len(metrics), said, panel_mm=28.0)
        for i, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], info.get("mains") or {}, i)
    return fig


def title(rows: pd.DataFrame) -> tuple[str, float]:
    """`FID, Lite0 ↓` with its unit, and what values are multiplied by."""
    first = rows.iloc[0]
    unit, factor = (" (%)", 100.0) if first["unit"] == "%" else ("", 1.0)
    better = {"lower": " ↓", "higher": " ↑"}.get(str(first["direction"]), "")
    return f"{first['name']}{unit}, {first['features']}{better}", factor


def spread(rows: pd.DataFrame) -> str:
    """What bars run over and from how many images, in one line."""
    ok = rows[rows["status"] == summary.OK]
    if ok.empty:
        return summary.NOT_RUN
    over = ", ".join(dict.fromkeys(str(o) for o in ok["over"] if o)) or "nothing"
    counts, blocks = (
        "–".join(str(b) for b in dict.fromkeys((int(ok[c].min()), int(ok[c].max()))))
        for c in ("n_trainings", "n_blocks")
    )
    return (
        f"{counts} training{'s' if ok['n_trainings'].max() > 1 else ''}, {blocks} blocks of {int(ok['n_generated'].iloc[0]):,} "
        f"images that chose no weight; bars: 95 %, over {over}"
    )


def _panel(ax: Axes, rows: pd.DataFrame, mains: Mapping[str, str], index: int) -> None:
    """One metric: no guidance as a line across for each net, every method from there through its weights."""
    text, factor = title(rows)
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
            ends, look = [across[own]["value"], mine["value"].iloc[0]], looks.look(variant)
            ax.plot(
                [0, mine["offset"].iloc[0]],
                ends,
                color=look.color,
                ls=look.dashes,
                lw=0.7,
                alpha=0.6,
                zorder=2,
            )
    if len(ok):
        _limits(ax, ok, max((float(row["value"]) for row in across.values()), default=float("nan")))
    else:
        page.nothing(ax, rows)
    ax.set(xlabel=page.OFFSET, ylabel="")
    style.letter(ax, index, text)
    ax.set_label(str(rows["metric"].iloc[0]))


def _unguided(rows: pd.DataFrame, mains: Mapping[str, str]) -> list[str]:
    """The variants that are no guidance of some net: NEUTRAL, and where nets are told apart what has one point, at 0."""
    alone = rows.groupby("variant", sort=False)["offset"].agg(lambda x: x.nunique() == 1 and x.iloc[0] == 0)
    return [str(v) for v, at_zero in alone.items() if v == NEUTRAL or (mains and at_zero)]


def _limits(ax: Axes, ok: pd.DataFrame, start: float) -> None:
    """Room for everything that is not far worse than no guidance; what is, is written at the upper edge.

    Too large a weight can multiply FID; drawn to scale it would press all optima into a flat line.
    """
    lower = ok["direction"].iloc[0] == "lower"
    beyond = ok["value"] > _FAR * start if lower else ok["value"] != ok["value"]
    drawn = ok[~beyond]
    charts.limits(ax, *(ar.rounded(drawn[c].to_numpy(float), 6) for c in ("value", "lo", "hi")))
    low, top = ax.get_ylim()
    far = ok[beyond].sort_values("offset").groupby("variant", sort=False)
    top += (top - low) * 0.1 * far.ngroups  # room for what is written
    ax.set_ylim(low, top)
    for line, (variant, part) in enumerate(far):
        text = ", ".join(f"{v:.0f}" if v >= 100 else f"{v:.3g}" for v in part["value"])
        ax.annotate(
            f"{text} ↑", (part["offset"].iloc[0], top), xytext=(-2, -6 - 6.5 * line), size=5.5, textcoords="offset points",
            color=looks.look(str(variant)).color, zorder=6, bbox={"fc": "white", "ec": "none", "pad": 0.3},
        )  # fmt: skip
