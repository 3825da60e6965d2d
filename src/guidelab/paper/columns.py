"""The CSV of a table in its two layouts, and the file of sources of either: a row a number, or a row a line."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from guidelab.paper import metric_names, published, summary
from guidelab.paper.reproduced import NOT_TARGET
from guidelab.paper.sources import file, line
from guidelab.paper.sources_columns import MEASURED
from guidelab.paper.table import COMPARED, LOWEST, SOURCES

_LONG = {  # column of the CSV -> column of the table
    "experiment": "experiment", "scale": "scale", "row": "row", "variant": "variant", "method": "method", "ref": "guides",
    "w": "w", "w_neutral": "w_neutral", "selected_on": "chosen_on", "selected_by": "chosen_by",
    "n_candidates": "weights_tried", "edge": "edge", "metric": "metric", "label": "name", "group": "group", "direction": "direction",
    "unit": "unit", "digits": "digits", "value": "value", "lo": "lo", "hi": "hi", "over": "over",
    "n_trainings": "n_trainings", "n_blocks": "n_blocks", "n_generated": "n_generated", "n_reference": "n_reference",
    "reference_split": "reference_split", "features": "features", "n_features": "n_features", "status": "status", "note": "note",
}  # fmt: skip
_TO_NONE = {  # the same of the difference to no guidance; `difference` and `verdict` are about published values
    "difference to none": "difference", "difference to none lo": "difference_lo", "difference to none hi": "difference_hi",
    "difference to none over": "difference_over", "verdict to none": "verdict", "verdict by Holm": "verdict_holm",
}  # fmt: skip
_LINE = [
    "experiment", "scale", "section", "variant", "label", "guides", "method", "w", "w_neutral", "chosen_by",
    "chosen_on", "weights_tried", "edge", "steps", "nfe", "baseline",
]  # fmt: skip
_OF_LINE = ("n_reference", "reference_split", "label_policy")
_PUBLISHED = {  # column of a metric -> column of the rows
    "published": "published",
    "published row": "published_row",
    "published protocol": "published_protocol",
    "published compared": "compared",
    "published compared as": "compared_as",
    "published difference": "published_difference",
    "published verdict": "published_verdict",
}


def split(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our numbers, and the published ones after them."""
    listed = table["section"] == published.SECTION
    return table[~listed].infer_objects(), table[listed]


