"""Seeds -> samples: start noise, labels, guidance and the sampler's loop, for batches of seeds on any device.

A sample depends on its own seed alone: start noise, class and the noise of the steps are drawn, in this order, by a
generator of that seed, on the CPU. Batch, process and device change it by rounding at most.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from guidelab import registry
from guidelab.assemble import Assembled, Nets, assemble
from guidelab.compute.device import Feed, effective, memory_named, moved
from guidelab.compute.inference import InferenceModel, graph_steps, inference_nets
from guidelab.core.chain import Chain, respaced, schedule_of
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.boosted import boosted
from guidelab.core.schedules import edm_sigmas
from guidelab.errors import UserError
from guidelab.sampling.blocks import seeds_of
from guidelab.sampling.codecs import Codec

CHAINS = ("ddpm", "ddim")
Callback = Callable[[int, float, Tensor], None]


class Start(Protocol):
    """Draws the start of the sampler, `[B, *event]` at the schedule's highest noise level, from per-sample noise."""

    def __call__(self, noise: SeededNoise, sigma_max: float) -> Tensor:
        """The start of each of the noise's samples."""
        ...


@dataclass(frozen=True)
class Drawing:
    """Draws samples with the nets of one training seed.

    Attributes:
        job: see `drawing`. nets: on the device, as samplers call them. where: the device.
        codec: from samples to what is stored of them.
        start: the dataset's exact start distribution; None: standard normal noise times the highest noise level.
        chain: steps of a discrete chain, or None for EDM's noise levels.
        sigmas: those levels, or None.
    """

    job: Mapping[str, Any]
    nets: Nets
    where: torch.device
    codec: Codec
    start: Start | None
    chain: Chain | None
    sigmas: list[float] | None

    @property
    def main(self) -> InferenceModel:
        """The main net."""
        found: Any = self.nets.models[self.job["main"]]
        assert isinstance(found, InferenceModel)  # `inference_nets` made it
        return found

    def __call__(
        self,
        first: int,
        last: int,
        *,
        done: Callable[[int], Any] | None = None,
        callback: Callback | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What is stored `[n, ...]` of a range of sample seeds, and labels `[n]` int64 or None, on the CPU.

        Args:
            first, last: the range, both included.
            done: called with the number of samples of each finished batch.
            callback: of the sampler.
        Raises:
            UserError: too little memory, or samples that are not finite and cannot be stored so.
        """
        stored, labels = [], []
        for seeds in seeds_of((first, last)).split(self.job["batch"]):  # type: ignore[no-untyped-call]
            with memory_named(f"sample: {self.job['variant']}", f"`batch` (now {self.job['batch']})"):
                noise = SeededNoise(seeds.tolist())
                start = self._started(noise)  # EDM2's order: noise first, then the label
                cond = noise.randint(self.main.classes) if self.job.get("labels") is not None else None
                x = self.solve(seeds, start, cond, noise, callback)
            if self.codec.finite:
                self._check_finite(x, seeds)
            stored.append(self.codec.decode(x))
            labels += [] if cond is None else [cond]
            if done is not None:
                done(len(seeds))
        return torch.cat(stored).cpu(), torch.cat(labels) if labels else None

    def _started(self, noise: SeededNoise) -> Tensor:
        """The dataset's start, or standard normal noise `[B, *event]`."""
        if self.start is None:
            return noise.randn(self.main.event)
        return self.start(noise, self.job["sampler"]["sigma_max"])

    def _check_finite(self, x: Tensor, seeds: Tensor) -> None:
        if not bool(torch.isfinite(x).all()):
            raise UserError(
                f"{self.job['variant']}: samples of seeds {int(seeds[0])} to {int(seeds[-1])} are not finite in precision "
                f"{effective(self.job['precision'], self.where)}. Give `sampling: {{precision: bfloat16}}` or float32, or a "
                "smaller weight."
            )

    def solve(
        self,
        seeds: Tensor,
        start: Tensor,
        cond: Tensor | None,
        noise: SeededNoise,
        callback: Callback | None = None,
    ) -> Tensor:
        """Samples `[B, *event]` on the device; nothing in here waits for it.

        Args:
            seeds: `[B]` int64 of the samples.
            start: `[B, *event]`, see `_started`.
            cond: class index `[B]`, or None.
            noise: the samples' generators, as they are after start and label. All four on the CPU.
            callback: of the sampler.
        """
        plain = [term for term in self.job["terms"] if not term.get("boost")]
        built = assemble({**self.job, "terms": plain}, self.nets, moved(seeds, self.where))
        built = Assembled(graph_steps(built.predict), built.correct)
        x, given = moved(start, self.where), None if cond is None else moved(cond, self.where)
        with torch.no_grad():
            if self.chain is not None:
                return self._discrete(built, x, given, noise, callback)
            return self._continuous(built, x, given, seeds, callback)

    def _continuous(
        self, built: Assembled, x: Tensor, cond: Tensor | None, seeds: Tensor, callback: Callback | None
    ) -> Tensor:
        assert self.sigmas is not None  # there is no chain
        x = (x * self.sigmas[0] if self.start is None else x).to(self._dtype)
        how: dict[str, Any] = {"correct": built.correct, "callback": callback}
        boosts = [term for term in self.job["terms"] if term.get("boost")]
        if boosts:
            boosting, churn = _boosting(boosts[0], self.nets), _churn_noise(seeds)
            return boosted(built.predict, x, self.sigmas, cond, boosting=boosting, noise=churn, **how)
        solver = registry.load("sampler", self.job["sampler"]["name"])
        found: Tensor = solver(built.predict, x, self.sigmas, cond, **how)
        return found

    def _discrete(
        self,
        built: Assembled,
        x: Tensor,
        cond: Tensor | None,
        noise: SeededNoise,
        callback: Callback | None,
    ) -> Tensor:
        s, event = self.job["sampler"], tuple(x.shape[1:])
        feed = Feed(lambda step: noise.randn(event), self.where)
        how: dict[str, Any] = {"correct": built.correct, "callback": callback, "clip": s["clip"]}
        how |= {"variance": self.main.variance} if s["name"] == "ddpm" else {"eta": s["eta"]}
        solver = registry.load("sampler", s["name"])
        found: Tensor = solver(built.predict, x.to(self._dtype), self.chain, cond, noise=feed, **how)
        return found

    @property
    def _dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.job["sampler"]["dtype"])
        return found


