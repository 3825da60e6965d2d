"""Heun's sampler along EDM's noise levels, stochastic or not; a term with `boost` has a separate loop."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidelab.assemble import Assembled, Nets
from guidelab.core.denoiser import Denoiser
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.heun import Correct, heun
from guidelab.core.schedules import edm_sigmas
from guidelab.registry import ADDITIONS


class Continuous:
    """See `interfaces.Sampler`.

    Attributes:
        sigmas: the noise levels, descending to 0, each one the main net knows.
    """

    def __init__(self, job: Mapping[str, Any], nets: Nets) -> None:
        s, main = job["sampler"], nets.models[job["main"]]
        low, high = getattr(main.net, "sigma_range", (0.0, math.inf))  # EDM's samplers stay inside it
        levels = edm_sigmas(s["steps"], max(s["sigma_min"], low), min(s["sigma_max"], high), s["rho"])
        self.sigmas: list[float] = main.levels(levels).tolist()  # type: ignore[operator]
        self.boosts = [term for term in job["terms"] if term.get("boost")]
        self.nets, self.dtype, self.options = nets, getattr(torch, s["dtype"]), s

    def scaled(self, noise: Tensor) -> Tensor:
        """See `interfaces.Sampler`."""
        return noise * self.sigmas[0]

    def __call__(
        self,
        built: Assembled,
        x: Tensor,
        cond: Tensor | None,
        *,
        seeds: Tensor,
        noise: SeededNoise,
        callback: Callable[[int, float, Tensor], None] | None,
    ) -> Tensor:
        """See `interfaces.Sampler`."""
        how: dict[str, Any] = {"correct": built.correct, "callback": callback}
        x = x.to(self.dtype)
        if self.options.get("S_churn"):
            churn = ADDITIONS.load("churn")(self.options, x, noise)
            return heun(built.predict, x, self.sigmas, cond, churn=churn, **how)
        if not self.boosts:
            return self.solved(built.predict, x, cond, **how)
        disc = self.nets.discriminators[self.boosts[0]["disc"]]
        boosted: Tensor = ADDITIONS.load("boost")(
            self.boosts[0], disc, built.predict, x, self.sigmas, cond, seeds, **how
        )
        return boosted

    def solved(
        self,
        predict: Denoiser,
        x: Tensor,
        cond: Tensor | None,
        *,
        correct: Correct | None,
        callback: Callable[[int, float, Tensor], None] | None,
    ) -> Tensor:
        """Samples `[B, *event]` from `x` at `sigmas[0]`; a sampler of a plugin overrides this. See `heun` for the arguments."""
        return heun(predict, x, self.sigmas, cond, correct=correct, callback=callback)
