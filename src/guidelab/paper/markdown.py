"""Sheets as Markdown text."""

from collections.abc import Iterable

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
