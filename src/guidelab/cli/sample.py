"""`guidelab sample`, `generate`, `grading`: every seed block of one point, for every training seed, on any device.

Images are stored in shards that several processes share and a manifest lists; points in one file.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab import registry
from guidelab.assemble import dataset, load_nets, nets_sha256
from guidelab.compute.device import device, effective, settle
from guidelab.compute.processes import ProcessGroup, process_group
from guidelab.compute.workers import present, share, wait
from guidelab.io import save_arrays, sha256
from guidelab.sampling.draw import Drawing, drawing
from guidelab.shards import Shard, folder_of, split, write_manifest, write_shard

Make = Callable[[Shard], tuple[Tensor, Tensor | None]]
_POINTS = ("variant", "terms", "sampler", "code")
_IMAGES = (
    *_POINTS, "blocks", "main", "labels", "degrade", "discs", "latent", "uint8", "unlabelled",
)  # fmt: skip


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Draw this process's shards that do not exist yet; the first process waits for the others and lists them all.

    Raises:
        UserError: nets that do not fit the sampler, too little memory, or another process failed.
    """
    began, group, where = time.time(), process_group(), device()
    settle(where)
    if outputs[0].suffix != ".json":
        if group.leader:  # a file of points has one writer
            _points(job, outputs[0], where)
        return
    about, folder = _about(job, where), folder_of(outputs[0])
    blocks = [(seed, name, seeds) for seed in job["train_seeds"] for name, seeds in job["blocks"].items()]
    shards = [shard for block in blocks for shard in split(*block, job["shard"])]
    with present(folder, group):
        mine = share(shards, group)
        with closing(_bar(job, mine, group)) as bar:
            make = _maker(job, where, bar)
            for shard in mine:

                def drawn(first: int, last: int, here: Shard = shard) -> tuple[Tensor, Tensor | None]:
                    return make(here)

                if not write_shard(folder, shard, about, drawn):
                    bar.update(shard.n)
    if group.leader:
        wait(folder, shards, about, group, began)
        write_manifest(outputs[0], shards, about)


def _points(job: dict[str, Any], output: Path, where: torch.device) -> None:
    """Save `seed<S>/<block>/x [n, *event]` of every block, and of every grader's."""
    blocks = [(seed, name, block) for seed in job["train_seeds"] for name, block in job["blocks"].items()]
    graders = job.get("grader_blocks", {})
    blocks += [(seed, name, g["seeds"]) for name, g in graders.items() for seed in g["train_seeds"]]
    shards = [Shard(seed, name, first, last) for seed, name, (first, last) in blocks]
    with closing(_bar(job, shards, ProcessGroup())) as bar:
        make = _maker(job, where, bar)
        tensors = {f"seed{shard.train_seed}/{shard.block}/x": make(shard)[0] for shard in shards}
    about = {key: job[key] for key in _POINTS} | {"kind": "samples", "seeds": job["train_seeds"]}
    about["blocks"] = job["blocks"] | {name: g["seeds"] for name, g in graders.items()}
    save_arrays(output, tensors, about | {"nets_sha256": nets_sha256(job["inputs"])})


def _about(job: Mapping[str, Any], where: torch.device) -> dict[str, Any]:
    """What decides the images: a shard made from anything else is made again."""
    about = {key: job[key] for key in _IMAGES} | {"seeds": job["train_seeds"]}
    about |= {
        "precision": effective(job["precision"], where),
        "device": where.type,
        "nets_sha256": nets_sha256(job["inputs"]),
    }
    if job.get("real"):
        about |= {"real": job["real"], "device": "cpu", "images_sha256": sha256(job["inputs"]["images"][0])}
    if job["latent"] is not None:
        about["autoencoder_sha256"] = sha256(job["inputs"]["autoencoder"][0])
    return about


def _bar(job: Mapping[str, Any], shards: list[Shard], group: ProcessGroup) -> "tqdm[Any]":
    """A progress bar on standard error, in samples, that stays short in log files."""
    who = job["variant"] if group.size == 1 else f"{job['variant']}, process 0 of {group.size}"
    total = sum(shard.n for shard in shards)
    return tqdm(
        total=total, desc=who, unit="sample", mininterval=1.0, dynamic_ncols=True, disable=not group.leader
    )


def _maker(job: Mapping[str, Any], where: torch.device, bar: "tqdm[Any]") -> Make:
    """A function from a shard to its samples and labels, by nets or out of a fold of real images."""
    if job.get("real"):
        taken: Make = registry.load("source", "fold")(job)
        return taken
    drawn = _drawings(job, where)
    return lambda shard: drawn(shard.train_seed)(shard.first, shard.last, done=bar.update)


def _drawings(job: Mapping[str, Any], where: torch.device) -> Callable[[int], Drawing]:
    """A function from a training seed to its sampler; the nets of one training seed are in memory at a time."""
    codec = registry.load("codec", job["codec"])(job, where)
    start = dataset(job["dataset"]).start if "dataset" in job else None
    held: dict[int, Drawing] = {}

    def drawn(train_seed: int) -> Drawing:
        if train_seed not in held:
            held.clear()  # the nets of one training leave the device before the next ones are loaded
            nets = load_nets(job["inputs"], train_seed, job.get("discs"))
            held[train_seed] = drawing(job, nets, where, codec, start)
        return held[train_seed]

    return drawn