def long(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row for each line and metric, and its sources."""
    ours, listed = split(table)
    about = _published_columns(listed) if len(listed) else {}
    rows, found = [], []
    for number, record in enumerate(ours.to_dict("records"), 1):
        row = {name: record[column] for name, column in (_LONG | _TO_NONE).items()}
        row["n_candidates"] = max(1, int(row["n_candidates"]))
        mine = about.get((record["variant"], record["w"]), {})
        for name, column in (
            ("published",) * 2,
            ("difference", "published difference"),
            ("verdict", "published verdict"),
        ):
            row[name] = mine.get(f"{record['metric']} {column}", "" if name == "verdict" else math.nan)  # fmt: skip
        if not row["verdict"] and "published_verdict" in record and not len(listed):
            row["verdict"] = record["published_verdict"]
        rows.append(row)
        means = [s for s in record[SOURCES] if s.how == "mean"]
        found += [line(number, ("value", "lo", "hi", "over", "status"), source) for source in means]
        found += [
            line(number, tuple(_TO_NONE), source) for source in record[SOURCES] if source.how == "difference"
        ]
    return pd.DataFrame(rows), file(found, MEASURED)


def wide(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a line, columns `fid@lite0`, `fid@lite0 lo`, ... side by side, and the sources.

    What is equal in all columns of a line (blocks, n, reference) stands once. Numbers have six significant digits.
    """
    ours, listed = split(table)
    about = _published_columns(listed) if len(listed) else {}
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for (variant, w), part in ours.groupby(["variant", "w"], sort=False, dropna=False):
        first = part.iloc[0]
        row = {key: first[key] for key in _LINE} | ({"w": float("nan")} if first["real"] else {})
        row |= {key: part[key].max() for key in ("n_trainings", "n_blocks", "n_generated")}
        with_reference = part[~part["reference_split"].isin(["", "none"])]  # some metrics have none
        row |= {key: "; ".join(dict.fromkeys(str(v) for v in with_reference[key])) for key in _OF_LINE}
        for number in part.to_dict("records"):
            columns = _columns(number)
            row |= {name: value for cells in columns.values() for name, value in cells.items()}
            found += _sources(len(rows) + 1, number, columns)
        row |= about.get((variant, w), {})
        if not len(listed) and "published_verdict" in part:
            row |= {"published": "", "published verdict": first["published_verdict"]}
        rows.append(row)
    rows += list(_not_run(listed)) if len(listed) else []
    made = pd.DataFrame(rows)
    floats = made.select_dtypes("float").columns
    return made.assign(**{c: made[c].map(lambda v: float(f"{v:.6g}")) for c in floats}), file(found, MEASURED)


def _columns(number: dict[Any, Any]) -> dict[str, dict[str, object]]:
    """The columns of one metric, by what is formed of the rows behind them."""
    metric = str(number["metric"])
    mean = {metric: number["value"], f"{metric} lo": number["lo"], f"{metric} hi": number["hi"]}
    if metric_names.base(metric) in LOWEST:
        mean[f"{metric} features"] = number["n_features"]
    mean[f"{metric} over"] = number["over"] if number["status"] == summary.OK else number["status"]
    found: dict[str, dict[str, object]] = {"mean": mean}
    if metric_names.base(metric) in COMPARED:
        ends = {f"{metric} difference {side}": number[f"difference_{side}"] for side in ("lo", "hi", "over")}
        found["difference"] = {f"{metric} difference": number["difference"], **ends}
        found["difference"][f"{metric} verdict"] = number["verdict"]
        found["difference"][f"{metric} verdict by Holm"] = number["verdict_holm"]
    if metric_names.base(metric) in LOWEST:
        blocks = f"min of {number['blocks_of_min']} (paper style)" if number["blocks_of_min"] else ""
        found["minimum"] = {f"{metric} min of blocks": number["min_of_blocks"], f"{metric} min is": blocks}
    return found


def _sources(
    row: int, number: dict[Any, Any], columns: dict[str, dict[str, object]]
) -> Iterator[dict[str, Any]]:
    for source in number[SOURCES]:
        if source.how in columns:
            yield line(row, columns[source.how], source)


def _published_columns(table: pd.DataFrame) -> dict[tuple[object, object], dict[str, object]]:
    """(variant, w) -> the columns about published values, of every metric that has one; targets go first."""
    found: dict[tuple[object, object], dict[str, object]] = {}
    ran = table[table["variant"] != ""]
    target = ~ran["published_verdict"].astype(str).str.startswith(NOT_TARGET)
    for row in ran.assign(_t=target).sort_values("_t", ascending=False, kind="stable").to_dict("records"):
        columns = found.setdefault((row["variant"], row["w"]), {})
        if f"{row['metric']} published" not in columns:
            columns |= {f"{row['metric']} {name}": row[key] for name, key in _PUBLISHED.items()}
    return found


def _not_run(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row for each published row that was not run; columns that mean nothing there are empty."""
    missing = table[table["variant"] == ""]
    for _, part in missing.groupby(["published_row", "published_weight"], sort=False, dropna=False):
        first = part.iloc[0]
        row: dict[str, object] = dict.fromkeys(_LINE, "")
        row |= {key: first[key] for key in ("experiment", "scale", "section", "label", "w")}
        row |= {"w_neutral": math.nan, "weights_tried": 0, "n_trainings": 0, "n_blocks": 0, "n_generated": 0}
        for one in part.to_dict("records"):
            metric = one["metric"]
            if f"{metric} published" in row:  # a second value of the same number: conflicting sources
                metric = f"{metric} (again)"
            row[f"{metric} over"] = summary.NOT_RUN
            row |= {f"{metric} {name}": one[key] for name, key in _PUBLISHED.items()}
        yield row