def drawing(
    job: Mapping[str, Any], loaded: Nets, where: torch.device, codec: Codec, start: Start | None = None
) -> Drawing:
    """Everything a sampler needs of one training seed, checked.

    Args:
        job: `sampler`, `main`, `terms`, `degrade`, `labels`, `batch`, `precision`, `unlabelled` of a sampling job.
        loaded: its nets, on the CPU.
        where: the device.
        codec: how samples are stored.
        start: the dataset's exact start distribution, if it has one.
    Raises:
        UserError: nets that do not fit the sampler, or that do not fit into memory.
    """
    s = job["sampler"]
    with memory_named("sample: loading nets", "the number or the size of the nets"):
        nets = inference_nets(loaded, where, job["precision"], job["unlabelled"])
    main: Any = nets.models[job["main"]]
    if s["name"] in CHAINS:
        return Drawing(job, nets, where, codec, start, _chain(job, main.net), None)
    low, high = getattr(main.net, "sigma_range", (0.0, math.inf))  # EDM's samplers stay inside it
    levels = edm_sigmas(s["steps"], max(s["sigma_min"], low), min(s["sigma_max"], high), s["rho"])
    return Drawing(job, nets, where, codec, start, None, main.levels(levels).tolist())


def _chain(job: Mapping[str, Any], main: Any) -> Chain:
    """The steps of a discrete sampler.

    Raises:
        UserError: the sampler does not fit the net, its guidance or its number of steps.
    """
    s = job["sampler"]
    if any(term.get("boost") for term in job["terms"]):
        raise UserError(
            f"{job['variant']}: `boost` needs the sampler heun, given {s['name']}. Leave `boost` out."
        )
    schedule = getattr(main, "schedule", None)
    if schedule is not None and schedule.name != s["schedule"]:
        raise UserError(
            f"{job['variant']}: sampler {s['name']} has schedule {s['schedule']}, but {job['main']} was trained with "
            f"{schedule.name}. Give the sampler `schedule: {schedule.name}`."
        )
    try:
        return respaced(
            schedule_of(s["schedule"]), f"ddim{s['steps']}" if s["name"] == "ddim" else s["steps"]
        )
    except ValueError as error:
        raise UserError(f"{job['variant']}: sampler {s['name']} with {s['steps']} steps: {error}") from error


def _boosting(term: Mapping[str, Any], nets: Nets) -> Boosting:
    high = term["sigma_hi"] or math.inf
    return Boosting(nets.discriminators[term["disc"]], term["weight"], term["sigma_lo"], high)  # type: ignore[arg-type]


def _churn_noise(seeds: Tensor) -> SeededNoise:
    """Generators of a sample's churn: of its own seed, and not those its start and label came from."""
    return SeededNoise([(int(seed) * 2654435761 + 97) % (1 << 32) for seed in seeds])
