"""`guidelab table`: the experiment's table as CSV, Markdown and LaTeX, and the rows behind every cell."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.errors import UserError
from guidelab.io import read_csv
from guidelab.jobs.compared import measured
from guidelab.jobs.metrics_info import metrics_info
from guidelab.jobs.printed import write
from guidelab.paper import columns, names
from guidelab.paper.lines import images
from guidelab.paper.sheets import to_latex, to_markdown
from guidelab.paper.table import make_table


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make the table and write its forms."""
    inputs = job["inputs"]
    measurements, selected = measured(inputs)
    published = published_values(inputs["published"][0]) if "published" in inputs else None
    info = metrics_info(job)
    table = make_table(measurements, selected, info, published, job)
    rows, sources = (columns.wide if images(job) else columns.long)(table)
    write(outputs, rows, to_markdown(table), to_latex(table), sources)


def published_values(path: str | Path) -> pd.DataFrame:
    """published.csv with a column `printed` next to `value`: the same numbers with the digits they were printed with.

    Raises:
        UserError: missing, empty or malformed; or a value, weight or count that is no number.
    """
    table = read_csv(path)
    as_text = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, optional in (("value", False), ("weight", True), ("n_generated", True)):
        if column in table:
            _check_numbers(as_text[column], optional, f"{path}: {column}")
    return table.assign(printed=as_text["value"]) if "value" in table else table


def _check_numbers(texts: "pd.Series[str]", optional: bool, where: str) -> None:
    """Refuse a column that holds anything but finite numbers: next to a NaN no verdict would be printed."""
    finite = pd.to_numeric(texts, errors="coerce").abs() < math.inf
    wrong = texts[~(finite | (optional & (texts == "")))]
    if len(wrong):
        wanted = "a finite number or nothing" if optional else "a finite number"
        raise UserError(f"{where}: row {wrong.index[0] + 1}: given {wrong.iloc[0][:80]!r}, wanted {wanted}")
