# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Coverage of repeated intervals: columns of the table, and printed sections."""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import divergence_numbers
from guidelab.paper.cells import Sheet
from guidelab.paper.divergence_numbers import NOT_ESTIMABLE, OK, Z95

COLUMNS = ["coverage", "above_truth", "repeats", "repeats_flagged", "repeats_n", "repeats_status"]
KINDS = {  # of rows -> the columns made of them
    "coverage": ("coverage", "repeats", "repeats_flagged", "repeats_n", "repeats_status"),
    "above truth": ("above_truth",),
}
_MANY = 0.1  # of the repeats flagged: printed with the share


def columns(mine: Mapping[tuple[str, str, str], dict[Any, Any]], row: Mapping[Any, Any]) -> dict[str, Any]:
    """COLUMNS of one estimate; nothing where it was not repeated.

    Args:
        mine: kind, divergence and estimator -> a row of its point. row: the estimate.
    """
    at = (row["divergence"], row["estimator"])
    found = {kind: mine[kind, *at] for kind in KINDS if (kind, *at) in mine}
    known: dict[str, Any] = {kind.replace(" ", "_"): float(part["value"]) for kind, part in found.items()}
    if "coverage" in found:
        note = str(found["coverage"]["note"])
        flagged = re.search(r"(\d+) repeats flagged", note)
        known["repeats"] = int(note.removeprefix(f"{NOT_ESTIMABLE}: ").split()[0])
        known["repeats_flagged"] = int(flagged[1]) if flagged else 0
        known["repeats_n"] = int(found["coverage"]["n"])
        known["repeats_status"] = NOT_ESTIMABLE if note.startswith(NOT_ESTIMABLE) else OK
    return known


def sheets(table: pd.DataFrame) -> list[Sheet]:
    """The share that hold, and the share that lie above."""
    return [_sheet(table, "coverage"), _sheet(table, "above_truth")]


def _sheet(table: pd.DataFrame, column: str) -> Sheet:
    held = table[table[column].notna()]
    pairs = list(dict.fromkeys(zip(held["divergence"], held["estimator"], strict=True)))
    body = []
    for point in dict.fromkeys(held["point"]):
        mine = held[held["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append([divergence_numbers.point_label(point), *(_percent(cell, column) for cell in cells)])
    repeats = int(held["repeats"].max()) if len(held) else 0
    half = 100 * Z95 * math.sqrt(0.05 * 0.95 / max(repeats, 1))
    if column == "coverage":
        title = f"Share of 95 % intervals that hold what they estimate, %, of {repeats} repeats"
        notes = [
            f"At 95 %, {repeats} repeats give 95 ± {half:.1f}. {_sizes(held)} What NWJ estimates is its own mean, not the "
            "divergence; DV is held against its value at the points of all repeats together, above which its own mean lies at few "
            "points, so that less than 95 % are expected.",
            "Flagged: repeats that say of themselves that they are not estimable, counted like the others; printed as not "
            "estimable where most do.",
        ]
    else:
        title = f"Share of 95 % intervals above what they are a lower bound of, %, of {repeats} repeats"
        notes = [
            f"At most 2.5 % are expected, at equality. {_sizes(held)} –: the truth itself is not estimable."
        ]
    return Sheet(
        title,
        ["", *(divergence_numbers.heading(d, e) for d, e in pairs)],
        body,
        notes,
        "l" + "r" * len(pairs),
    )


def _sizes(held: pd.DataFrame) -> str:
    """`Repeats have 512 points a side (gains: 2,048); intervals printed above rest on 8,192.`"""
    gain = held["divergence"] == "score_error"
    few, many = (f"{int(held.loc[m, 'repeats_n'].min()):,}" if m.any() else "" for m in (~gain, gain))
    counted = f"{few} points a side (gains: {many})" if few and many else f"{few or many} points"
    printed = sorted(set(held.loc[held["point"] != divergence_numbers.NULL, "n"].astype(int)))
    return (
        f"Repeats have {counted}; intervals printed above rest on {' to '.join(f'{n:,}' for n in printed[:: max(1, len(printed) - 1)])}."
        if printed
        else f"Repeats have {counted}."
    )


def _percent(cell: pd.DataFrame, column: str) -> str:
    """A share in percent, with the repeats that flag themselves where they are many."""
    if cell.empty:
        return "–"
    found = cell.iloc[0]
    if found["repeats_status"] != OK:
        return NOT_ESTIMABLE
    many = column == "coverage" and found["repeats_flagged"] >= _MANY * found["repeats"]
    flagged = f" ({int(found['repeats_flagged'])} flagged)" if many else ""
    return f"{100 * float(found[column]):.1f}{flagged}"
