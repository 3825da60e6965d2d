"""The storage format of images: uint8 in shards that several processes write and a manifest lists."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.assemble import nets_sha256
from guidelab.compute.precision import effective
from guidelab.compute.processes import process_group
from guidelab.compute.workers import present, share, wait
from guidelab.io import sha256
from guidelab.io.shards import Shard, folder_of, split, write_manifest, write_shard
from guidelab.registry import SOURCES
from guidelab.sampling.codecs import progress_bar

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Draw

_ABOUT = (
    "variant", "blocks", "main", "terms", "sampler", "labels", "degrade", "discs", "latent", "uint8", "unlabelled", "code",
)  # fmt: skip


class Pixels:
    """Images `[B, C, H, W]` in [-1, 1] as bytes, by the rule named by a job's `uint8`: edm or truncate."""

    finite = True  # as bytes they would be black images, and counted

    def __init__(self, job: Mapping[str, Any], where: torch.device) -> None:
        self.where, self.decode = where, rounded if job["uint8"] == "edm" else truncated

    def save(self, job: Mapping[str, Any], output: Path, draw: "Draw") -> None:
        """See `save_shards`."""
        save_shards(job, output, self.where, draw)


def rounded(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes: `127.5 x + 128`, clipped, as EDM does (its rounding, not truncation of x * 255)."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def truncated(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes the way ADM makes them: `(x + 1) * 127.5` without rounding."""
    return ((x + 1) * 127.5).clip(0, 255).to(torch.uint8)


def save_shards(job: Mapping[str, Any], output: Path, where: torch.device, draw: "Draw") -> None:
    """Write this process's shards that do not exist yet; the first process waits for the rest and lists all shards.

    Raises:
        UserError: another process failed.
    """
    began, group, folder, about = time.time(), process_group(), folder_of(output), _about(job, where)
    blocks = [(seed, name, seeds) for seed in job["train_seeds"] for name, seeds in job["blocks"].items()]
    shards = [shard for block in blocks for shard in split(*block, job["shard"])]
    mine = share(shards, group)
    who = job["variant"] if group.size == 1 else f"{job['variant']}, process 0 of {group.size}"
    bar = progress_bar(who, sum(shard.n for shard in mine), shown=group.leader)
    with present(folder, group), closing(bar):
        make = _maker(job, draw, bar.update)
        for shard in mine:

            def drawn(first: int, last: int, here: Shard = shard) -> tuple[Tensor, Tensor | None]:
                return make(here)

            if not write_shard(folder, shard, about, drawn):
                bar.update(shard.n)
    if group.leader:
        wait(folder, shards, about, group, began)
        write_manifest(output, shards, about)


def _maker(
    job: Mapping[str, Any], draw: "Draw", done: Callable[[int], Any]
) -> Callable[[Shard], tuple[Tensor, Tensor | None]]:
    """A function from a shard to its images and labels: drawn, or out of a split of real images."""
    if job.get("real"):
        taken: Callable[[Shard], tuple[Tensor, Tensor | None]] = SOURCES.load("fold")(job)
        return taken
    return lambda shard: draw(shard.train_seed, shard.first, shard.last, done)


def _about(job: Mapping[str, Any], where: torch.device) -> dict[str, Any]:
    """What decides the images: a shard made from anything else is made again."""
    about = {key: job[key] for key in _ABOUT} | {"seeds": job["train_seeds"]}
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
