# ruff: noqa: RUF001 - true minus signs and dashes are what readers see
"""How published values and ours are printed."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import markdown, published
from guidelab.paper.cells import Sheet, number

_RULE = (
    "compared: the minimum of our blocks where the published value is a minimum of three evaluations (the choosing block "
    "too), else our mean over the blocks that chose no weight. reproduced: the difference is at most what is allowed, "
    "max(2 sd, 1.3 % of the published value), sd over our blocks and trainings; close: at most twice that; not: beyond. Where "
    "protocols differ no difference is formed. Conflicting and digitised values, and those whose method or assignment is not "
    "stated, are listed and are no targets."
)


def sheet(table: pd.DataFrame) -> Sheet:
    """The rows of `published.rows` as a printed table."""
    header = ["published row", "metric", "published", "here", "ours", "difference", "allowed", "verdict"]
    body = [_line(row) for row in table.to_dict("records")]
    about = {"Protocols": "published_protocol", "Sources": "published_from", "Notes on the published values": "published_note"}  # fmt: skip
    notes = [_RULE, *(f"{name}. {said}." for name, key in about.items() if (said := _each_once(table, key)))]
    return Sheet(published.SECTION, header, body, notes, "llrlrrrl")


def document(table: pd.DataFrame) -> str:
    """The rows of `published.not_run_table` as Markdown."""
    return markdown.document(f"{table.iloc[0]['experiment']}: published values, nothing run", [sheet(table)])  # fmt: skip


def _each_once(table: pd.DataFrame, key: str) -> str:
    """Every text of a column once, after the rows it is about; of one text for all, only the text."""
    about: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        if row[key]:
            about.setdefault(str(row[key]), []).append(str(row["published_row"]))
    if len(about) == 1 and len(next(iter(about.values()))) == len(table):
        return next(iter(about))
    return ". ".join(f"{'; '.join(dict.fromkeys(rows))}: {text}" for text, rows in about.items())


def _line(row: Mapping[Any, Any]) -> list[str]:
    digits, weight = 2 if abs(row["published"]) >= 1 else 3, row["published_weight"]

    def show(value: float, after: str = "") -> str:
        return "–" if math.isnan(value) else number(value, "", digits) + after

    name = str(row["published_row"]) + ("" if math.isnan(weight) else f", w = {weight:g}")
    ours = show(row["compared"], f" ({row['compared_as']})") if row["compared_as"] else str(row["status"])
    sign = "+" if row["published_difference"] > 0 else ""
    return [
        name, published.name_of(str(row["published_metric"])), str(row["published_printed"]), _here(row), ours,
        sign + show(row["published_difference"]), show(row["allowed"]), str(row["published_verdict"]),
    ]  # fmt: skip


def _here(row: Mapping[Any, Any]) -> str:
    """Which of our lines stands there: `CFG, w = 1.5`; no guidance and real images have no weight."""
    if not row["variant"]:
        return "–"
    return f"{row['label']}, w = {row['w']:g}" if row["guides"] else str(row["label"])
