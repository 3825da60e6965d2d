"""`guidelab figure`: one figure as PDF, PNG and the rows it plots."""

from pathlib import Path
from typing import Any

from guidelab import registry
from guidelab.io import atomic_write, load_arrays, read_csv, write_csv
from guidelab.paper import render, style


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Build the figure's rows, draw them, and save all three files."""
    kind = "image figure" if job.get("kind") == "images" else "figure"
    module = registry.module(
        kind, job["settings"].get("name", job["figure"])
    )  # a plugin's has a name of its own
    if "fields" in job["inputs"]:
        arrays, _ = load_arrays(job["inputs"]["fields"][0])
        rows = module.rows({name: tensor.numpy() for name, tensor in arrays.items()}, job)
    else:
        tables = {name: read_csv(job["inputs"][name][0]) for name in ("measurements", "selected", "metrics")}
        rows = module.rows(tables["measurements"], tables["selected"], tables["metrics"], job)
    figure = module.make(rows, job)
    with style.context():
        for path, options in ((outputs[0], render.PDF), (outputs[1], render.PNG)):
            with atomic_write(path) as temporary:
                figure.savefig(temporary, **options)
    write_csv(outputs[2], rows)
