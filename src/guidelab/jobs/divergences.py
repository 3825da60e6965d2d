"""`guidelab divergences`: all rows about divergences in one file, and their table as CSV, Markdown and LaTeX."""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.io import atomic_write, read_csv, write_csv
from guidelab.paper import names
from guidelab.paper.sigma.table import make_table, to_latex, to_markdown


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Concatenate in the order of params.yaml, the null first; make the table and write its three forms."""
    paths = [*job["inputs"].get("null", []), *job["inputs"]["rows"]]
    rows = pd.concat([read_csv(path) for path in paths], ignore_index=True)
    write_csv(outputs[0], rows)
    table = make_table(rows, job)
    write_csv(outputs[1], table)
    for path, text in ((outputs[2], to_markdown(table, rows)), (outputs[3], to_latex(table, rows))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
