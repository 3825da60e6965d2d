"""The table of an experiment: measured rows in, one row per printed point and metric out."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from guidelab.errors import UserError
from guidelab.paper import checks, names, summary
from guidelab.paper.latex import to_latex
from guidelab.paper.markdown import to_markdown
from guidelab.paper.published import beside_published

__all__ = ["COLUMNS", "as_rows", "make_table", "to_latex", "to_markdown"]

COLUMNS = [
    "experiment", "scale", "row", "variant", "method", "ref", "w", "w_neutral", "selected_on", "selected_by",
    "n_candidates", "metric", "label", "group", "direction", "unit", "digits", "value", "lo", "hi", "over",
    "n_trainings", "n_blocks", "n_generated", "n_reference", "reference_split", "features", "status", "note",
    "published", "difference", "verdict",
]  # fmt: skip
HEADLINE, CHOSEN, SINGLE, BOTH = "headline", "selected", "single weight", "headline and selected"
_LABELS = ("method", "ref", "w_neutral")
_PROTOCOL = ("n_reference", "reference_split", "features")


@dataclass
class _Point:
    """One printed line: a point and how its weight came about."""

    row: str
    variant: str
    w: float | None
    selected_on: str = ""
    selected_by: str = ""
    n_candidates: int = 1


def make_table(
    measurements: pd.DataFrame,
    selected: pd.DataFrame,
    metrics_info: pd.DataFrame,
    published: pd.DataFrame | None,
    spec: dict[str, Any],
) -> pd.DataFrame:
    """Every printed number of an experiment with its interval: one row per (point, metric), columns COLUMNS.

    Points: spec["headline"] in order, then the weight selected for each variant, then variants measured at one
    weight only. Nothing is dropped: a point or metric without rows has status `not run`.

    Args:
        measurements: tidy rows, one number each.
        selected: the weight of each variant with the block and metric that chose it.
        metrics_info: workflow/resources/metrics.csv; its order is the order of metrics.
        published: workflow/resources/published.csv or None. Used only at full scale and for the points that
            spec["published_rows"] maps to a published row (`{"cfg/w1.40": "EDM2-S + CFG (XS unconditional)"}`).
        spec: experiment, scale, headline (list of `variant/w1.40`), and optionally metrics (list),
            variants (all planned), report_blocks, published_rows.
    Raises:
        UserError: the rows may not be compared or printed; see `checks`.
    """
    checks.require_columns(metrics_info, checks.METRICS, "workflow/resources/metrics.csv")
    checks.same_experiment(measurements, spec)
    rows = summary.report_rows(measurements, selected, spec.get("report_blocks"))
    metrics = list(spec.get("metrics") or dict.fromkeys(measurements["metric"]))
    checks.known_metrics([*measurements["metric"], *metrics], metrics_info)
    described = metrics_info[metrics_info["metric"].isin(metrics)]
    table = [
        {**_line(point, measurements, spec), **_number(point, rows, info)}
        for point in _points(measurements, selected, spec)
        for info in described.to_dict("records")
    ]
    frame = pd.DataFrame(table).reindex(columns=COLUMNS)
    return beside_published(frame, published, spec)


def as_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table as its CSV: as it is, one row for each point and metric."""
    return table


def _points(measurements: pd.DataFrame, selected: pd.DataFrame, spec: dict[str, Any]) -> list[_Point]:
    """The lines of the table in order; every measured or planned variant has at least one."""
    points = []
    for point in spec["headline"]:
        variant, w = names.split_point(point)
        points.append(_Point(HEADLINE, variant, 1.0 if w is None else w))
    for row in selected.to_dict("records"):
        variant, w, n = str(row["variant"]), float(row["w"]), int(row["n_candidates"])
        if n < 2:
            continue  # one candidate: nothing was selected
        choice = (str(row["selected_on"]), str(row["metric"]), n)
        same = [p for p in points if p.variant == variant and p.w is not None and abs(p.w - w) < 5e-3]
        if same:
            same[0].row, same[0].selected_on, same[0].selected_by, same[0].n_candidates = BOTH, *choice
        else:
            points.append(_Point(CHOSEN, variant, w, *choice))
    order = names.ordered([*spec.get("variants", []), *measurements["variant"]])
    chosen = {p.variant for p in points if p.row in (CHOSEN, BOTH)}
    for variant in order:
        weights = sorted(measurements.loc[measurements["variant"] == variant, "w"].unique())
        if len(weights) > 1 and variant not in chosen:
            raise UserError(
                f"selected: no row for {variant}, which was measured at {len(weights)} weights; wanted one, else "
                "the table would drop it. Collect again."
            )
        if len(weights) < 2 and variant not in {p.variant for p in points}:
            points.append(_Point(SINGLE, variant, float(weights[0]) if weights else None))
    fixed = [p for p in points if p.row in (HEADLINE, BOTH)]
    return fixed + [
        p
        for v in names.ordered(p.variant for p in points)
        for p in points
        if p.variant == v and p not in fixed
    ]


def _line(point: _Point, measurements: pd.DataFrame, spec: dict[str, Any]) -> dict[str, object]:
    """What is equal for all metrics of a point."""
    of_variant = measurements[measurements["variant"] == point.variant]
    told = of_variant.iloc[0].to_dict() if len(of_variant) else {}
    return {
        "experiment": spec["experiment"],
        "scale": names.scale_name(str(spec["scale"])),
        **asdict(point),
        **{key: told.get(key, "") for key in _LABELS},
    }


def _number(point: _Point, rows: pd.DataFrame, info: dict[Any, Any]) -> dict[str, object]:
    """The estimate of one metric at a point, with how it is printed and how it was measured."""
    metric = str(info["metric"])
    found = rows.iloc[:0] if point.w is None else summary.at_point(rows, point.variant, point.w, metric)
    result = summary.estimate(found, share=info["unit"] == "%")
    protocol = {key: found[key].iloc[0] if len(found) and key in found else "" for key in _PROTOCOL}
    printed = {key: info[key] for key in ("metric", "label", "direction", "unit", "digits")}
    return {**printed, "group": info.get("group", ""), **asdict(result), **protocol}
