"""Compare a measured row's columns with the records of the jobs that drew and measured its samples."""

from collections.abc import Iterator, Sequence
from typing import Any

from guidelab import registry
from guidelab.errors import UserError
from guidelab.lineage.trail.book import Step
from guidelab.lineage.trail.cells import seeds_of
from guidelab.lineage.trail.rows import Row, same


def contradictions(path: str, rows: Sequence[Row], steps: Sequence[Step]) -> list[str]:
    """Where rows and the records of their own jobs differ: sampler, steps, evaluations, dtype, seeds, weight, scale.

    Args:
        path: of the rows. rows: behind a number. steps: the jobs of its trail.
    Returns:
        messages; equal mismatches of many rows are named once, with the first row.
    """
    found: dict[tuple[str, ...], str] = {}
    for row in rows:
        for step in steps:
            if not _of_row(step, row):
                continue
            where = f"{path}, line {row.number + 1}"
            try:
                for column, given, recorded in _compared(step, row):
                    said = f"{where}: says {column} {given or '(empty)'}, the record of {step.name} says {recorded}"
                    found.setdefault((step.name, column, given, recorded), said)
            except (AttributeError, IndexError, KeyError, TypeError, UserError, ValueError):
                found.setdefault(
                    (step.name,), f"{where}: the record of {step.name} is not as its job writes it"
                )
    return list(found.values())


def _of_row(step: Step, row: Row) -> bool:
    """Whether a job drew or measured the samples of a row."""
    cells = row.cells
    if step.rule not in ("sample", "measure") or not {"variant", "w", "train_seed"} <= set(cells):
        return False
    folder, _, name = step.name.rpartition("/")
    return folder.endswith(f"/{cells['variant']}/w{float(cells['w']):.2f}") and int(
        cells["train_seed"]
    ) in seeds_of(name)


def _compared(step: Step, row: Row) -> Iterator[tuple[str, str, str]]:
    """The columns in which a row and the record of a job differ: column, given, recorded."""
    cells = row.cells
    for column, value in _recorded(step):
        recorded = "" if value is None else str(value)
        if column in cells and not same(cells[column], recorded):
            yield column, cells[column], recorded or "(empty)"
    block, blocks = cells.get("seed_block", ""), step.told.get("blocks") or {}
    if block and blocks and block not in blocks:
        yield "seed_block", block, ", ".join(blocks)
    elif block in blocks and float(cells.get("n_generated") or 0) > blocks[block][1] - blocks[block][0] + 1:
        yield "n_generated", cells["n_generated"], f"seeds {blocks[block][0]}-{blocks[block][1]}"
    weights = [term.get("weight") for term in step.told.get("terms") or []]
    if weights and not any(same(cells["w"], str(weight)) for weight in weights):
        yield "w", cells["w"], ", ".join(map(str, weights))


def _recorded(step: Step) -> Iterator[tuple[str, Any]]:
    """Columns of rows with their values by the job's recorded parameters."""
    sampler = dict(step.told.get("sampler") or {})
    for column, key in (("sampler", "name"), ("steps", "steps"), ("dtype", "dtype")):
        if key in sampler:
            yield column, sampler[key]
    if "steps" in sampler and step.rule == "measure":
        each, last = registry.evaluations(sampler)
        yield "nfe", 0 if step.told.get("real") else each * (sampler["steps"] - 1) + last
    yield from dict(step.told.get("row") or {}).items()
