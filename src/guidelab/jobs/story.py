"""`guidelab story`: the experiment's findings in words, made from its numbers."""

from importlib import import_module
from pathlib import Path
from typing import Any

from guidelab.io import atomic_write
from guidelab.jobs.compared import measured
from guidelab.jobs.metrics_info import metrics_info
from guidelab.paper import names, opening
from guidelab.paper.markdown import escape
from guidelab.paper.names import SMOKE

STORIES = {"toy": "guidelab.paper.story", "images": "guidelab.paper.images.story"}  # by the experiment's kind


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the Markdown text."""
    measurements, selected = measured(job["inputs"])
    kind = job.get("kind", "toy")
    info = metrics_info(job)
    made = import_module(STORIES[kind]).text(measurements, selected, *(() if kind == "toy" else (info, job)))
    title, details = made.split("\n\n", 1)
    short = [] if job["scale"] == SMOKE else opening.sentences(measurements, selected, info, job)
    with atomic_write(outputs[0]) as temporary:
        temporary.write_text("\n\n".join([title, *(escape(s) for s in short), details]), encoding="utf-8")
