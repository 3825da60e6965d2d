"""`guidelab sample` and `guidelab generate` for images: every seed block of one point, in shards, restartable."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab import registry
from guidelab.assemble import Nets, assemble, load_net, nets_sha256
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.boosted import boosted
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.sampling import draw, progress
from guidelab.shards import Shard, folder_of, split, write_manifest, write_shard

BATCH = 250  # small nets' activations stay in cache; results depend on it by rounding only


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Make the shards that are not there yet, then the manifest."""
    about = {
        "variant": job["variant"],
        "seeds": job["train_seeds"],
        "blocks": job["blocks"],
        "main": job["main"],
        "terms": job["terms"],
        "sampler": job["sampler"],
        "labels": job["labels"],
        "degrade": job["degrade"],
        "discs": job["discs"],
        "nets_sha256": nets_sha256(job["inputs"]),
        "code": job["code"],
    }
    blocks = [(seed, name, seeds) for seed in job["train_seeds"] for name, seeds in job["blocks"].items()]
    shards = [shard for block in blocks for shard in split(*block, job["shard"])]
    nets: dict[int, Nets] = {}
    for shard in progress(shards, job["variant"]):
        if shard.train_seed not in nets:
            nets = {shard.train_seed: image_nets(job, shard.train_seed)}
        write_shard(folder_of(outputs[0]), shard, about, maker(job, nets[shard.train_seed], shard))
    write_manifest(outputs[0], shards, about)


def image_nets(job: Mapping[str, Any], train_seed: int) -> Nets:
    """The nets of a sampler at one training seed, ready to be called."""
    found: dict[str, dict[str, nn.Module]] = {"model": {}, "disc": {}}
    for label, paths in job["inputs"].items():
        kind, _, name = label.partition(":")
        if kind == "model":
            found[kind][name] = load_net(paths[0], train_seed)
        elif kind == "disc":
            how = job["discs"][name]
            seed = train_seed if how["seed"] is None else how["seed"]
            found[kind][name] = load_net(paths[0], seed)
            if how["iterations"]:
                found[kind][name].load_state_dict(_snapshot(paths[0], seed, how["iterations"]))
    return Nets(found["model"], found["disc"])


def _snapshot(path: str, seed: int, iterations: int) -> dict[str, Tensor]:
    """A discriminator as it was after so many iterations.

    Raises:
        UserError: it was not kept.
    """
    tensors, meta = load_arrays(path)
    prefix = f"it{iterations}/seed{seed}/"
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not state:
        raise UserError(
            f"{path}: keeps nothing after {iterations} iterations of training seed {seed} (it keeps "
            f"{meta.get('iterations')}); give one of these as `iterations`, or train for longer"
        )
    return state


def maker(
    job: Mapping[str, Any], nets: Nets, shard: Shard
) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
    """A function from a range of sample seeds to images `[n, C, H, W]` uint8 and labels `[n]` int64 or None."""
    s = job["sampler"]
    sigmas = edm_sigmas(s["steps"], s["sigma_min"], s["sigma_max"], s["rho"])
    solver = registry.load("sampler", s["name"])
    main: Any = nets.models[job["main"]]
    boosts = [term for term in job["terms"] if term.get("boost")]
    plain = [term for term in job["terms"] if not term.get("boost")]
    event = (main.image_channels, main.resolution_px, main.resolution_px)

    def make(first: int, last: int) -> tuple[Tensor, Tensor | None]:
        labels: list[Tensor] = []

        def start(noise: SeededNoise, sigma_max: float) -> Tensor:
            x = (
                noise.randn(event) * sigma_max
            )  # EDM2's order: noise first, then the label from the same generator
            if job["labels"] is not None:
                labels.append(noise.randint(main.classes))
            return x

        def solve(seeds: Tensor, x: Tensor) -> Tensor:
            built = assemble({**job, "terms": plain}, nets, seeds)
            cond = labels[-1] if labels else None
            if boosts:
                boosting, noise = _boosting(boosts[0], nets), _churn_noise(seeds)
                return boosted(
                    built.predict, x, sigmas, cond, boosting=boosting, noise=noise, correct=built.correct
                )
            with torch.no_grad():
                result: Tensor = solver(built.predict, x, sigmas, cond, correct=built.correct)
            return result

        x = draw((first, last), start, s["sigma_max"], solve, batch=BATCH, dtype=s["dtype"])
        return to_uint8(x), torch.cat(labels) if labels else None

    return make


def _boosting(term: Mapping[str, Any], nets: Nets) -> Boosting:
    high = term["sigma_hi"] or math.inf
    return Boosting(nets.discriminators[term["disc"]], term["weight"], term["sigma_lo"], high)  # type: ignore[arg-type]


def _churn_noise(seeds: Tensor) -> SeededNoise:
    """Generators of a sample's churn: of its own seed, and not those its start and label came from."""
    return SeededNoise([(int(seed) * 2654435761 + 97) % (1 << 32) for seed in seeds])


def to_uint8(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes: `127.5 x + 128`, clipped, as EDM does (its rounding, not truncation of x * 255)."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)
