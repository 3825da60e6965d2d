"""`guidelab reconstruct`: compute a model's weights from snapshots, at its training length and EMA length."""

from pathlib import Path
from typing import Any

from torch import Tensor

from guidelab.core.ema import reconstruct
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays, sha256


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Copy the tracked average where there is one, else combine the snapshots post hoc; all training seeds."""
    nets: dict[str, Tensor] = {}
    meta: dict[str, Any] = {}
    seeds: list[int] = []
    for path in job["inputs"]["checkpoints"]:
        tensors, meta = load_arrays(path)
        for seed in meta["seeds"]:
            found = _at(tensors, meta, seed, job["nimg"], job["ema_std"], path)
            nets |= {f"seed{seed}/{name}": value for name, value in found.items()}
            seeds.append(seed)
    about = {
        "kind": "model",
        "model": job["model"],
        "net": meta["net"],
        "nimg": job["nimg"],
        "ema_std": job["ema_std"],
    }
    parents = {path: sha256(path) for path in job["inputs"]["checkpoints"]}
    save_arrays(outputs[0], nets, {**about, "seeds": seeds, "parent_sha256": parents, "code": job["code"]})


def _at(
    tensors: dict[str, Tensor], meta: dict[str, Any], seed: int, nimg: int, ema_std: float, path: str
) -> dict[str, Tensor]:
    """One seed's parameters at a training length and an EMA length."""
    if nimg not in meta["nimg"]:
        raise UserError(
            f"{path}: holds no snapshot at nimg {nimg} (it has {meta['nimg']}). Delete it and run again."
        )
    if ema_std in meta["ema_stds"]:
        prefix = f"seed{seed}/ema{ema_std:.3f}/nimg{nimg}/"
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    keys = [(at, std) for at in meta["nimg"] if at <= nimg for std in meta["ema_stds"]]
    snapshots = []
    for at, std in keys:
        prefix = f"seed{seed}/ema{std:.3f}/nimg{at}/"
        snapshots.append({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return reconstruct(snapshots, [at for at, _ in keys], [std for _, std in keys], nimg, ema_std)
