"""`guidelab discriminate` and `guidelab grade`: a discriminator for each training seed of the sampler."""

from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.io import load_arrays, save_arrays, wanted
from guidelab.sampling import progress
from guidelab.train.discriminator import train_discriminator


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Train on real data against generated; save the nets and each one's report on its held-out test split."""
    (real_path,), (generated_path,) = job["inputs"]["real"], job["inputs"]["generated"]
    real = wanted(load_arrays(real_path)[0], "x", real_path, (None, 2))
    samples, meta = load_arrays(generated_path)
    block = "generated" if "generated" in meta["blocks"] else job["disc"]
    tensors: dict[str, Tensor] = {}
    reports: dict[str, Any] = {}
    for seed in progress(job["train_seeds"], job["disc"]):
        generated = wanted(samples, f"seed{seed}/{block}/x", generated_path, (None, 2))
        config = {"net": job["net"], **job["train"]}
        state, report = train_discriminator(config, real, generated, seed=1000 * job["train"]["seed"] + seed)
        tensors |= {f"seed{seed}/{name}": value for name, value in state.items()}
        reports[str(seed)] = report
    about = {"kind": "discriminator", "net": job["net"], "seeds": job["train_seeds"], "reports": reports}
    save_arrays(outputs[0], tensors, {**about, "code": job["code"]})
