"""`guidelab table`: the experiment's table as CSV, Markdown and LaTeX, and the rows behind every cell."""

from pathlib import Path
from typing import Any

import pandas as pd

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
        UserError: missing, empty or malformed.
    """
    table = read_csv(path)
    as_text = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(printed=as_text["value"]) if "value" in table else table
