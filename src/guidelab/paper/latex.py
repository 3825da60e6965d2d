# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
r"""Sheets as LaTeX text as wide as the text; needs the package booktabs.

Columns are `p` of a part of `\linewidth`, so that long words wrap and no table leaves the page.
"""

from collections.abc import Iterable

from guidelab.paper import cells

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "‖": r"$\Vert$", "≤": r"$\leq$",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "χ": r"$\chi$", "²": r"$^2$", "–": "--", "→": r"$\to$",
    "σ": r"$\sigma$", "≥": r"$\geq$", "⁺": "$^{+}$", "⁻": "$^{-}$", "é": r"\'e", "ü": r"\"u", "ö": r"\"o", "ä": r"\"a",
    "ć": r"\'c", "ń": r"\'n", "…": r"\ldots{}", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
}  # fmt: skip
GAP = 0.008  # \tabcolsep as a part of \linewidth
WIDTH = {"footnotesize": 84, "scriptsize": 96, "tiny": 130}  # letters in the text width of a plain article


def document(title: str, sheets: Iterable[cells.Sheet]) -> str:
    r"""Sheets as LaTeX, the title in a comment; to be read with `\input`, the caller chooses the float and the caption."""
    parts = [_part(sheet) for sheet in cells.pages(sheets)]
    head = "% needs \\usepackage{booktabs}; " + escape(title)
    return f"{head}\n{{\\setlength{{\\tabcolsep}}{{{GAP:g}\\linewidth}}%\n" + "\n\n\\medskip\n".join(parts) + "\n}\n"  # fmt: skip


def escape(text: str) -> str:
    """`text` with LaTeX's special characters and the symbols of the tables made printable; others become `?`."""
    shown = "".join(_SPECIAL.get(character, character) for character in text)
    return shown.encode("ascii", "replace").decode()


def widths(sheet: cells.Sheet) -> tuple[str, list[float]]:
    r"""The largest size of letters at which every word fits its column, and each column's part of `\linewidth`."""
    each = [list(column) for column in cells.columns(sheet)]
    least = [max([len(word) for cell in column for word in cell.split()] or [1]) for column in each]
    wanted = [max(len(cell) for cell in column) for column in each]
    # numbers stay on one line, headings and labels wrap
    least = [max(n, *map(len, c[1:]), 1) if side == "r" else n for n, c, side in zip(least, each, sheet.align, strict=True)]  # fmt: skip
    size = next((name for name, letters in WIDTH.items() if sum(least) <= letters), "tiny")
    spare = max(0, WIDTH[size] - sum(least))
    more = [max(0, w - n) for w, n in zip(wanted, least, strict=True)]
    share = min(1.0, spare / (sum(more) or 1))
    letters = [n + share * m for n, m in zip(least, more, strict=True)]
    room = 1 - 2 * GAP * (len(letters) - 1)
    total = max(sum(letters), WIDTH[size])
    return size, [room * n / total for n in letters]


def _part(sheet: cells.Sheet) -> str:
    size, parts = widths(sheet)
    columns = "".join(rf"p{{{part:.4f}\linewidth}}" for part in parts)
    lines = [r"\noindent\textbf{" + escape(sheet.title) + r"}\par\smallskip", rf"{{\{size}\noindent"]
    lines += [r"\begin{tabular}{@{}" + columns + r"@{}}", r"\toprule", _row(sheet.header, sheet.align), r"\midrule"]  # fmt: skip
    lines += [_row(row, sheet.align) for row in sheet.body]
    lines += [r"\bottomrule", r"\end{tabular}\par}\smallskip"]
    return "\n".join(lines + [r"{\scriptsize\noindent " + escape(note) + r"\par}" for note in sheet.notes])


def _row(cells_: list[str], align: str) -> str:
    r"""A row; `\tabularnewline` ends it, as `\raggedleft` gives `\\` another meaning."""
    side = {"l": r"\raggedright ", "r": r"\raggedleft "}
    shown = [side[a] + escape(cell) for cell, a in zip(cells_, align, strict=True)]
    return " & ".join(shown) + r" \tabularnewline"
