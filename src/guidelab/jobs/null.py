"""`guidelab null`: a grader of real against real; whatever it tells apart is its own error."""

from pathlib import Path
from typing import Any

from guidelab.io import load_arrays, save_arrays, wanted
from guidelab.train.discriminator import train_discriminator

SEED = 500  # apart from the seeds of the graders of samplers, which count from 0


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train on the graders' own real fold against another one; save the net and its report."""
    (real_path,), (other_path,) = job["inputs"]["real"], job["inputs"]["other"]
    real = wanted(load_arrays(real_path)[0], "x", real_path, (None, 2))
    other = wanted(load_arrays(other_path)[0], "x", other_path, (None, 2))
    config = {"net": job["net"], **job["train"]}
    state, report = train_discriminator(config, real, other, seed=1000 * job["train"]["seed"] + SEED)
    tensors = {f"seed0/{name}": value for name, value in state.items()}
    about = {"kind": "discriminator", "net": job["net"], "seeds": [0], "reports": {"0": report}}
    save_arrays(outputs[0], tensors, {**about, "code": job["code"]})
