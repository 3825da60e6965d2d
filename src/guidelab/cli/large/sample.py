"""`guidelab sample` and `guidelab generate` at the papers' size: on devices, through latents, in shards workers share.

A sample depends on its own seed alone: start noise, class and the noise of the steps come, in this order, from
generators of that seed, on the CPU. Which process, batch or device draws it changes it by rounding at most.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab import registry
from guidelab.assemble import Nets, assemble, nets_sha256
from guidelab.autoencoder import Autoencoder, load_autoencoder
from guidelab.cli.images.sample import _boosting, _churn_noise, image_nets, to_uint8
from guidelab.cli.large.evaluated import Evaluated, marked, ready
from guidelab.cli.large.machine import Feed, World, device, effective, memory_named, moved, settle, world
from guidelab.cli.large.real import shown
from guidelab.cli.large.renewed import Renewed
from guidelab.cli.large.workers import present, share, wait
from guidelab.core.chain import Chain, respaced, schedule_of
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.boosted import boosted
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError
from guidelab.io import sha256
from guidelab.sampling import seeds_of
from guidelab.shards import Shard, folder_of, split, write_manifest, write_shard

CHAINS = ("ddpm", "ddim")
_ABOUT = (
    "variant", "blocks", "main", "terms", "sampler", "labels", "degrade", "discs", "latent", "uint8", "unlabelled", "code",
)  # fmt: skip


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make this process's shards that are not there yet; the first process waits for the others and lists them all.

    Raises:
        UserError: nets that do not fit the sampler, too little memory, or another process failed.
    """
    began, here, where = time.time(), world(), device()
    settle(where)
    about = _about(job, where)
    folder = folder_of(outputs[0])
    blocks = [(seed, name, seeds) for seed in job["train_seeds"] for name, seeds in job["blocks"].items()]
    shards = [shard for block in blocks for shard in split(*block, job["shard"])]
    with present(folder, here):
        _make(job, folder, share(shards, here), about, where, here)
    if here.leader:
        wait(folder, shards, about, here, began)
        write_manifest(outputs[0], shards, about)


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


def _make(
    job: Mapping[str, Any],
    folder: Path,
    shards: list[Shard],
    about: dict[str, Any],
    where: torch.device,
    here: World,
) -> None:
    drawing: Drawing | None = None
    decode, taken = decoder(job, where), shown(job) if job.get("real") else None
    total = sum(shard.n for shard in shards)
    who = job["variant"] if here.size == 1 else f"{job['variant']}, process 0 of {here.size}"
    with tqdm(
        total=total, desc=who, unit="image", mininterval=1.0, dynamic_ncols=True, disable=not here.leader
    ) as bar:
        for shard in shards:

            def make(first: int, last: int, here: Shard = shard) -> tuple[Tensor, Tensor | None]:
                nonlocal drawing
                if taken is not None:
                    return taken(here)
                if drawing is None or drawing.train_seed != here.train_seed:
                    drawing = None  # the nets of one training leave the device before the next ones come
                    drawing = prepared(job, here.train_seed, where, decode)
                return drawing(first, last, bar)

            if not write_shard(folder, shard, about, make) or taken is not None:
                bar.update(shard.n)


def decoder(job: Mapping[str, Any], where: torch.device) -> Callable[[Tensor], Tensor]:
    """From what nets make `[B, C, h, w]` to images `[B, C', H, W]` uint8, both on the device."""
    latent = job["latent"]
    if latent is None:
        return to_uint8 if job["uint8"] == "edm" else truncated
    found: list[Autoencoder] = []

    def decode(x: Tensor) -> Tensor:
        if not found:  # read when first needed: nothing is, where all shards are there
            found.append(
                load_autoencoder(job["inputs"]["autoencoder"][0], where)
            )  # float32, as the references
        with memory_named("sample: decoding latents", f"`decode_batch` (now {job['decode_batch']})"):
            return found[0].decode(x, latent["encoding"], batch=job["decode_batch"])

    return decode


