"""`guidelab story`: the experiment's findings in words, made from its numbers."""

from pathlib import Path
from typing import Any

from guidelab.io import atomic_write, read_csv
from guidelab.paper.story import text


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the Markdown text."""
    measurements, selected = (read_csv(job["inputs"][name][0]) for name in ("measurements", "selected"))
    with atomic_write(outputs[0]) as temporary:
        temporary.write_text(text(measurements, selected), encoding="utf-8")
