# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Tables compile in a plain article with booktabs, and no cell is wider than its column; skipped where LaTeX is not installed."""

import re
import shutil
import subprocess
from pathlib import Path

import image_cases
import paper_cases
import pytest

from guidelab.paper import latex
from guidelab.paper.cells import Sheet
from guidelab.paper.sheets import to_latex
from guidelab.paper.table import make_table

COMMITTED = sorted((Path(__file__).parents[2] / "results/tables").glob("*.tex"))


def compiled(folder: Path, *tables: str) -> str:
    """The log of an article with these tables.

    Skips where `pdflatex` or booktabs is not installed; Debian has both in texlive-latex-recommended.
    """
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-recommended)")
    if (
        shutil.which("kpsewhich")
        and not subprocess.run(
            ["kpsewhich", "booktabs.sty"], capture_output=True, text=True, timeout=60
        ).stdout
    ):
        pytest.skip("the LaTeX package booktabs is not installed (Debian: texlive-latex-recommended)")
    body = "\n\n".join(tables)
    text = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (folder / "tables.tex").write_text(text)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=folder, capture_output=True, text=True, timeout=120, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def printed() -> list[str]:
    points, images = paper_cases.toy(), image_cases.images(3)
    chosen = paper_cases.selected(("autog", 2.0))
    return [
        to_latex(make_table(points, chosen, paper_cases.INFO, None, paper_cases.SPEC)),
        to_latex(make_table(images, image_cases.chosen(images), image_cases.INFO, None, image_cases.SPEC)),
    ]


def test_printed_tables_compile_at_text_width(tmp_path):
    log = compiled(tmp_path, *printed())
    assert "Overfull" not in log


def test_eight_columns_of_long_numbers_and_symbols_compile_at_text_width(tmp_path):
    numbers = [
        "−0.00013 ± 0.00039",
        "not estimable",
        "13.7 ± 1.2†⁺",
        "0.985 ± 0.003§⁻",
        "≤ 0.5 [0.4, 0.6]",
        "χ² → σ",
        "1",
    ]
    body = [["discriminator (DG), 50 % of A_b & {c}", *numbers], ["no guidance", *reversed(numbers)]]
    header = ["", *(f"KL(p‖q) ≥ NWJ, column {i} ↓" for i in range(7))]
    sheet = Sheet("Divergence at σ = 0.002 #1", header, body, ["‘quoted’ ~ ^ \\ <>|…"], "l" + "r" * 7)
    log = compiled(tmp_path, latex.document("", [sheet]))
    assert "Overfull" not in log


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.name)
def test_committed_tables_compile(path, tmp_path):
    compiled(tmp_path, path.read_text())


def test_a_word_wider_than_its_column_is_seen(tmp_path):
    wide = re.sub(r"p\{0\.\d+", "p{0.0100", printed()[0])
    assert "Overfull" in compiled(tmp_path, wide)
