# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Printed tables before any escaping: their cells, and sheets of at most eight columns."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from guidelab.paper import summary

ARROWS = {"lower": "↓", "higher": "↑"}
MARKS = {
    summary.TRAININGS: "", summary.SAMPLES: "†", summary.BLOCKS: "‡", summary.NOTHING: "§", summary.PAIRED: "†", summary.AS_UNPAIRED: "†",
}  # fmt: skip
MARK_NOTES = {
    summary.TRAININGS: "± and brackets: 95 % interval; unmarked: over trainings (Student)",
    summary.SAMPLES: "† 95 % interval over the samples of one training: says nothing about another training",
    summary.BLOCKS: "‡ 95 % interval over the seed blocks of one training (Student)",
    summary.NOTHING: "§ one number, no interval",
}
STATUS_NOTES = {
    summary.NOT_ESTIMABLE: "not estimable: a few samples carry the mean, neither it nor its error can be trusted",
    summary.NOT_DEFINED: "not defined: the denoiser is random, so its samples have no density by the ODE",
    summary.NOT_FINITE: "not finite: infinite in some block",
}
MOST = 8  # columns of a printed table
_VALUE, _HALF = 3, 2  # significant digits of a value and of its interval


@dataclass(frozen=True)
class Sheet:
    """One printed table: `align` has an `l` (text) or `r` (number) for each column."""

    title: str
    header: list[str]
    body: list[list[str]]
    notes: list[str]
    align: str


def pages(sheets: Iterable[Sheet]) -> Iterator[Sheet]:
    """Each sheet in parts of at most MOST columns; every part repeats the first column, the last has the notes."""
    for sheet in sheets:
        others = range(1, len(sheet.header))
        parts = [[0, *others[i : i + MOST - 1]] for i in range(0, len(others), MOST - 1)] or [[0]]
        for number, part in enumerate(parts, 1):
            yield replace(
                sheet,
                title=sheet.title + (f" ({number} of {len(parts)})" if len(parts) > 1 else ""),
                header=[sheet.header[i] for i in part],
                body=[[row[i] for i in part] for row in sheet.body],
                notes=sheet.notes if number == len(parts) else [],
                align="".join(sheet.align[i] for i in part),
            )


def number(value: float, unit: str, digits: int) -> str:
    """`value` to so many digits, shares (unit %) times 100, with a true minus sign."""
    shown = round(value * (100 if unit == "%" else 1), digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{shown:.{digits}f}".replace("-", "−")


def interval(value: float, lo: float, hi: float, unit: str, digits: int) -> str:
    """`13.2 ± 2.6`, `0.00 [0.00, 0.04]`, `416`: three significant digits, more only where the interval allows.

    Args:
        value: the number. lo, hi: its interval, or nan. unit: `%` for shares. digits: decimals that the metric has at most.
    """
    scale = 100 if unit == "%" else 1
    shown = min(digits, decimals(value * scale, (hi - lo) / 2 * scale))
    if math.isnan(lo):
        return number(value, unit, shown)
    if math.isclose(value - lo, hi - value, rel_tol=1e-6, abs_tol=1e-12):
        return f"{number(value, unit, shown)} ± {number(hi - value, unit, shown)}"
    return f"{number(value, unit, shown)} [{number(lo, unit, shown)}, {number(hi, unit, shown)}]"


def decimals(value: float, half: float) -> int:
    """Decimals of a number with an interval of so much to either side.

    Three significant digits of the value; more where the interval is narrower than the last of them, and never more than
    two significant digits of the interval.
    """
    of_value = _places(value, _VALUE)
    if not half > 0:  # nan, or no width
        return of_value
    return min(max(of_value, _places(half, 1)), _places(half, _HALF))


def _places(x: float, significant: int) -> int:
    return max(0, significant - 1 - math.floor(math.log10(abs(x)))) if x else significant


def columns(sheet: Sheet) -> Iterable[tuple[str, ...]]:
    """The sheet by columns, header first."""
    return zip(sheet.header, *sheet.body, strict=True)
