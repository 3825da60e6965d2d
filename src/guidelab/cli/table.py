"""`guidelab table`: the experiment's table as CSV, Markdown and LaTeX."""

from pathlib import Path
from typing import Any

from guidelab.io import atomic_write, read_csv, write_csv
from guidelab.paper.tables import make_table, to_latex, to_markdown


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make the table and write its three forms."""
    inputs = job["inputs"]
    measurements, selected, info = (
        read_csv(inputs[name][0]) for name in ("measurements", "selected", "metrics")
    )
    table = make_table(measurements, selected, info, None, job)
    write_csv(outputs[0], table)
    for path, text in ((outputs[1], to_markdown(table)), (outputs[2], to_latex(table))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
