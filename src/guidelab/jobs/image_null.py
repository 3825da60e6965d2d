"""`guidelab null` for images: a grader of real against real; whatever it distinguishes is its own error."""

from pathlib import Path
from typing import Any

import torch

from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.jobs.examples import check_labels
from guidelab.jobs.image_discriminate import build, net_config, opened, side_of
from guidelab.train.discriminators import train_discriminator
from guidelab.train.state import drop_state, state_folder
from guidelab.train.streams import stream

SEED = 500  # apart from the seeds of the graders of samplers, which count from 0


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train on one part of the graders' real fold against the rest; save the net and its report.

    Raises:
        UserError: too few images, or images that do not fit the job.
    """
    precision, real = opened(job)
    if len(real) < 2 * job["apart"]:
        raise UserError(
            f"{real.path}: holds {len(real)} images, wanted at least {2 * job['apart']}: as many apart as a grader has samples, "
            "and no fewer against them. Give a larger fold, or graders fewer samples (params.yaml)."
        )
    classes = job["classes"] if job["net"].get("conditional") else 0
    if classes:
        check_labels(real.labels, classes, real.path, job["disc"])
    own = 1000 * job["train"]["seed"] + SEED
    order = torch.randperm(len(real), generator=stream("null parts", own))
    side, config, folder = side_of(real, bool(classes)), net_config(job, real, classes), state_folder(job)
    kept, apart = side[order[job["apart"] :]], side[order[: job["apart"]]]
    state, report, _ = train_discriminator(
        job["train"], build(config, own), kept, apart, own, folder, precision
    )
    tensors = {f"seed0/{name}": value for name, value in state.items()}
    about = {"kind": "discriminator", "role": job["role"], "net": config, "seeds": job["train_seeds"]}
    save_arrays(outputs[0], tensors, {**about, "reports": {"0": report}, "code": job["code"]})
    drop_state(folder)
