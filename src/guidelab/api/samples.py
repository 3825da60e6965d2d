"""Samples of a net by their seeds, with guidance and samplers as the workflow's, from tensors to tensors."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from guidelab.api.arguments import device_of, whole
from guidelab.api.denoisers import Net
from guidelab.assemble import Assembled, Nets
from guidelab.compute.inference import InferenceModel
from guidelab.compute.precision import moved, settle
from guidelab.core.denoiser import at_step, cast
from guidelab.core.guidance import Correction, Guided, Term
from guidelab.core.noise import SeededNoise
from guidelab.errors import UserError, closest
from guidelab.registry import SAMPLERS
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import Drawing
from guidelab.spec.base import SEEDS_END
from guidelab.spec.samplers import ChainSampler, PluginSampler, Sampler
from guidelab.study.seeds import blocks_of

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Callback

_HEUN: dict[str, Any] = {
    "steps": 32,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "rho": 7.0,
    "dtype": "float32",
}  # EDM2's
_CHAIN: dict[str, Any] = {"steps": 250}


class Samples(NamedTuple):
    """Samples `x [N, *shape]` float32, their classes `labels [N]` int64 or None, and their `seeds [N]`; all on the CPU."""

    x: Tensor
    labels: Tensor | None
    seeds: Tensor


def sample(
    net: Net,
    seeds: Sequence[int] | range,
    *,
    terms: Sequence[Term] = (),
    first: Sequence[Term] = (),
    labels: int | str = "random",
    sampler: str = "heun",
    batch: int = 64,
    device: str = "cpu",
    callback: "Callback | None" = None,
    **options: Any,
) -> Samples:
    """Draw one sample a seed: `guidelab generate` at the same seeds gives the same images.

    Start noise, class and the noise of the steps come, in this order, from a generator of each seed on the CPU, so a
    sample depends on its batch and device by rounding at most.

    Args:
        net: the main denoiser, on the device.
        seeds: of the samples, below 2^32, ascending; runs of consecutive ones are drawn together.
        terms: guidance, added up: `D = D1 + sum of their additions`.
        first: guidance that acts in the first evaluation of every step only, as discriminator guidance does.
        labels: `random` classes, or one class of all; without meaning for a net without classes.
        sampler: `heun`, `ddpm`, `ddim`, or `plugins.FILE:CLASS`.
        batch: samples computed at once.
        device: where: `cpu`, `cuda` or `cuda:1`.
        callback: called with `(step, sigma, x)` at the start and after every step of a batch.
        options: of the sampler, as in params.yaml: `steps`, `sigma_min`, `sigma_max`, `rho`, `dtype`, `S_churn`, `S_min`,
            `S_max`, `S_noise`; of chains `steps`, `schedule`, `clip`, `eta`, `dtype`.
    Raises:
        UserError: an option, class, batch or device that cannot be, seeds twice or not ascending, too little memory.
        ValueError: noise levels that do not descend.
    """
    numbers, batch = _seeds(seeds), whole("sample: batch", batch, 1)
    where, how = device_of("sample", device), _options(sampler, options)
    policy = _policy(net, labels)
    settle(where)
    job: dict[str, Any] = {
        "variant": "sample", "sampler": how, "main": "main", "terms": [], "labels": policy, "batch": batch, "precision": "float32",
    }  # fmt: skip
    main = _Main(net, where)
    make = SAMPLERS.load(sampler)(job, Nets({"main": main}, {}), **how.get("options", {}))  # type: ignore[dict-item]
    guided: Any = Guided(main, terms)
    correct: Any = Correction(first) if first else None
    if how["dtype"] == "float64":  # of the sampler's state; nets are evaluated in float32
        guided, correct = cast(guided, torch.float32), correct and cast(correct, torch.float32)
    draw = _Drawing(job, Nets({}, {}), where, Points(), None, make, main, Assembled(guided, correct))
    parts = [draw(low, high, callback=callback) for low, high in blocks_of(numbers).values()]
    known = [classes for _, classes in parts if classes is not None]
    return Samples(
        torch.cat([x for x, _ in parts]), torch.cat(known) if known else None, torch.tensor(numbers)
    )


def _seeds(given: Sequence[int] | range) -> list[int]:
    numbers = [whole("sample: seed", seed, 0, SEEDS_END) for seed in given]
    if not numbers or any(later <= seed for seed, later in pairwise(numbers)):
        raise UserError(f"sample: seeds {numbers[:4]}, wanted one or more, ascending, each once")
    return numbers


def _options(sampler: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler's options, checked as those of params.yaml."""
    chain = SAMPLERS.entry(sampler, "sample").needs == "chain"
    make = ChainSampler if chain else Sampler if sampler in SAMPLERS else PluginSampler
    known = (_CHAIN if chain else _HEUN) | dict(given)
    for key in known:
        if key not in make.model_fields and make is not PluginSampler:  # whose class has options of its own
            wanted = sorted({*make.model_fields} - {"name"})
            raise UserError(f"sample: option {key!r}, wanted {', '.join(wanted)}{closest(key, wanted)}")
    try:
        return make.model_validate({"name": sampler, **known}).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"sample: {'.'.join(map(str, first['loc']))}: given {first['input']!r}: {said}"
        ) from error


def _policy(net: Net, labels: int | str) -> int | str | None:
    if not net.classes:
        return None
    if isinstance(labels, str) and labels == "random":
        return labels
    return whole("sample: labels", labels, 0, net.classes, "'random' or a class")


class _Main(InferenceModel):
    """A caller's net, as samplers use those of jobs."""

    def __init__(self, of: Net, where: torch.device) -> None:
        super().__init__(of.predict, "float32", where)
        self.of = of

    @property
    def event(self) -> Any:
        """Shape of one sample."""
        return self.of.shape

    @property
    def classes(self) -> int:
        """How many classes it knows."""
        return self.of.classes

    def at_step(self, sigma: float) -> "_Main":
        """The same around what the net is at this step."""
        made = copy.copy(self.__dict__)
        found = type(self).__new__(type(self))
        found.__dict__.update(made, net=at_step(self.net, sigma))
        return found


@dataclass(frozen=True)
class _Drawing(Drawing):
    """Draws with guidance that is assembled already."""

    of: _Main
    built: Assembled

    @property
    def main(self) -> InferenceModel:
        """The main net."""
        return self.of

    def solve(
        self,
        seeds: Tensor,
        start: Tensor,
        cond: Tensor | None,
        noise: SeededNoise,
        callback: "Callback | None" = None,
    ) -> Tensor:
        """See `Drawing.solve`."""
        given = None if cond is None else moved(cond, self.where)
        with torch.no_grad():
            x = self.sampler.scaled(moved(start, self.where))
            return self.sampler(self.built, x, given, seeds=seeds, noise=noise, callback=callback)
