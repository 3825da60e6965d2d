"""`guidelab divergences`: all rows about divergences in one file, and their table with the rows behind every cell."""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.io import read_csv, write_csv
from guidelab.jobs.printed import write
from guidelab.paper import names
from guidelab.paper.divergence_table import make_table, sources, to_latex, to_markdown


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Concatenate in the order of params.yaml, the null first; make the table and write its forms."""
    paths = [*job["inputs"].get("null", []), *job["inputs"]["rows"]]
    rows = pd.concat([read_csv(path) for path in paths], ignore_index=True)
    write_csv(outputs[0], rows)
    table = make_table(rows, job)
    write(outputs[1:], table, to_markdown(table, rows), to_latex(table, rows), sources(rows))
