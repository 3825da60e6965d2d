"""`guidelab figure`: one figure as PDF, PNG and the rows it plots."""

from pathlib import Path
from typing import Any

from guidelab.io import atomic_write, load_arrays, read_csv, write_csv
from guidelab.jobs.metrics_info import metrics_info
from guidelab.paper import names, render, style
from guidelab.registry import FIGURES


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Build the figure's rows, draw them, and save all three files."""
    # a plugin's has a name of its own
    module = FIGURES.module(job["settings"].get("name", job["figure"]))
    given: dict[str, Any]
    if "fields" in job["inputs"]:
        arrays, _ = load_arrays(job["inputs"]["fields"][0])
        given = {name: tensor.numpy() for name, tensor in arrays.items()}
    else:
        given = {name: read_csv(paths[0]) for name, paths in job["inputs"].items()}
        given |= {"metrics": metrics_info(job)} if "metrics" in given else {}
    rows = module.rows(given, job)
    figure = module.make(rows, job)
    with style.context():
        for path, options in ((outputs[0], render.PDF), (outputs[1], render.PNG)):
            with atomic_write(path) as temporary:
                figure.savefig(temporary, **options)
    write_csv(outputs[2], rows)
