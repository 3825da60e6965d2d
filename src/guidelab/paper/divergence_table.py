"""The table of divergences: every estimate, what it estimates, and how often its interval holds it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from guidelab.paper import divergence_errors, divergence_numbers, divergence_repeats, latex, markdown, names
from guidelab.paper.divergence_sheets import sheets
from guidelab.paper.sources import Source, file, line
from guidelab.paper.sources_columns import ESTIMATED

COLUMNS = [
    "experiment", "scale", "point", "label", "train_seed", "divergence", "estimator", "sigma_lo", "sigma_hi", "n",
    "bound", "value", "lo", "hi", "status", "estimates", "truth", "truth_lo", "truth_hi", "truth_status",
    "relative_error", "relative_lo", "relative_hi", *divergence_repeats.COLUMNS, "note",
]  # fmt: skip
_Mine = dict[
    tuple[str, str, str], dict[Any, Any]
]  # kind, divergence, estimator -> the first such row of a point
_ESTIMATE = ("value", "lo", "hi", "status", "n", "bound", "note")
_TRUTH = ("truth", "truth_lo", "truth_hi", "truth_status")
_RELATIVE = ("relative_error", "relative_lo", "relative_hi")
_DV, _FOR_MANY = ("dv", "dv_raw"), "for many points"  # Donsker–Varadhan's property


def make_table(rows: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """One row for each point, divergence and estimator, columns COLUMNS.

    Args:
        rows: of `guidelab diverge`, all points of one experiment.
        spec: experiment and scale.
    """
    table = [
        {
            "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])), "point": row["point"],
            "label": divergence_numbers.point_label(str(row["point"])), "train_seed": row["train_seed"],
            **{key: row[key] for key in ("divergence", "estimator", "sigma_lo", "sigma_hi", "n", "note")},
            "bound": _FOR_MANY if row["estimator"].partition("@")[0] in _DV else row["bound"],
            **divergence_numbers.interval(row), **_compared(mine, row), **divergence_repeats.columns(mine, row),
        }
        for mine, row in _kept(rows)
    ]  # fmt: skip
    found = pd.DataFrame(table, columns=COLUMNS)
    floats = found.select_dtypes("float").columns
    return found.assign(**{c: found[c].map(lambda v: float(f"{v:.6g}")) for c in floats})


def sources(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows behind each cell of the table of the same rows."""
    found = []
    for number, (mine, row) in enumerate(_kept(rows), 1):
        own, truth = _key(row), _truth(mine, row)
        parts: list[tuple[tuple[str, ...], str, str, dict[str, str]]] = [
            (_ESTIMATE, "estimate", "value", own)
        ]
        if truth is not None:
            parts += [(_TRUTH, "estimate", "value", _key(truth))]
            parts += [
                (_RELATIVE, "relative error", part, key)
                for part, key in (("value", own), ("truth", _key(truth)))
            ]
        held = {
            kind: mine.get((kind, row["divergence"], row["estimator"])) for kind in divergence_repeats.KINDS
        }
        parts += [
            (divergence_repeats.KINDS[k], "repeats", "value", _key(h))
            for k, h in held.items()
            if h is not None
        ]
        found += [line(number, columns, Source(how, part, key)) for columns, how, part, key in parts]
    return file(found, ESTIMATED)


def _kept(rows: pd.DataFrame) -> Iterator[tuple[_Mine, dict[Any, Any]]]:
    """The rows that have a line in the table, in its order, each with the first of every kind of its point and training."""
    for _, part in rows.groupby(["point", "train_seed"], sort=False):
        records = part.to_dict("records")
        mine: _Mine = {}
        for row in records:
            mine.setdefault((row["kind"], row["divergence"], row["estimator"]), row)
        for row in records:
            if row["kind"] in divergence_numbers.TOTALS and not row["estimator"].endswith("_target"):
                yield mine, row


def _key(row: Mapping[Any, Any]) -> dict[str, str]:
    return {name: str(row[name]) for name in ESTIMATED}


def _truth(mine: _Mine, row: dict[Any, Any]) -> dict[Any, Any] | None:
    """The row that an estimate is compared with: the exact divergence, or the gain's own target."""
    if row["kind"] == "truth":
        return None
    wanted = f"{row['estimator']}_target" if row["divergence"] == "score_error" else "exact"
    at = (row["divergence"], wanted)
    return mine.get(("truth", *at)) or mine.get(("target", *at))


def _compared(mine: _Mine, row: dict[Any, Any]) -> dict[str, Any]:
    """What a row estimates, with its interval."""
    if row["kind"] == "truth":
        return {"estimates": "itself"}
    found = _truth(mine, row)
    if found is None:
        return {"estimates": "nothing known"}
    truth = divergence_numbers.interval(found)
    ends = {f"truth{'' if k == 'value' else '_' + k}": truth[k] for k in ("value", "lo", "hi", "status")}
    gain = row["divergence"] == "score_error"
    name = "exact difference of score errors" if gain else "exact divergence"
    return {"estimates": name, **divergence_errors.error(divergence_numbers.interval(row), truth), **ends}


def to_markdown(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as Markdown."""
    return markdown.document(_title(table), sheets(table, rows))


def to_latex(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as LaTeX, by booktabs."""
    return latex.document(_title(table), sheets(table, rows))


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}: divergences"
