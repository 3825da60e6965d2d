"""`guidelab sample` and `guidelab generate`: every seed block of one point, for every training seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab import registry
from guidelab.assemble import Nets, assemble, dataset, load_nets, nets_sha256
from guidelab.core.schedules import edm_sigmas
from guidelab.io import save_arrays
from guidelab.sampling import draw, progress

BATCH = 2048  # keeps the arrays of small nets in cache; results depend on it by rounding only


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Sample and save `seed<S>/<block>/x [n, *event]`."""
    data = dataset(job["dataset"])
    todo = [(seed, name, block) for seed in job["train_seeds"] for name, block in job["blocks"].items()]
    graders = job.get("grader_blocks", {})
    todo += [(seed, name, g["seeds"]) for name, g in graders.items() for seed in g["train_seeds"]]
    nets = {seed: load_nets(job["inputs"], seed) for seed in job["train_seeds"]}
    tensors: dict[str, Tensor] = {}
    for seed, name, block in progress(todo, job["variant"]):
        x = sample_block(job, nets[seed], block, data)
        tensors[f"seed{seed}/{name}/x"] = x.to(torch.float32)
    meta = {
        "kind": "samples",
        "variant": job["variant"],
        "seeds": job["train_seeds"],
        "blocks": job["blocks"] | {name: g["seeds"] for name, g in graders.items()},
        "terms": job["terms"],
        "sampler": job["sampler"],
        "nets_sha256": nets_sha256(job["inputs"]),
        "code": job["code"],
    }
    save_arrays(outputs[0], tensors, meta)


def sample_block(
    job: Mapping[str, Any], nets: Nets, block: list[int], data: Any, callback: Any = None
) -> Tensor:
    """The samples `[n, *event]` of one block of seeds with one training seed's nets."""
    s = job["sampler"]
    sigmas = edm_sigmas(s["steps"], s["sigma_min"], s["sigma_max"], s["rho"])
    solver = registry.load("sampler", s["name"])

    def solve(seeds: Tensor, x: Tensor) -> Tensor:
        built = assemble(job, nets, seeds)
        with torch.no_grad():
            result: Tensor = solver(built.predict, x, sigmas, None, correct=built.correct, callback=callback)
        return result

    return draw(block, data.start, s["sigma_max"], solve, batch=BATCH, dtype=s["dtype"])
