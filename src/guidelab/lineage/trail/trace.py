"""Collect the complete trace of one number as plain data: cell, rows, jobs, files, and mismatches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guidelab import registry
from guidelab.errors import counted
from guidelab.lineage.trail.book import Book, Step, walk
from guidelab.lineage.trail.cells import Cell, find_cell, nets_digest
from guidelab.lineage.trail.contradictions import contradictions
from guidelab.lineage.trail.facts import facts
from guidelab.lineage.trail.intact import Files
from guidelab.lineage.trail.now import Now, differing

_SAMPLERS = ("sample", "generate", "grading")


def trace(
    table: str, given: Sequence[str], column: str | None, now: Now = lambda path: None, root: Path = Path()
) -> dict[str, Any]:
    """Follow one number, or, without a row, one file, back to data and code.

    Args:
        table: a CSV, or any file, below `results/`.
        given: `--row`; empty for a file as a whole.
        column: of the number.
        now: see `Now`; a job that is not planned any more has none.
        root: the project's folder.
    Returns:
        plain content for JSON: `cell` (with a row), `steps` from the table to the data, `files`, `problems`.
    Raises:
        UserError: no such file, row or column; several rows; nothing recorded.
    """
    book, files = Book(root), Files(root)
    cell = find_cell(book, table, given, column) if given or column else None
    starts = _starts(cell) if cell else [table]
    book.needed(table)
    steps = walk(book, starts, lambda step, label: _follows(cell, step, label))
    number = {min(step.outputs): i for i, step in enumerate(steps, 1)}
    told = [_step(book, files, step, number, cell, now) for step in steps]
    problems = [f"{state.path}: {state}" for state in files.changed]
    problems += [
        f"{s.name}: was made from other inputs than those recorded now" for s in steps if s.fed is False
    ]
    problems += [s.refused for s in steps if s.refused]
    problems += _disagreements(book, cell, steps) if cell else []
    return {
        "file": table,
        "cell": _cell(cell) if cell else None,
        "steps": told,
        "files": {state.path: asdict(state) for state in files.seen.values()},
        "problems": problems,
    }  # fmt: skip


def _starts(cell: Cell) -> list[str]:
    """The files the trail begins with: the table, all rows, and the per-job files of the number's own rows."""
    return list(dict.fromkeys([cell.table, *([cell.rows_file] if cell.rows_file else []), *cell.files]))


def _follows(cell: Cell | None, step: Step, label: str) -> bool:
    """Whether a number depends on an input of a job with several outputs."""
    if cell is None:
        return True
    if step.rule in ("table", "collect", "divergences"):
        return False  # what these read is already among the starts
    if step.rule != "measure" or not cell.metric:
        return True
    kind, _, name = label.partition(":")
    metric, _, space = cell.metric.partition("@")
    if space:
        about = (step.told.get("spaces") or {}).get(space) or {"of": space}
        wanted = {("features", about["of"]), ("reference", space), ("statistics", space)}
        return (kind, name) in wanted or kind not in ("features", "reference", "statistics")
    if kind == "grader":
        return metric.startswith("grader_")
    return kind != "density" or metric in registry.DIVERGENCES


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "row": cell.row.number,
        "is": str(cell.row),
        "column": cell.column,
        "value": cell.text,
        "metric": cell.metric,
        "point": cell.point,
        "interval": {k: v for k in ("lo", "hi", "over") if (v := _near(cell, k))},
        "chosen": _chosen(cell),
        "rows_file": cell.rows_file,
        "rows": [{"line": row.number + 1, **row.cells} for row in cell.rows],
        "baseline_rows": [{"line": row.number + 1, **row.cells} for row in cell.beside],
        "again": None if cell.agrees is None else cell.again,
        "agrees": cell.agrees,
    }  # fmt: skip


def _near(cell: Cell, end: str) -> str:
    cells = cell.row.cells
    names = [end] if cell.column == "value" else [f"{cell.column} {end}", f"{cell.column}_{end}"]
    return next((cells[name] for name in names if name in cells), "")


def _chosen(cell: Cell) -> str:
    """How the weight came about."""
    cells = cell.row.cells
    by, on = (
        cells.get("selected_by") or cells.get("chosen_by"),
        cells.get("selected_on") or cells.get("chosen_on"),
    )
    tried = cells.get("n_candidates") or cells.get("weights_tried")
    return (
        f"weight chosen by {by} on block {on} among {tried}; that block is not in the number"
        if by and on
        else ""
    )


def _step(
    book: Book, files: Files, step: Step, number: Mapping[str, int], cell: Cell | None, now: Now
) -> dict[str, Any]:
    """One job as plain content."""
    planned = now(step.name)
    inputs = []
    for label, paths in step.inputs.items():
        for path in paths:
            maker = book.step(path)
            found = number.get(min(maker.outputs)) if maker else None
            inputs.append({"label": label, "path": path, "sha256": book.sha256(path), "step": found})
    blocks = {row.cells["seed_block"] for row in cell.rows if "seed_block" in row.cells} if cell else set()
    trainings = (
        {int(row.cells["train_seed"]) for row in cell.rows if "train_seed" in row.cells} if cell else set()
    )
    made = step.name if step.rule in _SAMPLERS else ""
    mine = blocks if step.rule == "sample" else set(step.told.get("blocks") or {})
    return {
        "number": number[min(step.outputs)],
        "rule": step.rule,
        "outputs": {path: {"sha256": sha, "state": files.state(path, sha).word} for path, sha in step.outputs.items()},
        "facts": facts(step, blocks),
        "shards": [
            {**shard, "state": shard["state"].word}
            for shard in files.shards(made, mine, trainings if step.rule == "sample" else set())
        ],
        "inputs": inputs,
        "code": step.code,
        "accepted": dict(step.accepted),
        "code_now": str(planned.get("code", "")) if planned else None,
        "told": dict(step.told),
        "told_now": differing(step, planned) if planned else None,
        "log": step.log,
        "log_here": bool(step.log) and (book.root / step.log).is_file(),
        "run": asdict(step.run) if step.run else None,
        "provenance": step.stage,
    }  # fmt: skip


def _disagreements(book: Book, cell: Cell, steps: Sequence[Step]) -> list[str]:
    """Where a number, its rows and the records contradict each other."""
    found = []
    if cell.agrees is False:
        found.append(
            f"{cell.table}, row {cell.row.number}: says {cell.text}, its {counted(len(cell.rows), 'row')} make{'s' if len(cell.rows) == 1 else ''} {cell.again:.10g}"
        )
    found += contradictions(cell.rows_file, [*cell.rows, *cell.beside], steps)
    codes = {step.code for step in steps}
    samplers = [step for step in steps if step.rule == "sample"]
    nets = {nets_digest(s, {p: book.sha256(p) or "" for p in s.files}) for s in samplers}
    for row in (*cell.rows, *cell.beside):
        where = f"{cell.rows_file}, line {row.number + 1}"
        strange = [c for c in row.cells.get("code", "").split("+") if c and c not in codes]
        if strange:
            found.append(f"{where}: carries code {strange[0]}, which no recorded job of its trail ran")
        carried = row.cells.get("checkpoint_sha256", "")
        if samplers and carried and carried not in nets:
            found.append(f"{where}: carries nets {carried}, the recorded ones make {', '.join(sorted(nets))}")
    return found


def changed(found: Mapping[str, Any]) -> bool:
    """Whether a file of a trail is not what its job wrote, or something contradicts itself."""
    return bool(found["problems"])
