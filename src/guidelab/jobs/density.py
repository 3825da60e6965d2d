"""`guidelab density`: exact log-densities of data and of samples, under the truth and under the sampler's ODE."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.assemble import Nets, assemble, density, load_nets, nets_sha256
from guidelab.core.logdensity import flow_log_density, sample_with_log_density
from guidelab.core.noise import SeededNoise
from guidelab.core.schedules import edm_sigmas
from guidelab.io import save_arrays
from guidelab.sampling.blocks import progress, seeds_of

BATCH = 1024
DATA_SEEDS = (
    1 << 31
)  # data points draw from seeds of their own: a block's seeds, moved out of every block's range


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Save `seed<S>/<block>/<side>/log_p|log_q [n]`: side `data` (points of p) and `model` (points of q).

    Both densities are at the sampler's lowest noise level, where p is known exactly and q has not yet taken the
    last step to 0.
    """
    data = density(job["dataset"])
    nets = {seed: load_nets(job["inputs"], seed) for seed in job["train_seeds"]}
    tensors: dict[str, Tensor] = {}
    for seed, name in progress(
        [(s, b) for s in job["train_seeds"] for b in job["blocks"]], f"density {job['variant']}"
    ):
        for side, (log_p, log_q) in _block(job, nets[seed], job["blocks"][name][0], data).items():
            tensors |= {f"seed{seed}/{name}/{side}/log_p": log_p, f"seed{seed}/{name}/{side}/log_q": log_q}
    meta = {
        "kind": "density",
        "sigma": job["sampler"]["sigma_min"],
        "density": job["density"],
        "seeds": job["train_seeds"],
    }
    save_arrays(outputs[0], tensors, {**meta, "nets_sha256": nets_sha256(job["inputs"]), "code": job["code"]})


def _block(job: dict[str, Any], nets: Nets, first: int, data: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Log-densities of one block, by side: `(log_p [n], log_q [n])`."""
    s, n = job["sampler"], job["density"]["n"]
    sigmas = edm_sigmas(job["density"]["steps"], s["sigma_min"], s["sigma_max"], s["rho"])[:-1]
    predict = assemble({**job, "sampler": {**s, "dtype": "float64"}}, nets, None, flow=True).predict
    low, high = s["sigma_min"], s["sigma_max"]

    def prior(x: Tensor) -> Tensor:
        return data.log_density(x, torch.full((len(x),), high, dtype=x.dtype))  # type: ignore[no-any-return]

    sides: dict[str, list[tuple[Tensor, Tensor]]] = {"data": [], "model": []}
    for seeds in seeds_of((first, first + n - 1)).split(BATCH):  # type: ignore[no-untyped-call]
        x = data.start(SeededNoise((seeds + DATA_SEEDS).tolist()), low).to(torch.float64)
        sides["data"].append((_truth(data, x, low), flow_log_density(predict, x, sigmas.flip(0), prior)))
        start = data.start(SeededNoise(seeds.tolist()), high).to(torch.float64)
        y, log_q = sample_with_log_density(predict, start, sigmas, prior)
        sides["model"].append((_truth(data, y, low), log_q))
    return {
        side: (torch.cat([p for p, _ in parts]), torch.cat([q for _, q in parts]))
        for side, parts in sides.items()
    }


def _truth(data: Any, x: Tensor, sigma: float) -> Tensor:
    truth: Tensor = data.log_density(x, torch.full((len(x),), sigma, dtype=x.dtype))
    return truth
