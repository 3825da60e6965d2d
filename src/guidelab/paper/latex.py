# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
r"""Printed tables as LaTeX at text width; needs the package booktabs.

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
GAP = 0.006  # \tabcolsep as a part of \linewidth
WIDTH = {"footnotesize": 81, "scriptsize": 86, "tiny": 101}  # digits in the text width of a plain article
_OF_DIGIT = {  # widths of other characters in Computer Modern, in digits; 1 for those not named
    **dict.fromkeys(" ", 0.67), **dict.fromkeys(".,:;ijl|'()[]", 0.6), **dict.fromkeys("ftrsI-", 0.8),
    **dict.fromkeys("±−→≥≤×mwMWχσ", 1.6), **dict.fromkeys("⁺⁻", 1.3), **dict.fromkeys("ABCDEFGHKLNOPQRSTUVXYZ%&–", 1.45),
}  # fmt: skip


def document(title: str, sheets: Iterable[cells.Sheet]) -> str:
    r"""Sheets as LaTeX, the title in a comment; to be read with `\input`, the caller chooses the float and the caption."""
    parts = [_part(sheet) for sheet in cells.pages(sheets)]
    head = "% needs \\usepackage{booktabs}; " + escape(title)
    return f"{head}\n{{\\setlength{{\\tabcolsep}}{{{GAP:g}\\linewidth}}%\n" + "\n\n\\medskip\n".join(parts) + "\n}\n"  # fmt: skip


def escape(text: str) -> str:
    """`text` with LaTeX's special characters and the symbols of the tables made printable; others become `?`.

    Lines may break before a ± and not after it.
    """
    shown = "".join(_SPECIAL.get(character, character) for character in text).replace(r"$\pm$ ", r"$\pm$~")
    return shown.encode("ascii", "replace").decode()


def widths(sheet: cells.Sheet) -> tuple[str, list[float]]:
    r"""The largest size of letters at which every word fits its column, and each column's part of `\linewidth`.

    Numbers stay on one line where `footnotesize` or `scriptsize` has room for that; else they wrap before their ±.
    """
    each = [list(column) for column in cells.columns(sheet)]
    words = [
        max([_digits(w) for c in column for w in c.replace("± ", "±").split()] or [1.0]) for column in each
    ]
    wanted = [max(map(_digits, column)) for column in each]
    whole = [max(n, *map(_digits, c[1:]), 1.0) if side == "r" else n for n, c, side in zip(words, each, sheet.align, strict=True)]  # fmt: skip
    room = 1 - 2 * GAP * (len(each) - 1)
    sizes = [(name, least) for least in (whole, words) for name in ("footnotesize", "scriptsize")]
    size, least = next((s for s in sizes if sum(s[1]) <= room * WIDTH[s[0]]), ("tiny", words))
    most = room * WIDTH[size]
    more = [max(0.0, w - n) for w, n in zip(wanted, least, strict=True)]
    share = min(1.0, max(0.0, most - sum(least)) / (sum(more) or 1))
    found = [n + share * m for n, m in zip(least, more, strict=True)]
    total = max(sum(found), most)
    return size, [room * n / total for n in found]


def _digits(text: str) -> float:
    """The width of some text, in digits, with a little room."""
    return 0.3 + sum(_OF_DIGIT.get(character, 1.0) for character in text)


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
