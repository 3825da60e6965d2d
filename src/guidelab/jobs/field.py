"""`guidelab field`: compute the arrays that a figure draws besides measurements, named as the figure's module names them."""

from pathlib import Path
from typing import Any

from guidelab.io import save_arrays
from guidelab.registry import FIELDS


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Save the arrays of the figure that the job names."""
    arrays = FIELDS.load(job["figure"])(job)
    save_arrays(outputs[0], arrays, {"kind": "fields", "figure": job["figure"], "code": job["code"]})
