"""Find a row of a table by column values (`variant=autog,w=3`) or by its number."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guidelab.errors import UserError, closest, plain
from guidelab.nearest import listed

_SHOWN = 6  # rows named in a message
_TELLING = (
    "row", "section", "point", "variant", "w", "weight", "metric", "kind", "name", "of", "train_seed", "seed_block",
    "divergence", "estimator", "sigma_lo",
)  # fmt: skip
_PART = re.compile(r",(?=[^,=]+=)")  # a comma before another `column=`: values may hold commas


@dataclass(frozen=True)
class Row:
    """A row of a CSV as it is written.

    Attributes:
        number: the first below the header is 1. cells: column to text.
    """

    number: int
    cells: Mapping[str, str]

    def __str__(self) -> str:
        told = [f"{key}={self.cells[key]}" for key in _TELLING if self.cells.get(key)]
        return plain(f"row {self.number}: {', '.join(told[:8])}")


def read_rows(path: Path) -> list[Row]:
    """All rows of a CSV, as text.

    Raises:
        UserError: it is not there, or is no table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [Row(i, row) for i, row in enumerate(csv.DictReader(file), 1)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Make it with: snakemake -c2 {path}") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a readable CSV ({error})") from error
    if not rows or any(None in row.cells or None in row.cells.values() for row in rows):
        raise UserError(f"{path}: is not a table with a header and rows; wanted a CSV of results/")
    return rows


def find(rows: Sequence[Row], given: Iterable[str], path: str, columns: Iterable[str] = ()) -> Row:
    """The one row that fits.

    Args:
        rows: of a table.
        given: a number, or `column=value` parts; numbers are compared as numbers.
        path: of the table, for messages.
        columns: names that are no conditions on a row although given as such (`metric=` of a wide table).
    Raises:
        UserError: none fits, or several do; lists the nearest.
    """
    parts = [part.strip() for text in given for part in _PART.split(text) if part.strip()]
    if not parts:
        raise UserError(
            f"{path}: has {len(rows)} rows; wanted --row with one of them, by number or by what it holds. {_some(rows)}"
        )
    if len(parts) == 1 and re.fullmatch(r"\d+", parts[0]):
        number = int(parts[0])
        if not 1 <= number <= len(rows):
            raise UserError(
                f"--row {number}: {path} has rows 1 to {len(rows)} (the first below the header is 1)"
            )
        return rows[number - 1]
    wanted = {k: v for k, v in conditions(parts, list(rows[0].cells), path).items() if k not in set(columns)}
    return _only(rows, wanted, path)


def conditions(parts: Iterable[str], known: Sequence[str], path: str) -> dict[str, str]:
    """`column=value` parts as a mapping; `metric` is allowed although it is no column.

    Raises:
        UserError: a part is not of that form, or names no column.
    """
    found: dict[str, str] = {}
    for part in parts:
        key, sign, value = (text.strip() for text in part.partition("="))
        if not sign:
            raise UserError(
                f"--row {part}: wanted a row's number, or column=value (for example variant=autog,w=3)"
            )
        if key not in known and key != "metric":
            raise UserError(
                plain(
                    f"--row {part}: {path} has no column {key!r}{closest(key, list(known))}; it has {listed(key, known)}"
                )
            )
        found[key] = value
    return found


def _only(rows: Sequence[Row], wanted: Mapping[str, str], path: str) -> Row:
    fits = [row for row in rows if all(same(row.cells.get(k, ""), v) for k, v in wanted.items())]
    if len(fits) == 1:
        return fits[0]
    said = ",".join(f"{k}={v}" for k, v in wanted.items())
    if fits:
        differing = [
            k for k in fits[0].cells if k not in wanted and len({r.cells[k] for r in fits}) == len(fits)
        ]
        apart = next((k for k in (*_TELLING, *differing) if k in differing), "")
        hint = (
            f" Add {apart}=...; it tells them apart ({listed('', [r.cells[apart] for r in fits])})."
            if apart
            else " Give its number."
        )
        raise UserError(plain(f"--row {said}: {len(fits)} rows of {path} fit.{hint} {_some(fits)}"))
    score = {row.number: sum(same(row.cells.get(k, ""), v) for k, v in wanted.items()) for row in rows}
    best = max(score.values(), default=0)
    near = [row for row in rows if score[row.number] == best and best]
    nowhere = [k for k, v in wanted.items() if not any(same(r.cells.get(k, ""), v) for r in rows)]
    held = "".join(
        f" No row has {k}={wanted[k]}; {k} is {listed(wanted[k], dict.fromkeys(r.cells.get(k, '') for r in near or rows))}."
        for k in nowhere
    )
    nearest = _some(near, "The nearest: ") if near else ""
    raise UserError(plain(f"--row {said}: no row of {path} fits.{held} {nearest}".rstrip()))


def same(text: str, given: str) -> bool:
    """Equal as text, or as numbers."""
    if text == given:
        return True
    try:
        a, b = float(text), float(given)
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _some(rows: Sequence[Row], lead: str = "") -> str:
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return lead + "; ".join(str(row) for row in rows[:_SHOWN]) + more
