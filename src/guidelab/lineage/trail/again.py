"""Recompute a table's numbers from the rows behind them, independently of the code that made the table."""

import math
import re
from collections.abc import Mapping, Sequence

from guidelab.lineage.trail.rows import Row

Parts = Mapping[str, Sequence[Row]]  # part in the number (value, baseline, truth) -> rows
_Z95 = 1.959963984540054  # of the normal distribution
_ROUNDING = 1e-12  # what is smaller is printed as 0
_FLAGGED = "not estimable"


def again(how: str, parts: Parts, column: str) -> float:
    """A number once more; nan for words and for ends of intervals that are not computed here.

    Args:
        how: the operation on the rows, as named in the table's sources.
        parts: the rows. column: of the number, without its metric: `lo`, `difference hi`, `relative_error`; or the metric.
    """
    rows = parts.get("value", [])
    if how == "mean":
        return _nan_for_words(_mean([_mean(list(v.values())) for v in _values(rows).values()]), column)
    if how == "minimum":
        return _nan_for_words(_mean([min(v.values()) for v in _values(rows).values()]), column)
    if how == "difference":
        return _nan_for_words(_difference(rows, parts.get("baseline", [])), column)
    if how == "estimate":
        return _of_interval(rows, column.removeprefix("truth_"))
    if how == "relative error":
        return _relative(rows, parts.get("truth", []), column)
    return _of_repeats(rows, column) if how == "repeats" else math.nan


def _nan_for_words(number: float, column: str) -> float:
    """Ends of intervals over trainings and samples, verdicts and what an interval is over are not computed here."""
    return math.nan if re.search(r"(^| )(lo|hi|over|status|verdict|is)$", column) else number


def _difference(here: Sequence[Row], there: Sequence[Row]) -> float:
    """Mean over trainings of the mean over the blocks both have."""
    base = _values(there)
    gaps = [
        _mean([v[block] - base[seed][block] for block in v if block in base.get(seed, {})])
        for seed, v in _values(here).items()
    ]
    return _mean([gap for gap in gaps if not math.isnan(gap)])


def _values(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Training seed: block: value."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        text = row.cells["value"]
        value = float(text) if text else math.nan
        found.setdefault(row.cells["train_seed"], {})[row.cells["seed_block"]] = value
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


# ---- divergences -------------------------------------------------------------------------------------------------


def _of_interval(rows: Sequence[Row], what: str) -> float:
    """`value`, `lo`, `hi` or `n` of one row; `truth` is a value too."""
    if not rows or what in ("status", "bound", "note"):
        return math.nan
    if what == "n":
        return float(rows[0].cells["n"])
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
    """Half an interval; nan for a row without one."""
    value = float(row.cells["value"])
    flagged = row.cells["note"].startswith(_FLAGGED) or not math.isfinite(value)
    return math.nan if flagged else _Z95 * _number(row.cells["std_error"])


def _number(text: str) -> float:
    number = float(text or "nan")
    return 0.0 if abs(number) < _ROUNDING else number
