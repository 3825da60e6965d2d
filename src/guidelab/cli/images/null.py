"""`guidelab null` for images: a grader of real against real; whatever it tells apart is its own error."""

from pathlib import Path
from typing import Any

import torch

from guidelab import registry
from guidelab.cli.runtime import drop_state, state_folder
from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.train.image_discriminator import train_image_discriminator
from guidelab.train.noisy import Images
from guidelab.train.streams import stream

SEED = 500  # apart from the seeds of the graders of samplers, which count from 0


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train on one part of the graders' real fold against the rest; save the net and its report."""
    (path,) = job["inputs"]["real"]
    found = read_zip(path)
    if len(found) < 2 * job["apart"]:
        raise UserError(
            f"{path}: holds {len(found)} images, wanted at least {2 * job['apart']}: as many apart as a grader has samples, "
            "and no fewer against them. Give a larger fold, or graders fewer samples (params.yaml)."
        )
    own = 1000 * job["train"]["seed"] + SEED
    order = torch.randperm(len(found), generator=stream("null parts", own))
    real = Images(found.images, found.labels if job["net"].get("conditional") else None)
    config = {k: v for k, v in job["net"].items() if k != "conditional"}
    config |= {"resolution_px": found.resolution_px, "image_channels": found.channels}
    config |= {"classes": job["classes"] if job["net"].get("conditional") else 0}
    arguments = {k: v for k, v in config.items() if k != "name"}
    net = registry.load("net", config["name"])(
        **arguments, generator=stream("image discriminator weights", own)
    )
    state, report, _ = train_image_discriminator(
        job["train"], net, real[order[job["apart"] :]], real[order[: job["apart"]]], own, state_folder(job)
    )
    tensors = {f"seed0/{name}": value for name, value in state.items()}
    about = {"kind": "discriminator", "role": job["role"], "net": config, "seeds": job["train_seeds"]}
    save_arrays(outputs[0], tensors, {**about, "reports": {"0": report}, "code": job["code"]})
    drop_state(state_folder(job))
