"""Write the files of a printed table: CSV, Markdown, LaTeX and sources."""

from pathlib import Path

import pandas as pd

from guidelab.io import atomic_write, write_csv


def write(outputs: list[Path], rows: pd.DataFrame, md: str, tex: str, sources: pd.DataFrame) -> None:
    """Write a table's files, in the order of its rule: CSV, Markdown, LaTeX, sources."""
    write_csv(outputs[0], rows)
    for path, text in ((outputs[1], md), (outputs[2], tex)):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_csv(outputs[3], sources)
