"""`guidelab train`: one denoiser, one or more seeds in turn, with snapshots of its averages and the curve of its loss.

The data decide the learner: examples, loss and step.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.compute.device import device
from guidelab.compute.precision import settle
from guidelab.io import save_arrays, write_csv
from guidelab.registry import TRAINERS
from guidelab.train.denoisers import train_denoiser
from guidelab.train.distributed import joined
from guidelab.train.state import drop_state, state_folder


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train from the last saved states, if there are any, to the end; save snapshots and the loss curves."""
    folder = state_folder(job)
    with joined(device()) as group:
        settle(group.device)
        learner = TRAINERS.load(job["examples"])(job, group, outputs[0])
        tensors, meta, curve = train_denoiser(learner, job["seeds"], folder, progress=group.leader)
        if group.leader:
            save_arrays(outputs[0], tensors, {**meta, "kind": "checkpoints", "code": job["code"]})
            write_csv(outputs[1], pd.DataFrame(curve, columns=["train_seed", "iteration", "nimg", "loss"]))
            drop_state(folder)
