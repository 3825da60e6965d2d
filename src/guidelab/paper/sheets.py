# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""From the rows of a table to what Markdown and LaTeX print: one headline sheet a section, then the published values."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, metric_names, names, published_sheet, summary
from guidelab.paper.cells import ARROWS, MARKS, MOST, Sheet, interval
from guidelab.paper.columns import split
from guidelab.paper.sheet_notes import SIGNS, notes

_FIRST = (
    "fid",
    "js",
    "recall",
    "outliers_99",
    "kl",
    "frechet",
    "accuracy",
    "precision",
)  # what goes in a headline
_SMOKE = (
    "This is a smoke test. The nets have random weights, the images are synthetic and the numbers mean nothing: it shows that "
    "every step from data to this table runs. The feature extractors are synthetic too: below, Inception and DINOv2 name small random "
    "nets, and published references are statistics of synthetic images in these nets' features. No published "
    "value stands here, nor may any of this stand next to one."
)


def to_markdown(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as Markdown."""
    return markdown.document(title(table), sheets(table))


def to_latex(table: pd.DataFrame) -> str:
    """The rows of `table.make_table` as LaTeX; needs the package booktabs."""
    return latex.document(title(table), sheets(table))


def title(table: pd.DataFrame) -> str:
    """`toy2d, scaled down (reduced)`."""
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}"


def sheets(table: pd.DataFrame) -> list[Sheet]:
    """A headline sheet for each section with all notes under the last, then the published values."""
    ours, listed = split(table)
    metrics = headline(ours)
    choosers = set(metric_names.spaces(m for by in ours["chosen_by"] for m in str(by).split(", ")))
    found = [
        _section(str(name), part, metrics, choosers) for name, part in ours.groupby("section", sort=False)
    ]
    found[-1].notes.extend(notes(ours, metrics))
    if str(ours["scale"].iloc[0]) == names.scale_name(names.SMOKE):
        found[0].notes.insert(0, _SMOKE)
    return [*found, published_sheet.sheet(listed)] if len(listed) else found


def headline(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The metrics of the headline: as many as fit, each in every feature space, the most telling first."""
    known = table[table["status"] != summary.NOT_RUN].drop_duplicates("metric").to_dict("records")
    rank = {name: i for i, name in enumerate(_FIRST)}
    ordered = sorted(known, key=lambda m: rank.get(metric_names.base(str(m["metric"])), len(rank)))
    return ordered[: MOST - 3]


def _section(name: str, part: pd.DataFrame, metrics: list[dict[Any, Any]], choosers: set[str]) -> Sheet:
    """The lines of a section: label, weight, the headline's metrics, trainings."""
    by = {(r["row"], r["variant"], _w(r["w"]), r["metric"]): r for r in part.to_dict("records")}
    most = part.groupby(["row", "variant", "w"], sort=False, dropna=False)["n_trainings"].transform("max")
    each = part.assign(n_trainings=most).drop_duplicates(["row", "variant", "w"])
    body = []
    for line in each.to_dict("records"):
        key = (line["row"], line["variant"], _w(line["w"]))
        trainings = "–" if line["real"] else str(int(line["n_trainings"]) or summary.NOT_RUN)
        numbers = [_cell(by[(*key, m["metric"])]) for m in metrics]
        body.append([str(line["label"]), _weight(line, choosers), *numbers, trainings])
    header = ["", "w", *map(_heading, metrics), "trainings"]
    return Sheet(name, header, body, [], "ll" + "r" * (len(metrics) + 1))


def _cell(row: Mapping[Any, Any]) -> str:
    """`178 ± 4†⁺`, `not run`."""
    if row["status"] != summary.OK:
        return "–" if row["real"] and row["status"] == summary.NOT_RUN else str(row["status"])
    ends = (float(row["value"]), float(row["lo"]), float(row["hi"]))
    text = interval(*ends, str(row["unit"]), int(row["digits"]))
    return text + MARKS[str(row["over"])] + SIGNS.get(str(row["verdict"]), "")


def _heading(metric: Mapping[Any, Any]) -> str:
    """`FID, Lite0 ↓`, `outliers, exact 99 % (%) ↓`."""
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(metric["unit"]), "")
    space = f", {metric_names.features_short(str(metric['space']))}" if metric["space"] else ""
    return f"{metric['name']}{space}{unit} {ARROWS.get(str(metric['direction']), '')}".strip()


def _weight(line: Mapping[Any, Any], choosers: set[str]) -> str:
    """The weight, and who chose it where that says something: a feature space among several, or the paper."""
    if line["real"]:
        return "–"
    by = [m for m in str(line["chosen_by"]).split(", ") if m]
    chose = [metric_names.features(m) for m in by if metric_names.features(m)]
    edge = ", edge" if line["edge"] else ""
    if by and not chose:
        return f"{_w(line['w'])}, {'chosen' if line['chosen_on'] else by[0]}{edge}"
    some = chose and not choosers <= set(chose)
    return (
        _w(line["w"]) + (f", by {', '.join(map(metric_names.features_short, chose))}" if some else "") + edge
    )


def _w(w: Any) -> str:
    return "–" if w is None or pd.isna(w) else f"{float(w):.2f}"
