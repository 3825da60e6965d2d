"""Find the measured rows behind a table's cell, and check that they still give its number.

Which rows these are is written by the job of the table, in its `X.sources.csv`; see `guidelab.paper.sources_columns`.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guidelab.errors import UserError, closest
from guidelab.lineage.trail.again import again
from guidelab.lineage.trail.book import Book, Step
from guidelab.lineage.trail.rows import Row, conditions, find, same
from guidelab.nearest import listed
from guidelab.paper.sources_columns import BETWEEN, EITHER, LEADING

_PRINTED = 2e-5  # tables are written with six digits or more
_ROWS = {
    "table": "/measurements.csv",
    "divergences": "/divergences.csv",
}  # rule -> the end of its file of rows


@dataclass(frozen=True)
class Cell:
    """One number and what it was computed from.

    Attributes:
        table: its file. row: of the table. column: of the number. text: the number as it is written.
        rows_file: the measured rows; empty where the table is made of none. rows: those behind the number.
        beside: rows of the baseline, for a difference. metric, point: what was measured, where; empty where unknown.
        again: the number computed once more from `rows`; of a row of measurements itself its recorded value; nan otherwise.
        files: per-job files the rows came from; only the table itself where its rows are not traced.
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
        UserError: no such row or column, several rows, nothing recorded of the table, or a cell without sources.
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
    if table.endswith(tuple(_ROWS.values())):
        return _row_itself(step, Cell(table, row, column, cells[column]))
    if step.rule in _ROWS:
        return _looked_up(book, step, Cell(table, row, column, cells[column]))
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


def _looked_up(book: Book, step: Step, cell: Cell) -> Cell:
    """A cell with the rows that the table's sources name."""
    sources = next((path for path in step.outputs if path.endswith(".sources.csv")), None)
    if sources is None:
        raise UserError(
            f"{cell.table}: no file of its sources is recorded; it was made before tables had one. Make it again with: "
            f"snakemake -c2 {cell.table}"
        )
    of_row = [s for s in book.rows(sources) if s.cells["row"] == str(cell.row.number)]
    mine = [s for s in of_row if cell.column in s.cells["columns"].split(BETWEEN)]
    if not mine:
        raise UserError(_no_trail(cell, of_row))
    path = next(p for p in _files(step) if p.endswith(_ROWS[step.rule]))
    rows, parts = book.rows(path), dict[str, list[Row]]()
    for source in mine:
        found = _matching(rows, source)
        if not found:
            raise UserError(
                f"{cell.table}, {cell.row}: no row of {path} is as {sources}, line {source.number + 1} says; the table was not "
                f"made of these rows. Make it again with: snakemake -c2 {cell.table}"
            )
        parts.setdefault(source.cells["part"], []).extend(found)
    how, last = mine[0].cells["how"], parts.get("baseline", [])
    behind = [row for part, found in parts.items() if part != "baseline" for row in found]
    first = behind[0].cells
    metric = first.get("metric") or first["divergence"]
    maker = book.needed(path)
    number = again(how, parts, cell.column.removeprefix(f"{metric} "))
    made = _made_by(maker, [*behind, *last])
    return Cell(
        cell.table, cell.row, cell.column, cell.text, path, behind, last, metric, _point(first), number, made
    )


def _files(step: Step) -> list[str]:
    return [*step.outputs, *(path for paths in step.inputs.values() for path in paths)]


def _matching(rows: Sequence[Row], source: Row) -> list[Row]:
    """The rows whose key columns hold what a line of sources says, or one of several values."""
    wanted = {k: v.split(EITHER) for k, v in source.cells.items() if k not in LEADING}
    return [r for r in rows if all(any(same(r.cells[k], v) for v in values) for k, values in wanted.items())]


def _no_trail(cell: Cell, of_row: Sequence[Row]) -> str:
    """Why a cell has no rows: nothing was measured in its line, it is empty, or its column is about something else."""
    known = dict.fromkeys(c for s in of_row for c in s.cells["columns"].split(BETWEEN))
    held = [c for c in known if cell.row.cells.get(c)]
    if not known:
        return f"{cell.table}, {cell.row}: nothing was measured there (not run), so there is no trail"
    if not cell.text:
        return (
            f"{cell.table}, {cell.row}: its {cell.column} is empty, so there is no trail. Wanted a column with a number in it: "
            f"{', '.join(held)}"
        )
    return (
        f"--column {cell.column}: is no number measured here; wanted one of {listed(cell.column, held)}. "
        "The papers' numbers are in workflow/resources/published.csv."
    )


def _row_itself(step: Step, cell: Cell) -> Cell:
    """A row of all measurements, or of all estimates of divergences."""
    cells = cell.row.cells
    number = float(cells["value"]) if cell.column == "value" and cells["value"] else math.nan
    metric = cells.get("metric") or cells["divergence"]
    made = _made_by(step, [cell.row])
    return Cell(
        cell.table,
        cell.row,
        cell.column,
        cell.text,
        cell.table,
        [cell.row],
        [],
        metric,
        _point(cells),
        number,
        made,
    )


def _point(cells: Mapping[str, str]) -> str:
    return cells.get("point") or f"{cells['variant']}/w{float(cells['w']):.2f}"


def _made_by(step: Step, rows: Sequence[Row]) -> list[str]:
    """The per-job files that rows were collected from."""
    found: list[str] = []
    for row in rows:
        point = _point(row.cells)
        if "/" not in point:  # no sampler: real against real
            found += step.inputs.get("null", ())
            continue
        found += [
            p
            for p in step.inputs.get("rows", ())
            if f"/{point}/" in p and int(row.cells["train_seed"]) in seeds_of(p.rsplit("/", 1)[1])
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
