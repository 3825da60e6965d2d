"""Seeds -> samples: start noise, labels, guidance and the sampler's loop, for batches of seeds on any device.

A sample depends on its own seed alone: start noise, class and the noise of the steps are drawn, in this order, by a
generator of that seed, on the CPU. Batch, process and device change it by rounding at most.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.assemble import Assembled, Nets, assemble
from guidelab.compute.device import memory_named
from guidelab.compute.inference import InferenceModel, graph_steps, inference_models
from guidelab.compute.precision import effective, moved
from guidelab.core.noise import SeededNoise
from guidelab.errors import UserError
from guidelab.registry import SAMPLERS
from guidelab.sampling.blocks import seeds_of

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Callback, Codec, Sampler, Start


@dataclass(frozen=True)
class Drawing:
    """Draws samples with the nets of one training seed.

    Attributes:
        job: see `drawing`. nets: on the device, as samplers call them. where: the device.
        codec: from samples to what is stored of them.
        start: the dataset's exact start distribution; None: standard normal noise times the highest noise level.
        sampler: from start noise to samples.
    """

    job: Mapping[str, Any]
    nets: Nets
    where: torch.device
    codec: "Codec"
    start: "Start | None"
    sampler: "Sampler"

    @property
    def main(self) -> InferenceModel:
        """The main net."""
        found: Any = self.nets.models[self.job["main"]]
        assert isinstance(found, InferenceModel)  # `inference_models` made it
        return found

    def __call__(
        self,
        first: int,
        last: int,
        *,
        done: Callable[[int], Any] | None = None,
        callback: "Callback | None" = None,
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
                cond = self._classes(noise)
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

    def _classes(self, noise: SeededNoise) -> Tensor | None:
        """Each sample's class `[B]`: drawn, or the one class of all; then too it is drawn, for the noise that follows."""
        policy = self.job.get("labels")
        if policy is None:
            return None
        drawn = noise.randint(self.main.classes)
        return drawn if policy == "random" else torch.full_like(drawn, policy)

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
        callback: "Callback | None" = None,
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
            x = self.sampler.scaled(x) if self.start is None else x
            return self.sampler(built, x, given, seeds=seeds, noise=noise, callback=callback)


def drawing(
    job: Mapping[str, Any], loaded: Nets, where: torch.device, codec: "Codec", start: "Start | None" = None
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
    with memory_named("sample: loading nets", "the number or the size of the nets"):
        models = inference_models(loaded.models, where, job["precision"], job["unlabelled"])
        nets = Nets(
            models, {name: net.to(where) for name, net in loaded.discriminators.items()}
        )  # float32: small gradients
    make, options = SAMPLERS.load(job["sampler"]["name"]), job["sampler"].get("options", {})
    sampler: Sampler = make(job, nets, **options)
    return Drawing(job, nets, where, codec, start, sampler)
