"""A table as Markdown text."""

import pandas as pd

from guidelab.paper import cells


def to_markdown(table: pd.DataFrame) -> str:
    """The rows of `tables.make_table` as Markdown: a title, then one aligned pipe table for each group of metrics."""
    return document(cells.title(table), cells.sheets(table))


def document(title: str, sheets: list[cells.Sheet]) -> str:
    """A title and sheets as Markdown."""
    parts = [f"## {escape(title)}"]
    for sheet in sheets:
        parts += [f"### {escape(sheet.title)}", pipes(sheet), *(escape(note) for note in sheet.notes)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Pipes would split a cell, the others would set type: `\|`, `\*`, `\_`, `\<`."""
    for mark in "\\|*_<`":
        text = text.replace(mark, "\\" + mark)
    return text


def pipes(sheet: cells.Sheet) -> str:
    """The sheet as a pipe table, padded so that its source reads as a table too."""
    columns = [[escape(cell) for cell in column] for column in cells.columns(sheet)]
    widths = [max(3, *map(len, column)) for column in columns]
    lines = []
    for i in range(len(sheet.body) + 1):
        row = [
            c[i].ljust(w) if side == "l" else c[i].rjust(w)
            for c, w, side in zip(columns, widths, sheet.align, strict=True)
        ]
        lines.append(f"| {' | '.join(row)} |")
    rule = [
        "-" * w if side == "l" else "-" * (w - 1) + ":" for w, side in zip(widths, sheet.align, strict=True)
    ]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)
