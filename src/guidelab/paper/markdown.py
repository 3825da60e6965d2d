"""Sheets as Markdown text."""

from collections.abc import Iterable

from tabulate import tabulate

from guidelab.paper import cells


def document(title: str, sheets: Iterable[cells.Sheet]) -> str:
    """A title, then an aligned pipe table of at most eight columns for each sheet or part of one, notes below."""
    parts = [f"## {escape(title)}"]
    for sheet in cells.pages(sheets):
        parts += [f"### {escape(sheet.title)}", pipes(sheet), *(escape(note) for note in sheet.notes)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Pipes would split a cell, the others would set type: `\|`, `\*`, `\_`, `\<`."""
    for mark in "\\|*_<`":
        text = text.replace(mark, "\\" + mark)
    return text


def pipes(sheet: cells.Sheet) -> str:
    """The sheet as a pipe table, padded so that its source reads as a table too."""
    header, *body = ([escape(cell) for cell in row] for row in (sheet.header, *sheet.body))
    sides = [{"l": "left", "r": "right"}[side] for side in sheet.align]
    return tabulate(body, headers=header, tablefmt="pipe", colalign=sides, disable_numparse=True)
