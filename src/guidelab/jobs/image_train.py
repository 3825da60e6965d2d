"""`guidelab train` for images: denoisers on images or latents read from disk, one or more seeds in turn.

Curves to watch while it trains (loss, rate, gradient norm, images per second) grow under `logs/live/`, in a folder
named after the checkpoint, if DVCLive is installed. `GUIDELAB_COMPILE=1` compiles the net: worth its minutes for long
trainings only. Several processes share it: one for each GPU, or
`GUIDELAB_PROCESSES` of them.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab import registry
from guidelab.compute.device import device, settle
from guidelab.data.zip_reader import ZipLatents
from guidelab.io import save_arrays, write_csv
from guidelab.jobs.examples import check_labels, event_shape, open_examples
from guidelab.train.denoisers import Data
from guidelab.train.distributed import joined
from guidelab.train.loader import Kept
from guidelab.train.state import drop_state, state_folder


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train from the last saved states, if there are any, to the end; save snapshots and the loss curves."""
    name, conditional, classes = job["net"]["name"], job["conditional"], job["dataset"]["classes"]
    (path,) = job["inputs"]["data"]
    examples = open_examples(path, job.get("latent"))
    if conditional:
        check_labels(examples.labels, classes, path, "a conditional net")
    data = Data(Kept(examples, examples.shape), examples.labels, event_shape(examples))
    if isinstance(examples, ZipLatents):
        data = replace(data, source=examples, encoding=examples.encoding.name)
    config = {
        "net": job["net"],
        "conditional": conditional,
        "classes": classes if conditional else 0,
        **job["train"],
    }
    folder = state_folder(job)
    with joined(device()) as group:
        settle(group.device)
        tensors, meta, curve = registry.load("trainer", name)(
            config,
            job["seeds"],
            folder,
            data,
            progress=group.leader,
            compile=os.environ.get("GUIDELAB_COMPILE") == "1",
            curves=live_folder(outputs[0]),
            group=group,
            build=registry.load("net", name),
        )
        if group.leader:
            save_arrays(outputs[0], tensors, {**meta, "kind": "checkpoints", "code": job["code"]})
            write_csv(outputs[1], pd.DataFrame(curve, columns=["train_seed", "iteration", "nimg", "loss"]))
            drop_state(folder)


def live_folder(output: Path) -> Path:
    """Where the curves of a checkpoint grow: `results/a/checkpoints/b/seed0.safetensors` in `logs/live/a/b/seed0`."""
    parts = [
        part for part in output.with_suffix("").parts[-4:] if part not in ("/", "results", "checkpoints")
    ]
    return Path("logs", "live", *parts)
