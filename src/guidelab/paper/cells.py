# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""From a table's rows to the text of its cells: what Markdown and LaTeX print alike, before any escaping."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from guidelab.paper import names, summary

ARROWS = {"lower": "↓", "higher": "↑"}
MARKS = {summary.TRAININGS: "", summary.SAMPLES: "†", summary.BLOCKS: "‡", summary.NOTHING: "§"}
MARK_NOTES = {
    summary.TRAININGS: "± and brackets: 95 % interval; unmarked: over trainings (Student)",
    summary.SAMPLES: "† over the samples of one training: says nothing about another training",
    summary.BLOCKS: "‡ over the seed blocks of one training (Student)",
    summary.NOTHING: "§ one number, no interval",
}
STATUS_NOTES = {
    summary.NOT_ESTIMABLE: "not estimable: a few samples carry the mean, neither it nor its error can be trusted",
    summary.NOT_DEFINED: "not defined: the denoiser is random, so its samples have no density by the ODE",
    summary.NOT_FINITE: "not finite: infinite in some block",
}
_GROUPS = {
    "quality": "Quality",
    "density": "Log density of the class at the samples",
    "coverage": "Diversity",
    "divergence": "Divergence from the data, by the exact log-densities",
    "grader": "Divergence, by a trained discriminator",
}


@dataclass(frozen=True)
class Sheet:
    """One printed table: `align` has an `l` (text) or `r` (number) for each column."""

    title: str
    header: list[str]
    body: list[list[str]]
    notes: list[str]
    align: str


def sheets(table: pd.DataFrame) -> list[Sheet]:
    """The printed tables of `tables.make_table`'s rows: first how each line came about, then one for each group."""
    keys = ["row", "variant", "w"]
    points = table.drop_duplicates(keys)
    result = [_origins(table, points)]
    for group, part in table.groupby("group", sort=False):
        metrics = part.drop_duplicates("metric")
        header = ["", "w", *(_heading(m) for m in metrics.to_dict("records"))]
        number = {(r["row"], r["variant"], _w(r["w"]), r["metric"]): r for r in part.to_dict("records")}
        body = [
            [names.label(p["variant"]), _w(p["w"]) + (", chosen" if p["selected_on"] else "")]
            + [_cell(number[(p["row"], p["variant"], _w(p["w"]), m)]) for m in metrics["metric"]]
            for p in points.to_dict("records")
        ]
        name = _GROUPS.get(str(group), str(group) or "Metrics")
        align = "ll" + "r" * len(metrics)
        result.append(Sheet(name, header, body, [_sizes(part), *_marks(part)], align))
    return result


def title(table: pd.DataFrame) -> str:
    """`toy2d, scaled down (reduced)`."""
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}"


def number(value: float, unit: str, digits: int) -> str:
    """`value` to so many digits, shares (unit %) times 100, with a true minus sign."""
    shown = round(value * (100 if unit == "%" else 1), digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{shown:.{digits}f}".replace("-", "−")


def _cell(row: dict[Any, Any]) -> str:
    """`13.2 ± 2.6`, `0.00 [0.00, 0.04]†`, `not run`, `not estimable`."""
    if row["status"] != summary.OK:
        return str(row["status"])
    unit, digits = str(row["unit"]), int(row["digits"])
    value, lo, hi = float(row["value"]), float(row["lo"]), float(row["hi"])
    mark = MARKS[str(row["over"])]
    if math.isnan(lo):
        text = number(value, unit, digits)
    elif math.isclose(value - lo, hi - value, rel_tol=1e-6, abs_tol=1e-12):
        text = f"{number(value, unit, digits)} ± {number(hi - value, unit, digits)}"
    else:
        text = f"{number(value, unit, digits)} [{number(lo, unit, digits)}, {number(hi, unit, digits)}]"
    if isinstance(row["verdict"], str) and row["verdict"] and not math.isnan(float(row["published"])):
        text += f" (published {number(float(row['published']), unit, digits)}: {row['verdict']})"
    return text + mark


def _heading(metric: dict[Any, Any]) -> str:
    """`outliers, exact 99 % (%) ↓`."""
    unit = {"%": " (%)", "nat": " (nats)"}.get(str(metric["unit"]), "")
    return f"{metric['label']}{unit} {ARROWS.get(str(metric['direction']), '')}".strip()


def _origins(table: pd.DataFrame, points: pd.DataFrame) -> Sheet:
    """How each line's weight came about, and how many trainings stand behind it."""
    body = []
    label = dict(zip(table["metric"], table["label"], strict=True))
    for p in points.to_dict("records"):
        mine = table[(table["row"] == p["row"]) & (table["variant"] == p["variant"])]
        mine = mine[mine["w"].map(_w) == _w(p["w"])]
        trainings = mine["n_trainings"].max()
        parts = []
        if p["row"].startswith("headline"):
            parts.append("the paper's")
        if p["selected_on"]:
            by = label.get(p["selected_by"], p["selected_by"])
            parts.append(f"best {by} on block {p['selected_on']}, of {int(p['n_candidates'])}")
        came = "; ".join(parts) or ("" if _w(p["w"]) == "–" else "the only one")
        body.append(
            [names.label(p["variant"]), _w(p["w"]), came, str(int(trainings)) if trainings else "not run"]
        )
    note = "Every number comes from blocks of samples that chose no weight."
    return Sheet("Rows", ["", "w", "weight", "trainings"], body, [note], "lllr")


def _sizes(part: pd.DataFrame) -> str:
    """`2 blocks of 4,096 samples for each training.`, for each set of metrics measured alike."""
    ran = part[part["status"] == summary.OK]
    if ran.empty:
        return "No numbers."
    sizes = list(dict.fromkeys(zip(ran["n_blocks"].astype(int), ran["n_generated"].astype(int), strict=True)))
    lines = []
    for blocks, n in sizes:
        mine = ran.loc[(ran["n_blocks"] == blocks) & (ran["n_generated"] == n), "label"].unique()
        who = f" ({', '.join(mine)})" if len(sizes) > 1 else ""
        lines.append(f"{blocks} block{'s' if blocks > 1 else ''} of {n:,} samples for each training{who}")
    return "; ".join(lines) + "."


def _marks(part: pd.DataFrame) -> list[str]:
    used = set(part.loc[part["status"] == summary.OK, "over"])
    found = [text for over, text in MARK_NOTES.items() if over in used]
    found += [text for status, text in STATUS_NOTES.items() if status in set(part["status"])]
    return ["; ".join(found) + "."] if found else []


def _w(w: Any) -> str:
    return "–" if w is None or pd.isna(w) else f"{float(w):.2f}"


def columns(sheet: Sheet) -> Iterable[tuple[str, ...]]:
    """The sheet by columns, header first."""
    return zip(sheet.header, *sheet.body, strict=True)
