"""Samplers along a discrete variance-preserving chain: DDPM and DDIM."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.assemble import Assembled, Nets
from guidelab.compute.feed import Feed
from guidelab.core.chain import Chain, respaced, schedule_of
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.chain import ddim, ddpm
from guidelab.errors import UserError

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Callback


class Ddpm:
    """Ancestral sampling; see `interfaces.Sampler`.

    Attributes:
        chain: the steps.
    """

    def __init__(self, job: Mapping[str, Any], nets: Nets) -> None:
        self.main: Any = nets.models[job["main"]]
        self.how, self.chain = job["sampler"], _chain(job, self.main.net)
        self.dtype = getattr(torch, self.how["dtype"])

    def scaled(self, noise: Tensor) -> Tensor:
        """See `interfaces.Sampler`."""
        return noise

    def __call__(
        self,
        built: Assembled,
        x: Tensor,
        cond: Tensor | None,
        *,
        seeds: Tensor,
        noise: SeededNoise,
        callback: "Callback | None",
    ) -> Tensor:
        """See `interfaces.Sampler`."""
        event = tuple(x.shape[1:])
        fresh = Feed(lambda step: noise.randn(event), x.device)
        how = {"correct": built.correct, "clip": self.how["clip"], "callback": callback, "noise": fresh}
        return self._solved(built.predict, x.to(self.dtype), cond, how)

    def _solved(self, predict: Any, x: Tensor, cond: Tensor | None, how: dict[str, Any]) -> Tensor:
        return ddpm(predict, x, self.chain, cond, variance=self.main.variance, **how)


class Ddim(Ddpm):
    """DDIM's sampler, with `eta` of its options; see `interfaces.Sampler`."""

    def _solved(self, predict: Any, x: Tensor, cond: Tensor | None, how: dict[str, Any]) -> Tensor:
        return ddim(predict, x, self.chain, cond, eta=self.how["eta"], **how)


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
