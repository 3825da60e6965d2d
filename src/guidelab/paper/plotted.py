# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Rows that figures draw of measured numbers: estimates of points and of images, and what their captions say of intervals."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import arrays as ar
from guidelab.paper import checks, metric_names, names, reported, summary, tuning

NUMBER = ["value", "lo", "hi", "over", "n_trainings", "n_blocks", "n_generated", "status"]
TITLE = ["metric", "name", "features", "unit", "direction"]
OF_IMAGES = ["variant", "label", "w", "offset", *TITLE, *NUMBER, "selected", "edge", "starts"]
OF_POINTS = [
    "variant", "metric", "label", "unit", "w", "offset", "value", "lo", "hi", "over", "n_trainings", "n_generated",
    "selected", "edge", "status",
]  # fmt: skip


def at_edge(rows: pd.DataFrame) -> str:
    """`ring at the edge of the weights tried: CFG, autoguidance`, of rows with columns `selected` and `edge`; else empty."""
    found = dict.fromkeys(
        names.label(v) for v in rows.loc[rows["edge"].fillna("").astype(str) != "", "variant"]
    )
    return f"ring at the edge of the weights tried: {', '.join(found)}" if found else ""


# ---- points ---------------------------------------------------------------------------------------------------------


def estimates(report: pd.DataFrame, metrics: Any, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Columns OF_POINTS of report rows, for these metrics."""
    checks.known_metrics(metrics, tables["metrics"])
    selected, described = tables["selected"], tables["metrics"].set_index("metric")
    chosen = selected[selected["n_candidates"].astype(int) > 1]
    parts = []
    for (variant, weight), at in report.groupby(["variant", "w"], sort=False):
        w = float(str(weight))
        ring = chosen[(chosen["variant"] == variant) & ((chosen["w"] - w).abs() < 5e-3)]
        edges = (_edge(tables, str(variant), str(m), described) for m in ring["metric"])
        edge = next(filter(None, edges), "")
        for metric in metrics:
            unit = str(described.loc[metric, "unit"])
            e = summary.estimate(at[at["metric"] == metric], share=unit == "%")
            parts.append(
                (variant, metric, described.loc[metric, "label"], unit, w, w - at["w_neutral"].iloc[0], e.value,
                 e.lo, e.hi, e.over, e.n_trainings, e.n_generated, len(ring) > 0, edge, e.status)
            )  # fmt: skip
    return ar.round_table(
        pd.DataFrame(parts, columns=OF_POINTS).assign(offset=lambda t: t["offset"].round(6))
    )


def _edge(
    tables: Mapping[str, pd.DataFrame], variant: str, metric: str, described: pd.DataFrame, mains: Any = None
) -> str:
    direction = str(described.loc[metric_names.base(metric), "direction"])
    return tuning.edge(tables["measurements"], tables["selected"], variant, metric, direction, mains)


def label(rows: pd.DataFrame) -> tuple[str, float]:
    """A metric with its unit, and what values are multiplied by (100 for shares)."""
    first = rows.iloc[0]
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(first["unit"]), "")
    return f"{first['label']}{unit}", 100.0 if first["unit"] == "%" else 1.0


def bands(rows: pd.DataFrame) -> str:
    """What bands run over, in one line."""
    n = sorted({int(k) for k in rows.loc[rows["status"] == summary.OK, "n_trainings"]})
    if not n:
        return summary.NOT_RUN
    counted = "–".join(str(k) for k in dict.fromkeys((n[0], n[-1])))
    return (
        f"{counted} training{'s' if n[-1] > 1 else ''} a curve; bands: 95 %, over trainings (filled markers) "
        "or samples and seed blocks of one training (open)"
    )


# ---- images ---------------------------------------------------------------------------------------------------------


def points(
    tables: Mapping[str, pd.DataFrame], variants: list[str], metrics: Any, info: dict[str, Any]
) -> pd.DataFrame:
    """The points of some variants: columns OF_IMAGES."""
    report = reported.rows(tables["measurements"], tables["selected"])
    mains = info.get("mains")
    bases = [reported.baseline(report, v, mains) for v in variants] if mains else []
    variants = [*dict.fromkeys([*(b[0] for b in bases if b), *variants])]
    report = report[report["variant"].isin(variants)]
    reported.same(report, ("steps",), f"figure {info.get('figure', 'weights')}")
    described = metric_names.describe(tables["metrics"], metrics).to_dict("records")
    each = tables["metrics"].set_index("metric")
    found: list[dict[str, object]] = []
    for variant in [v for v in dict.fromkeys(variants) if v in set(report["variant"])]:
        mine = report[report["variant"] == variant]
        for w in sorted(float(x) for x in mine["w"].unique()):
            for d in described:
                space = metric_names.features(str(d["metric"]))
                best = reported.chosen(mine, tables["selected"], variant, f"fid@{space}")
                selected = mine["w"].nunique() > 1 and best is not None and abs(best - w) < 5e-3
                found.append({
                    "variant": variant, "label": names.label(variant), "w": w,
                    "offset": w - float(mine["w_neutral"].iloc[0]), "features": metric_names.features_short(space),
                    **{key: d[key] for key in ("metric", "name", "unit", "direction")},
                    **number(mine, variant, w, d),
                    "starts": reported.starts_unguided(report, variant, mains),
                    "selected": selected,
                    "edge": _edge(tables, variant, f"fid@{space}", each, mains) if selected else "",
                })  # fmt: skip
    return pd.DataFrame(found, columns=OF_IMAGES)


def number(rows: pd.DataFrame, variant: str, w: float, info: dict[Any, Any]) -> dict[str, object]:
    """The estimate of one metric at a point of report rows: columns NUMBER."""
    e = summary.estimate(reported.at_point(rows, variant, w, str(info["metric"])), share=info["unit"] == "%")
    return {key: getattr(e, key) for key in NUMBER}


def title(rows: pd.DataFrame) -> tuple[str, float]:
    """`FID, Lite0 ↓` with its unit, and what values are multiplied by."""
    first = rows.iloc[0]
    unit, factor = (" (%)", 100.0) if first["unit"] == "%" else ("", 1.0)
    better = {"lower": " ↓", "higher": " ↑"}.get(str(first["direction"]), "")
    return f"{first['name']}{unit}, {first['features']}{better}", factor


def bars(rows: pd.DataFrame) -> str:
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


def at_points(tables: dict[str, pd.DataFrame], metrics: list[str], points: list[str]) -> list[dict[str, Any]]:
    """Rows of `divergence_points`: metrics of the report blocks, at the graded points."""
    report = reported.rows(tables["measurements"], tables["selected"])
    described = metric_names.describe(tables["metrics"], metrics).to_dict("records")
    found = []
    for point in points:
        variant, w = names.split_point(point)
        for told in described:
            if w is None:  # the null
                continue
            e = number(report, variant, w, told)
            if e["status"] != summary.NOT_RUN:
                panel = f"{told['name']}, {metric_names.features_short(metric_names.features(str(told['metric'])))}"
                found.append({"panel": panel, "metric": told["metric"], "point": point, "n": e["n_generated"], "bound": "no",
                              **{key: e[key] for key in ("value", "lo", "hi", "status")}})  # fmt: skip
    return found
