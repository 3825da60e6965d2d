"""`guidelab train` for images: one denoiser, one or more seeds in turn, alone or in the processes of torchrun.

Curves to watch while it trains (loss, rate, gradient norm, images per second) grow under `logs/live/`, in a folder
named after the checkpoint, if DVCLive is installed. `GUIDELAB_COMPILE=1` compiles the net: worth its minutes for long
trainings only. With several processes: `torchrun --nproc-per-node N -m guidelab.cli.app train EXPERIMENT DENOISER PART`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from guidelab import registry
from guidelab.cli.runtime import drop_state, state_folder
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.io import save_arrays, write_csv
from guidelab.train.distributed import joined


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train from the last saved states, if there are any, to the end; save snapshots and the loss curves."""
    name, conditional = job["net"]["name"], job["conditional"]
    images, labels, classes = _data(job["inputs"]["data"], conditional, job.get("dataset", {}).get("classes"))
    config = {"net": job["net"], "conditional": conditional, "classes": classes, **job["train"]}
    folder = state_folder(job)
    with joined() as world:
        tensors, meta, curve = registry.load("trainer", name)(
            config,
            job["seeds"],
            folder,
            images,
            labels,
            progress=world.leader,
            compile=os.environ.get("GUIDELAB_COMPILE") == "1",
            curves=live_folder(outputs[0]),
            world=world,
            build=registry.load("net", name),
        )
        if world.leader:
            save_arrays(outputs[0], tensors, {**meta, "kind": "checkpoints", "code": job["code"]})
            write_csv(outputs[1], pd.DataFrame(curve, columns=["train_seed", "iteration", "nimg", "loss"]))
            drop_state(folder)


def live_folder(output: Path) -> Path:
    """Where the curves of a checkpoint grow: `results/a/checkpoints/b/seed0.safetensors` in `logs/live/a/b/seed0`."""
    parts = [
        part for part in output.with_suffix("").parts[-4:] if part not in ("/", "results", "checkpoints")
    ]
    return Path("logs", "live", *parts)


def _data(paths: Sequence[str], conditional: bool, classes: int | None) -> tuple[Tensor, Tensor | None, int]:
    """Images and labels of all files, and the number of classes (the largest label plus one, if not given).

    Raises:
        UserError: a file is unreadable, the files' images differ in shape, or labels are missing or too large.
    """
    sets = [read_zip(path) for path in paths]
    for path, found in zip(paths, sets, strict=True):
        _check(path, found, sets[0], paths[0], conditional, classes)
    images = torch.cat([found.images for found in sets])
    if not conditional:
        return images, None, 0
    labels = torch.cat([found.labels for found in sets if found.labels is not None])
    return images, labels, classes or int(labels.max()) + 1


def _check(
    path: str, found: ImageSet, first: ImageSet, first_path: str, conditional: bool, classes: int | None
) -> None:
    shape, wanted = tuple(found.images.shape[1:]), tuple(first.images.shape[1:])
    if shape != wanted:
        raise UserError(
            f"{path}: holds images {shape}, wanted {wanted} as in {first_path}. Prepare both at one resolution."
        )
    if conditional and found.labels is None:
        raise UserError(
            f"{path}: has no labels, and a conditional net needs one for every image. "
            "Give a dataset with labels, or set `conditional: false` for this denoiser in params.yaml."
        )
    if conditional and classes is not None and found.classes > classes:
        raise UserError(f"{path}: has labels up to {found.classes - 1}, wanted below classes = {classes}")
