"""`guidelab train` at the papers' size: denoisers on images or latents read from disk.

torch.compile is off unless GUIDELAB_COMPILE=1. With several processes:
`torchrun --nproc-per-node N -m guidelab.cli.app train EXPERIMENT DENOISER PART`.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab import registry
from guidelab.cli.images.train import live_folder
from guidelab.cli.large.examples import check_labels, event_shape, open_examples
from guidelab.cli.runtime import drop_state, state_folder
from guidelab.compute.device import device, settle
from guidelab.data.large.stream import ZipLatents
from guidelab.io import write_csv
from guidelab.train.distributed import joined
from guidelab.train.large.denoisers import Data
from guidelab.train.large.store import save_large


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train from the last saved states, if there are any, to the end; save snapshots and the loss curves."""
    name, conditional, classes = job["net"]["name"], job["conditional"], job["dataset"]["classes"]
    (path,) = job["inputs"]["data"]
    examples = open_examples(path, job.get("latent"))
    if conditional:
        check_labels(examples.labels, classes, path, "a conditional net")
    encoding = examples.encoding.name if isinstance(examples, ZipLatents) else None
    data = Data(examples, examples.labels, event_shape(examples), encoding)
    config = {
        "net": job["net"],
        "conditional": conditional,
        "classes": classes if conditional else 0,
        **job["train"],
    }
    folder = state_folder(job)
    with joined() as group:
        world = group if group.size > 1 else replace(group, device=device())
        settle(world.device)
        tensors, meta, curve = registry.load("large trainer", name)(
            config,
            job["seeds"],
            folder,
            data,
            progress=world.leader,
            compile=os.environ.get("GUIDELAB_COMPILE") == "1",
            curves=live_folder(outputs[0]),
            world=world,
            build=registry.load("net", name),
        )
        if world.leader:
            save_large(outputs[0], tensors, {**meta, "kind": "checkpoints", "code": job["code"]})
            write_csv(outputs[1], pd.DataFrame(curve, columns=["train_seed", "iteration", "nimg", "loss"]))
            drop_state(folder)
