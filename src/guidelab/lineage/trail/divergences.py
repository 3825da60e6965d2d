"""From a cell of a table of divergences to the rows of divergences.csv it was made of, by the table's own rules.

A line of the table is one estimate. Its other columns are of other rows: `truth` of the exact divergence, or, for a gain, of the
gain by the true score; `relative_error` of both; `coverage`, `above_truth` and `repeats` of the repeats with fewer points.
"""

import math
import re
from collections.abc import Mapping, Sequence

from guidelab.errors import UserError
from guidelab.lineage.trail.rows import Row, same

_POINT = ("point", "train_seed", "divergence")
_OWN = (*_POINT, "estimator", "sigma_lo", "sigma_hi")
_ESTIMATE = ("value", "lo", "hi", "status", "n", "bound", "note")
_TRUTH = ("truth", "truth_lo", "truth_hi", "truth_status")
_RELATIVE = ("relative_error", "relative_lo", "relative_hi")
_REPEATS = ("coverage", "above_truth", "repeats", "repeats_flagged", "repeats_n", "repeats_status")
_MAY_BE_EMPTY = ("note", "bound")
_Z95 = 1.959963984540054  # of the normal distribution
_ROUNDING = 1e-12  # what is smaller is printed as 0
_FLAGGED = "not estimable"


def behind(rows: Sequence[Row], line: Row, column: str, table: str) -> tuple[list[Row], float]:
    """The rows behind a cell, and the number computed once more from them.

    Args:
        rows: all of divergences.csv. line: of the table. column: of the cell. table: for messages.
    Returns:
        the rows, and their number; nan for words.
    Raises:
        UserError: the column says what the line is about, the cell is empty, or no row fits.
    """
    cells = line.cells
    known = (*_ESTIMATE, *_TRUTH, *_RELATIVE, *_REPEATS)
    if column not in known:
        raise UserError(
            f"--column {column}: says what a row of {table} is about and is no number measured here; wanted one of {', '.join(known)}"
        )
    if not cells[column] and column not in _MAY_BE_EMPTY:
        raise UserError(
            f"{table}, {line}: its {column} is empty, so there is no trail: {_why(cells, column)}. Wanted a column with a number in it: "
            f"{', '.join(c for c in known if cells.get(c) and _is_number(cells[c]))}"
        )
    own = _own(rows, cells)
    exact = _exact(rows, cells) if column in (*_TRUTH, *_RELATIVE) else []
    if column in _ESTIMATE:
        found, number = own, _of_interval(own, column)
    elif column in _TRUTH:
        found, number = exact, _of_interval(exact, column.removeprefix("truth_"))
    elif column in _RELATIVE:
        found, number = own + exact if own and exact else [], _relative(own, exact, column)
    else:
        found = _repeats(rows, cells, "above truth" if column == "above_truth" else "coverage")
        number = _of_repeats(found, column)
    if not found:
        raise UserError(
            f"{table}, {line}: no row of divergences.csv fits its {column}; the table is not of these rows. Make it again with: "
            f"snakemake -c2 {table}"
        )
    return found, number


# ---- which rows --------------------------------------------------------------------------------------------------


def _own(rows: Sequence[Row], cells: Mapping[str, str]) -> list[Row]:
    """The estimate itself."""
    return _fitting(rows, cells, _OWN, ("truth", "estimate", "target"))


def _exact(rows: Sequence[Row], cells: Mapping[str, str]) -> list[Row]:
    """What an estimate is held against; the first of several, as the table takes it."""
    gain = cells["divergence"] == "score_error"
    wanted = {**cells, "estimator": f"{cells['estimator']}_target" if gain else "exact"}
    return _fitting(rows, wanted, (*_POINT, "estimator"), ("truth", "target"))[:1]


def _repeats(rows: Sequence[Row], cells: Mapping[str, str], kind: str) -> list[Row]:
    """The repeats of an estimate with fewer points."""
    return _fitting(rows, cells, (*_POINT, "estimator"), (kind,))[:1]


def _fitting(
    rows: Sequence[Row], cells: Mapping[str, str], keys: Sequence[str], kinds: Sequence[str]
) -> list[Row]:
    return [
        row
        for row in rows
        if row.cells["kind"] in kinds and all(same(row.cells[key], cells[key]) for key in keys)
    ]


# ---- the number once more ----------------------------------------------------------------------------------------


def _of_interval(rows: Sequence[Row], what: str) -> float:
    """`value`, `lo`, `hi` or `n` of one row; `truth` is a value too."""
    if not rows or what in ("status", "truth_status", "bound", "note"):
        return math.nan
    cells = rows[0].cells
    if what == "n":
        return float(cells["n"])
    value, half = _value(rows[0]), _half(rows[0])
    return {"lo": value - half, "hi": value + half}.get(what, value)


def _relative(own: Sequence[Row], exact: Sequence[Row], column: str) -> float:
    """(estimate - exact) / |exact| and its interval, as if both errors were independent."""
    if not own or not exact or _value(exact[0]) == 0:
        return math.nan
    estimate, truth = _value(own[0]), _value(exact[0])
    error = (estimate - truth) / abs(truth)
    spread = math.sqrt(_half(own[0]) ** 2 + (_half(exact[0]) * estimate / truth) ** 2) / abs(truth)
    return error + {"relative_lo": -spread, "relative_hi": spread}.get(column, 0.0)


def _of_repeats(rows: Sequence[Row], column: str) -> float:
    """The share, or how many repeats there were, which the row's note says: `200 repeats; 3 repeats flagged`."""
    if not rows:
        return math.nan
    cells = rows[0].cells
    if column in ("coverage", "above_truth"):
        return float(cells["value"])
    if column == "repeats_n":
        return float(cells["n"])
    counted = re.findall(r"(\d+) repeats( flagged)?", cells["note"])
    flagged = [int(n) for n, word in counted if word]
    if column == "repeats_flagged":
        return float(flagged[0] if flagged else 0)
    return float(counted[0][0]) if column == "repeats" and counted else math.nan


def _value(row: Row) -> float:
    return _number(row.cells["value"])


def _half(row: Row) -> float:
    """Half an interval; nan where the row says of itself that it has none."""
    value = float(row.cells["value"])
    flagged = row.cells["note"].startswith(_FLAGGED) or not math.isfinite(value)
    return math.nan if flagged else _Z95 * _number(row.cells["std_error"])


def _number(text: str) -> float:
    number = float(text or "nan")
    return 0.0 if abs(number) < _ROUNDING else number


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _why(cells: Mapping[str, str], column: str) -> str:
    """What an empty cell means."""
    if column in _REPEATS:
        return "the estimate was not repeated, or its truth is not estimable"
    if cells.get("estimates") in ("itself", "nothing known") and column in (*_TRUTH, *_RELATIVE):
        return f"the row estimates {cells['estimates']}"
    return "not estimable"
