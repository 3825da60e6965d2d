# ruff: noqa: RUF001 - true minus signs and dashes are what readers see
"""How published values beside ours are printed: a sheet, columns of the CSV, and the list before anything was run."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import cells, latex, markdown, names, summary
from guidelab.paper.cells import Sheet
from guidelab.paper.images import beside

_RULE = (
    "compared: what stands against the published value: the minimum of our blocks where theirs is a minimum of three "
    "evaluations (the choosing block too), else our mean over the blocks that chose no weight. reproduced: the difference "
    "is at most max(2 sd, 1.3 % of the published value), sd over our blocks and trainings; close: at most twice that; not: "
    "beyond. Where protocols differ no difference is formed. Conflicting and digitised values, and those whose method or "
    "assignment is not stated, are listed and are no targets."
)
_CSV = {  # column of a metric -> column of the rows
    "published": "published",
    "published row": "published_row",
    "published protocol": "published_protocol",
    "published compared": "compared",
    "published compared as": "compared_as",
    "published difference": "published_difference",
    "published verdict": "published_verdict",
}


def not_compared(scale: str) -> str:
    """What stands where published values would: `smoke: not compared`."""
    return f"{'smoke' if scale == names.SMOKE else 'scaled down'}: {beside.NOT_COMPARED}"


def not_run_table(published: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Every published number of an experiment with `not run` beside it: the table before anything was measured.

    Raises:
        UserError: no published rows of this experiment.
    """
    nothing = pd.DataFrame(columns=["variant", "w", "metric"])
    spec = {"experiment": experiment, "scale": names.FULL_SCALE}
    return beside.rows(nothing, nothing, published, spec)


def published_markdown(table: pd.DataFrame) -> str:
    """The rows of `not_run_table` as Markdown."""
    first = table.iloc[0]
    return markdown.document(f"{first['experiment']}: published values, nothing run", [sheet(table)])


def published_latex(table: pd.DataFrame) -> str:
    """The rows of `not_run_table` as LaTeX."""
    first = table.iloc[0]
    return latex.document(f"{first['experiment']}: published values, nothing run", [sheet(table)])


def sheet(table: pd.DataFrame) -> Sheet:
    """The rows of `beside.rows` as a printed table."""
    header = [
        "published row", "metric", "w", "published", "protocol", "from", "here", "ours, mean", "compared", "difference",
        "allowed", "verdict",
    ]  # fmt: skip
    body = [_line(row) for row in table.to_dict("records")]
    said = _notes(table)
    told = [_RULE, *([f"Notes on the published values. {said}."] if said else [])]
    return Sheet(beside.SECTION, header, body, told, "llrrlllrrrrl")


def _notes(table: pd.DataFrame) -> str:
    """Every note once, after the rows it is about."""
    about: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        if row["published_note"]:
            about.setdefault(str(row["published_note"]), []).append(str(row["published_row"]))
    return ". ".join(f"{'; '.join(dict.fromkeys(rows))}: {note}" for note, rows in about.items())


def _line(row: Mapping[Any, Any]) -> list[str]:
    digits, weight = 2 if abs(row["published"]) >= 1 else 3, row["published_weight"]

    def show(value: float, after: str = "") -> str:
        return "–" if math.isnan(value) else cells.number(value, "", digits) + after

    return [
        str(row["published_row"]), beside.name_of(str(row["published_metric"])),
        "–" if math.isnan(weight) else f"{weight:.2f}", str(row["published_printed"]), str(row["published_protocol"]),
        str(row["published_from"]), _here(row),
        _mean(row, digits) if str(row["status"]) == summary.OK else str(row["status"]),
        show(row["compared"], f" ({row['compared_as']})"),
        ("+" if row["published_difference"] > 0 else "") + show(row["published_difference"]),
        show(row["allowed"]), str(row["published_verdict"]),
    ]  # fmt: skip


def _here(row: Mapping[Any, Any]) -> str:
    """Which of our lines stands there: `CFG, w = 1.5`; no guidance and real images have no weight."""
    if not row["variant"]:
        return "–"
    return f"{row['label']}, w = {row['w']:g}" if row["guides"] else str(row["label"])


def _mean(row: Mapping[Any, Any], digits: int) -> str:
    """`1.37 ± 0.02†`: marks as in the other sheets."""
    half = (row["hi"] - row["lo"]) / 2
    ends = "" if math.isnan(half) else f" ± {cells.number(half, '', digits)}"
    return cells.number(row["value"], "", digits) + ends + cells.MARKS.get(str(row["over"]), "†")


def csv_columns(table: pd.DataFrame) -> dict[tuple[object, object], dict[str, object]]:
    """(variant, w) -> the CSV's columns about published values, of every metric that has one; targets go first."""
    found: dict[tuple[object, object], dict[str, object]] = {}
    ran = table[table["variant"] != ""]
    target = ~ran["published_verdict"].astype(str).str.startswith(beside.NOT_TARGET)
    for row in ran.assign(_t=target).sort_values("_t", ascending=False, kind="stable").to_dict("records"):
        columns = found.setdefault((row["variant"], row["w"]), {})
        if f"{row['metric']} published" not in columns:
            columns |= {f"{row['metric']} {name}": row[key] for name, key in _CSV.items()}
    return found


def csv_lines(table: pd.DataFrame, line: list[str]) -> list[dict[str, object]]:
    """One line of the CSV for each published row that was not run.

    Args:
        table: rows of `beside.rows`.
        line: the columns that describe a line; those that mean nothing here are empty.
    """
    made = []
    missing = table[table["variant"] == ""]
    for _, part in missing.groupby(["published_row", "published_weight"], sort=False, dropna=False):
        first = part.iloc[0]
        row: dict[str, object] = dict.fromkeys(line, "")
        row |= {key: first[key] for key in ("experiment", "scale", "section", "label", "w")}
        row |= {"w_neutral": math.nan, "weights_tried": 0, "n_trainings": 0, "n_blocks": 0, "n_generated": 0}
        for one in part.to_dict("records"):
            metric = one["metric"]
            if f"{metric} published" in row:  # a second value of the same number: conflicting sources
                metric = f"{metric} (again)"
            row[f"{metric} over"] = summary.NOT_RUN
            row |= {f"{metric} {name}": one[key] for name, key in _CSV.items()}
        made.append(row)
    return made
