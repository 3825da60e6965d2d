"""`guidelab table`: the experiment's table as CSV, Markdown and LaTeX."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.io import atomic_write, read_csv, write_csv
from guidelab.paper import names

# by the experiment's kind; a job names its own among the modules it reaches, so neither reruns for the other
TABLES = {"toy": "guidelab.paper.tables", "images": "guidelab.paper.images.table"}


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make the table and write its three forms."""
    inputs = job["inputs"]
    measurements, selected, info = (
        read_csv(inputs[name][0]) for name in ("measurements", "selected", "metrics")
    )
    published = published_values(inputs["published"][0]) if "published" in inputs else None
    made = import_module(TABLES[job.get("kind", "toy")])
    table = made.make_table(measurements, selected, info, published, job)
    write_csv(outputs[0], made.as_rows(table))
    for path, text in ((outputs[1], made.to_markdown(table)), (outputs[2], made.to_latex(table))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def published_values(path: str | Path) -> pd.DataFrame:
    """published.csv with a column `printed` beside `value`: the same numbers with the digits they were printed with.

    Raises:
        UserError: missing, empty or malformed.
    """
    table = read_csv(path)
    as_text = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(printed=as_text["value"]) if "value" in table else table
