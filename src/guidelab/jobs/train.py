"""`guidelab train`: one denoiser, one or more seeds together, with snapshots of its averages."""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab import registry
from guidelab.io import save_arrays, write_csv
from guidelab.train.state import drop_state, state_folder


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train from the last saved state, if there is one, to the end; save snapshots and the loss curve."""
    config = {"net": job["net"], "classes": job["dataset"]["classes"], **job["train"]}
    folder = state_folder(job)
    train = registry.load("trainer", job["net"]["name"])
    tensors, meta, curve = train(config, job["seeds"], folder)
    save_arrays(outputs[0], tensors, {**meta, "kind": "checkpoints", "code": job["code"]})
    write_csv(outputs[1], pd.DataFrame(curve, columns=["train_seed", "iteration", "nimg", "loss"]))
    drop_state(folder)
