"""`guidelab story`: the experiment's findings in words, made from its numbers."""

from importlib import import_module
from pathlib import Path
from typing import Any

from guidelab.io import atomic_write, read_csv
from guidelab.paper import names

STORIES = {"toy": "guidelab.paper.story", "images": "guidelab.paper.images.story"}  # by the experiment's kind


@names.printing
def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the Markdown text."""
    measurements, selected = (read_csv(job["inputs"][name][0]) for name in ("measurements", "selected"))
    kind = job.get("kind", "toy")
    told = import_module(STORIES[kind])
    more = () if kind == "toy" else (read_csv(job["inputs"]["metrics"][0]), job)
    with atomic_write(outputs[0]) as temporary:
        temporary.write_text(told.text(measurements, selected, *more), encoding="utf-8")
