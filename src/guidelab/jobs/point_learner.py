"""`guidelab train` for a net on points, which are drawn from the dataset's exact density during training.

`GUIDELAB_COMPILE=1` compiles nets other than the dataset's own, whose kernels are compiled where that pays.
"""

import os
from pathlib import Path
from typing import Any

from guidelab.registry import DENSITIES, NETS
from guidelab.train.distributed import TrainingGroup
from guidelab.train.points import Points


def learner(job: dict[str, Any], group: TrainingGroup, _output: Path) -> Points:
    """Draw the job's density and make the learner of its net."""
    given = job["dataset"]
    return Points(
        {"net": job["net"], "classes": given["classes"], **job["train"]},
        DENSITIES.load(given["name"])(given["classes"]),
        NETS.load(job["net"]["name"]),
        len(job["seeds"]),
        group=group,
        compile=os.environ.get("GUIDELAB_COMPILE") == "1",
    )
