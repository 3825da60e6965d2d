"""`guidelab table`: the experiment's table as CSV, Markdown and LaTeX, and the rows behind every cell."""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.io import atomic_write, read_csv, write_csv
from guidelab.paper import columns
from guidelab.paper.lines import images
from guidelab.paper.sheets import to_latex, to_markdown
from guidelab.paper.table import make_table


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make the table and write its forms."""
    inputs = job["inputs"]
    measurements, selected, info = (
        read_csv(inputs[name][0]) for name in ("measurements", "selected", "metrics")
    )
    published = published_values(inputs["published"][0]) if "published" in inputs else None
    table = make_table(measurements, selected, info, published, job)
    rows, sources = (columns.wide if images(job) else columns.long)(table)
    write(outputs, rows, to_markdown(table), to_latex(table), sources)


def write(outputs: list[Path], rows: pd.DataFrame, md: str, tex: str, sources: pd.DataFrame) -> None:
    """A table's files, in the order of its rule: CSV, Markdown, LaTeX, sources."""
    write_csv(outputs[0], rows)
    for path, text in ((outputs[1], md), (outputs[2], tex)):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_csv(outputs[3], sources)


def published_values(path: str | Path) -> pd.DataFrame:
    """published.csv with a column `printed` next to `value`: the same numbers with the digits they were printed with.

    Raises:
        UserError: missing, empty or malformed.
    """
    table = read_csv(path)
    as_text = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(printed=as_text["value"]) if "value" in table else table
