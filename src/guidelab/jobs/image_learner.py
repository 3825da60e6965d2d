"""`guidelab train` for a net on images or latents, whose examples are read from a ZIP.

Curves to watch while it trains (loss, rate, gradient norm, images per second) grow under `logs/live/`, in a folder
named after the checkpoint, if DVCLive is installed. `GUIDELAB_COMPILE=1` compiles the net: worth its minutes for long
trainings only. Several processes share it: one for each GPU, or `GUIDELAB_PROCESSES` of them.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from guidelab.data.zip_reader import ZipLatents
from guidelab.jobs.examples import check_labels, event_shape, open_examples
from guidelab.registry import NETS
from guidelab.train.distributed import TrainingGroup
from guidelab.train.images import Data, Images
from guidelab.train.loader import Kept


def learner(job: dict[str, Any], group: TrainingGroup, output: Path) -> Images:
    """Open a job's examples and make the learner of its net."""
    conditional, classes = job["conditional"], job["dataset"]["classes"]
    (path,) = job["inputs"]["data"]
    examples = open_examples(path, job.get("latent"))
    if conditional:
        check_labels(examples.labels, classes, path, "a conditional net")
    data = Data(Kept(examples, examples.shape), examples.labels, event_shape(examples))
    if isinstance(examples, ZipLatents):
        data = replace(data, source=examples, encoding=examples.encoding.name)
    own = {"net": job["net"], "conditional": conditional, "classes": classes if conditional else 0}
    return Images(
        own | job["train"],
        data,
        NETS.load(job["net"]["name"]),
        group=group,
        compile=os.environ.get("GUIDELAB_COMPILE") == "1",
        curves=live_folder(output),
    )


def live_folder(output: Path) -> Path:
    """Where the curves of a checkpoint grow: `results/a/checkpoints/b/seed0.safetensors` in `logs/live/a/b/seed0`."""
    parts = [
        part for part in output.with_suffix("").parts[-4:] if part not in ("/", "results", "checkpoints")
    ]
    return Path("logs", "live", *parts)
