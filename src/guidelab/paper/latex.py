# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""A table as LaTeX text; needs the package booktabs."""

import pandas as pd

from guidelab.paper import cells

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "‖": r"$\Vert$",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "χ": r"$\chi$", "²": r"$^2$", "–": "--", "→": r"$\to$",
}  # fmt: skip


def to_latex(table: pd.DataFrame) -> str:
    r"""The rows of `tables.make_table` as LaTeX: one `tabular` for each group of metrics, rules by booktabs.

    Meant to be read with `\input`; the caller chooses the float and the caption.
    """
    return document(cells.title(table), cells.sheets(table))


def document(title: str, sheets: list[cells.Sheet]) -> str:
    """Sheets as LaTeX, the title in a comment."""
    parts = ["% needs \\usepackage{booktabs}; " + title]
    for sheet in sheets:
        parts.append(
            "\n".join([r"\noindent\textbf{" + escape(sheet.title) + r"}\par\smallskip", *tabular(sheet)])
        )
    return (
        parts[0]
        + "\n{\\footnotesize\\setlength{\\tabcolsep}{4pt}%\n"
        + "\n\n\\medskip\n".join(parts[1:])
        + "\n}\n"
    )


def escape(text: str) -> str:
    """`text` with LaTeX's special characters, and the few symbols of the tables, made printable."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def tabular(sheet: cells.Sheet) -> list[str]:
    """The lines of one sheet's `tabular` and the notes below it."""
    lines = [r"\begin{tabular}{@{}" + sheet.align + r"@{}}", r"\toprule"]
    lines += [" & ".join(map(escape, sheet.header)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(escape, row)) + r" \\" for row in sheet.body]
    lines += [r"\bottomrule", r"\end{tabular}\par\smallskip"]
    return lines + [r"{\scriptsize " + escape(note) + r"\par}" for note in sheet.notes]
