"""`guidelab findings`, the job of rule `story`: the experiment's findings as sentences computed from its numbers."""

from pathlib import Path
from typing import Any

from guidelab.io import atomic_write
from guidelab.jobs.compared import measured
from guidelab.jobs.metrics_info import metrics_info
from guidelab.paper import findings, names


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the Markdown text."""
    measurements, selected = measured(job["inputs"])
    made = findings.text(measurements, selected, metrics_info(job), job)
    with atomic_write(outputs[0]) as temporary:
        temporary.write_text(made, encoding="utf-8")