def truncated(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes the way ADM makes them: `(x + 1) * 127.5` without rounding."""
    return ((x + 1) * 127.5).clip(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Drawing:
    """Draws images of one training seed.

    Attributes:
        job: see `run`. train_seed: of the nets. nets: on the device, as samplers call them. where: the device.
        decode: see `decoder`.
        chain: steps of a discrete chain, or None for EDM's noise levels.
        sigmas: those levels, or None.
    """

    job: Mapping[str, Any]
    train_seed: int
    nets: Nets
    where: torch.device
    decode: Callable[[Tensor], Tensor]
    chain: Chain | None
    sigmas: list[float] | None

    @property
    def main(self) -> Evaluated:
        """The main net."""
        found: Any = self.nets.models[self.job["main"]]
        assert isinstance(found, Evaluated)  # `ready` made it
        return found

    def __call__(self, first: int, last: int, bar: "tqdm[Any] | None" = None) -> tuple[Tensor, Tensor | None]:
        """Images `[n, C, H, W]` uint8 of a range of sample seeds, and labels `[n]` int64 or None, on the CPU."""
        images, labels = [], []
        for seeds in seeds_of((first, last)).split(self.job["batch"]):  # type: ignore[no-untyped-call]
            with memory_named(f"sample: {self.job['variant']}", f"`batch` (now {self.job['batch']})"):
                noise = SeededNoise(seeds.tolist())
                start = noise.randn(self._event)  # EDM2's order: noise first, then the label
                cond = noise.randint(self.main.classes) if self.job["labels"] is not None else None
                x = self.solve(seeds, start, cond, noise)
            self._check_finite(x, seeds)
            images.append(self.decode(x))
            labels += [] if cond is None else [cond]
            if bar is not None:
                bar.update(len(seeds))
        return torch.cat(images).cpu(), torch.cat(labels) if labels else None

    def _check_finite(self, x: Tensor, seeds: Tensor) -> None:
        if not bool(torch.isfinite(x).all()):  # as bytes they would be black images, and counted
            raise UserError(
                f"{self.job['variant']}: samples of seeds {int(seeds[0])} to {int(seeds[-1])} are not finite in precision "
                f"{effective(self.job['precision'], self.where)}. Give `sampling: {{precision: bfloat16}}` or float32, or a "
                "smaller weight."
            )

    @property
    def _event(self) -> tuple[int, int, int]:
        return self.main.image_channels, self.main.resolution_px, self.main.resolution_px

    def solve(self, seeds: Tensor, start: Tensor, cond: Tensor | None, noise: SeededNoise) -> Tensor:
        """Samples `[B, C, h, w]` on the device; nothing in here waits for it.

        Args:
            seeds: `[B]` int64 of the samples.
            start: standard normal `[B, C, h, w]`, from `noise`.
            cond: class index `[B]`, or None.
            noise: the samples' generators, as they are after start and label. All four on the CPU.
        """
        s = self.job["sampler"]
        boosts = [term for term in self.job["terms"] if term.get("boost")]
        plain = [term for term in self.job["terms"] if not term.get("boost")]
        asked, mine = {**self.job, "terms": plain}, moved(seeds, self.where)
        built = assemble(asked, self.nets, mine)
        x = moved(start, self.where)
        told = None if cond is None else moved(cond, self.where)
        predict = built.predict
        if any(d["dropout"] or d["input_noise"] for d in self.job["degrade"].values()):
            predict = Renewed(lambda own: assemble(asked, self.nets, own).predict, mine)
        predict = marked(predict)
        if self.chain is not None:
            return self._discrete(predict, x.to(getattr(torch, s["dtype"])), told, noise, built.correct)
        assert self.sigmas is not None  # it is one or the other
        x = (x * self.sigmas[0]).to(getattr(torch, s["dtype"]))
        if boosts:
            boosting = _boosting(boosts[0], self.nets)
            fresh = _churn_noise(seeds)
            return boosted(
                predict, x, self.sigmas, told, boosting=boosting, noise=fresh, correct=built.correct
            )
        solver = registry.load("sampler", s["name"])
        with torch.no_grad():
            found: Tensor = solver(predict, x, self.sigmas, told, correct=built.correct)
        return found

    def _discrete(
        self, predict: Any, x: Tensor, cond: Tensor | None, noise: SeededNoise, correct: Any
    ) -> Tensor:
        s, event = self.job["sampler"], tuple(x.shape[1:])
        feed = Feed(lambda step: noise.randn(event), self.where)
        how: dict[str, Any] = {"variance": self.main.variance} if s["name"] == "ddpm" else {"eta": s["eta"]}
        solver = registry.load("sampler", s["name"])
        found: Tensor = solver(
            predict, x, self.chain, cond, noise=feed, correct=correct, clip=s["clip"], **how
        )
        return found


def prepared(
    job: Mapping[str, Any], train_seed: int, where: torch.device, decode: Callable[[Tensor], Tensor]
) -> Drawing:
    """Everything a sampler needs of one training seed, loaded and checked.

    Raises:
        UserError: nets that do not fit the sampler, or that do not fit into memory.
    """
    s = job["sampler"]
    with memory_named("sample: loading nets", "the number or the size of the nets"):
        nets = ready(image_nets(job, train_seed), where, job["precision"], job["unlabelled"])
    main: Any = nets.models[job["main"]]
    if s["name"] not in CHAINS:
        low, high = getattr(main.net, "sigma_range", (0.0, math.inf))  # EDM's samplers stay inside it
        levels = edm_sigmas(s["steps"], max(s["sigma_min"], low), min(s["sigma_max"], high), s["rho"])
        return Drawing(job, train_seed, nets, where, decode, None, main.levels(levels).tolist())
    if any(term.get("boost") for term in job["terms"]):
        raise UserError(
            f"{job['variant']}: `boost` needs the sampler heun, given {s['name']}. Leave `boost` out."
        )
    schedule = getattr(main.net, "schedule", None)
    if schedule is not None and schedule.name != s["schedule"]:
        raise UserError(
            f"{job['variant']}: sampler {s['name']} has schedule {s['schedule']}, but {job['main']} was trained with "
            f"{schedule.name}. Give the sampler `schedule: {schedule.name}`."
        )
    spacing = f"ddim{s['steps']}" if s["name"] == "ddim" else s["steps"]
    try:
        chain = respaced(schedule_of(s["schedule"]), spacing)
    except ValueError as error:
        raise UserError(f"{job['variant']}: sampler {s['name']} with {s['steps']} steps: {error}") from error
    return Drawing(job, train_seed, nets, where, decode, chain, None)
