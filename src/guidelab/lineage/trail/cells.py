"""From a cell of a table to the measured rows it is made of, and whether they still make that number."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guidelab.errors import UserError, closest
from guidelab.lineage.trail.book import Book, Step
from guidelab.lineage.trail.divergences import behind
from guidelab.lineage.trail.inside import inside
from guidelab.lineage.trail.rows import Row, conditions, find
from guidelab.nearest import listed

_ENDS = r"(?: (lo|hi|over|verdict|min of blocks|min is|difference(?: lo| hi| over)?))?"
_PRINTED = 2e-5  # tables are written with six digits or more


@dataclass(frozen=True)
class Cell:
    """One number and what it was computed from.

    Attributes:
        table: its file. row: of the table. column: of the number. text: the number as it is written.
        rows_file: the measured rows; empty where the table is made of none. rows: those behind the number.
        beside: rows of the baseline, for a difference. metric, point: what was measured, where; empty where unknown.
        again: the number computed once more from `rows`; nan where that is not done here.
        files: per-job files the rows came from, or what the table itself was made of.
    """

    table: str
    row: Row
    column: str
    text: str
    rows_file: str = ""
    rows: list[Row] = field(default_factory=list)
    beside: list[Row] = field(default_factory=list)
    metric: str = ""
    point: str = ""
    again: float = math.nan
    files: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool | None:
        """Whether the rows make this number; None where it was not computed again."""
        try:
            printed = float(self.text)
        except ValueError:
            return None
        if math.isnan(self.again):
            return None
        return math.isclose(self.again, printed, rel_tol=_PRINTED, abs_tol=1e-9)


def find_cell(book: Book, table: str, given: Sequence[str], column: str | None) -> Cell:
    """Find a number of a table and the rows behind it.

    Args:
        book: what is recorded.
        table: a CSV below `results/`.
        given: what `--row` was given.
        column: of the number; of a long table `value` when None.
    Raises:
        UserError: no such row or column, several rows, nothing recorded of the table, or a cell that holds no number of ours.
    """
    rows, step = book.rows(table), book.needed(table)
    wide = step.rule == "table" and "metric" not in rows[0].cells
    if wide and column is None:
        known = list(rows[0].cells)
        parts = [p for text in given for p in re.split(r",(?=[^,=]+=)", text) if "=" in p]
        column = conditions(parts, known, table).get("metric")
    row = find(rows, given, table, ["metric"] if wide else ())
    cells = row.cells
    if column is None and not wide:
        column = next((name for name in ("value", "kl_sde") if name in cells), None)
    if column is None or column not in cells:
        raise UserError(_no_column(table, column, rows[0]))
    if step.rule == "table":
        return _printed(book, step, Cell(table, row, column, cells[column]))
    if step.rule == "divergences" or table.endswith("/measurements.csv"):
        return _collected(book, step, Cell(table, row, column, cells[column]))
    return Cell(table, row, column, cells[column], files=[table])


def _no_column(table: str, column: str | None, row: Row) -> str:
    metrics = [c for c in row.cells if re.fullmatch(r"\w+@\w+", c)] or list(row.cells)
    if column is None:
        return (
            f"{table}: has a column for each metric; wanted one of them with --column: {', '.join(metrics)}"
        )
    return (
        f"--column {column}: {table} has no such column{closest(column, list(row.cells))}; wanted one of {listed(column, metrics)}, "
        "or what stands beside it (lo, hi, difference, ...)"
    )


# ---- tables of measurements --------------------------------------------------------------------------------------


def _printed(book: Book, step: Step, cell: Cell) -> Cell:
    """The rows of measurements.csv behind a cell of an experiment's table, by the table's own rules."""
    cells = cell.row.cells
    metric, what = _asked(cell)
    if not cells["w"]:
        raise UserError(
            f"{cell.table}, {cell.row}: nothing was measured there (not run), so there is no trail"
        )
    files = {name: paths[0] for name, paths in step.inputs.items()}
    measured = book.rows(files["measurements"])
    reported = _reported(measured, _selected(book, files["selected"]), step.told)
    rows = at(measured if what.startswith("min") else reported, cells["variant"], cells["w"], metric)
    if not rows:
        raise UserError(f"{cell.table}, {cell.row}: {metric} was not measured there, so there is no trail")
    beside: list[Row] = []
    if what.startswith("difference") and cells.get("baseline"):
        variant, _, w = cells["baseline"].partition("/w")
        beside = at(reported, variant, w, metric)
    point = f"{cells['variant']}/w{float(cells['w']):.2f}"
    return Cell(
        cell.table,
        cell.row,
        cell.column,
        cell.text,
        files["measurements"],
        rows,
        beside,
        metric,
        point,
        _again(what, rows, beside),
        _made_by(book.needed(files["measurements"]), rows + beside),
    )


def _asked(cell: Cell) -> tuple[str, str]:
    """The metric of a cell, and what of it: empty for the number itself, else `lo`, `difference`, ...

    Raises:
        UserError: the cell holds no number measured here.
    """
    cells, metric, what = cell.row.cells, "", cell.column
    if "metric" in cells:  # one row a number: the last three columns are about the papers' number
        papers = cell.column in ("published", "difference", "verdict")
        metric, what = "" if papers else cells["metric"], "" if cell.column == "value" else cell.column
    elif matched := re.fullmatch(r"(\w+@\w+)" + _ENDS, cell.column):
        metric, what = matched[1], matched[2] or ""
    if not metric:
        raise UserError(
            f"--column {cell.column}: is no number measured here; wanted one of {listed(cell.column, _measured(cells))}. "
            "The papers' numbers are in workflow/resources/published.csv."
        )
    return metric, what


def _measured(cells: Mapping[str, str]) -> list[str]:
    return [c for c in cells if re.fullmatch(r"\w+@\w+", c)] or ["value", "lo", "hi"]


def _selected(book: Book, path: str) -> list[Row]:
    """The rows of a CSV that may be empty, or absent: nothing was selected."""
    try:
        file = inside(book.root, path)
    except OSError:
        return []
    return book.rows(path) if file.read_text(encoding="utf-8", errors="replace").count("\n") > 1 else []


def _reported(measured: Sequence[Row], selected: Sequence[Row], told: Mapping[str, object]) -> list[Row]:
    """The rows that may be printed: no number of a block that chose a weight."""
    blocks = told.get("report_blocks")
    choosing = {r.cells["selected_on"] for r in selected if int(r.cells["n_candidates"]) > 1}
    return [
        row
        for row in measured
        if (row.cells["seed_block"] in blocks if isinstance(blocks, list) else row.cells["seed_block"] not in choosing)
    ]  # fmt: skip


def at(rows: Sequence[Row], variant: str, w: str, metric: str) -> list[Row]:
    """The rows of one metric at one point; weights are compared to the two digits paths carry."""
    return [
        row
        for row in rows
        if row.cells["variant"] == variant
        and row.cells["metric"] == metric
        and abs(float(row.cells["w"]) - float(w)) < 5e-3
    ]


def _again(what: str, rows: Sequence[Row], beside: Sequence[Row]) -> float:
    """The number once more: the mean over trainings of the mean over blocks; nan for ends of intervals and verdicts."""
    here = _values(rows)
    if what == "min of blocks":
        return _mean([min(v.values()) for v in here.values()])
    if what == "difference":
        there = _values(beside)
        gaps = [
            _mean([v[block] - there[seed][block] for block in v if block in there.get(seed, {})])
            for seed, v in here.items()
        ]
        return _mean([gap for gap in gaps if not math.isnan(gap)])
    return _mean([_mean(list(v.values())) for v in here.values()]) if not what else math.nan


def _values(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Training seed: block: value."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        text = row.cells["value"]
        found.setdefault(row.cells["train_seed"], {})[row.cells["seed_block"]] = (
            float(text) if text else math.nan
        )
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


# ---- tables of rows, and rows themselves -------------------------------------------------------------------------


def _collected(book: Book, step: Step, cell: Cell) -> Cell:
    """A row of all rows, or of the table of divergences."""
    cells = cell.row.cells
    path = next(p for p in step.outputs if p.endswith(("/measurements.csv", "/divergences.csv")))
    if cell.table == path:
        value = cells["value"] if cell.column == "value" else ""
        rows, again = [cell.row], float(value) if value else math.nan
    else:
        rows, again = behind(book.rows(path), cell.row, cell.column, cell.table)
    point = cells.get("point") or f"{cells['variant']}/w{float(cells['w']):.2f}"
    made = _made_by(step, rows)
    return Cell(
        cell.table,
        cell.row,
        cell.column,
        cell.text,
        path,
        rows,
        [],
        cells.get("metric") or cells["divergence"],
        point,
        again,
        made,
    )


def _made_by(step: Step, rows: Sequence[Row]) -> list[str]:
    """The per-job files that rows were collected from."""
    found: list[str] = []
    for row in rows:
        cells = row.cells
        point = cells.get("point") or f"{cells['variant']}/w{float(cells['w']):.2f}"
        if "/" not in point:  # no sampler: real against real
            found += step.inputs.get("null", ())
            continue
        found += [
            p
            for p in step.inputs.get("rows", ())
            if f"/{point}/" in p and int(cells["train_seed"]) in seeds_of(p.rsplit("/", 1)[1])
        ]
    return list(dict.fromkeys(found))


def seeds_of(part: str) -> set[int]:
    """The training seeds a file's name holds: `seeds0-4.csv`, `seed3.csv`, `seeds0_2.csv`."""
    numbers = part.split(".")[0].removeprefix("seeds").removeprefix("seed")
    first, dash, last = numbers.partition("-")
    if dash:
        return set(range(int(first), int(last) + 1))
    return {int(n) for n in numbers.split("_") if n.isdigit()}


def nets_digest(step: Step, recorded: Mapping[str, str]) -> str:
    """What rows carry as `checkpoint_sha256`: one hash for all nets of a sampler.

    Args:
        step: the sampler's. recorded: sha256 of its inputs.
    """
    nets = {
        label: recorded.get(paths[0], "")
        for label, paths in step.inputs.items()
        if label.split(":")[0] in ("model", "disc")
    }
    return hashlib.sha256(json.dumps(nets, sort_keys=True).encode()).hexdigest()[:16]
