"""`guidelab prepare`: one fold of real data, points that are drawn or images that are read."""

from pathlib import Path
from typing import Any

from guidelab.registry import FOLDS


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the fold as the examples of its dataset are stored."""
    FOLDS.load(job["examples"])(job, outputs[0])
