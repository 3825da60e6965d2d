"""Heun's sampler along EDM's noise levels, stochastic or not, with the boosting of discriminator guidance where a term has it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidelab.assemble import Assembled, Nets
from guidelab.compute.device import Feed
from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.boosted import boosted
from guidelab.core.samplers.heun import Churn, Correct, heun
from guidelab.core.schedules import edm_sigmas


class Continuous:
    """See `draw.Sampler`.

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
        """See `draw.Sampler`."""
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
        """See `draw.Sampler`."""
        how: dict[str, Any] = {"correct": built.correct, "callback": callback}
        x = x.to(self.dtype)
        if self.options.get("S_churn"):
            return heun(built.predict, x, self.sigmas, cond, churn=self._churn(x, noise), **how)
        if not self.boosts:
            return self.solved(built.predict, x, cond, **how)
        boosting, churn = _boosting(self.boosts[0], self.nets), _churn_noise(seeds)
        return boosted(built.predict, x, self.sigmas, cond, boosting=boosting, noise=churn, **how)

    def _churn(self, x: Tensor, noise: SeededNoise) -> Churn:
        """EDM's fresh noise of the steps, which every sample's own generator goes on to draw, as EDM2's does."""
        event, s = tuple(x.shape[1:]), self.options
        fresh = Feed(lambda step: noise.randn(event, x.dtype), x.device)
        high = s.get("S_max") or math.inf
        return Churn(s["S_churn"], fresh, s.get("S_min", 0.0), high, s.get("S_noise", 1.0))

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


def _boosting(term: Mapping[str, Any], nets: Nets) -> Boosting:
    high = term["sigma_hi"] or math.inf
    return Boosting(nets.discriminators[term["disc"]], term["weight"], term["sigma_lo"], high)  # type: ignore[arg-type]


def _churn_noise(seeds: Tensor) -> SeededNoise:
    """Generators of a sample's churn: of its own seed, and not those its start and label came from."""
    return SeededNoise([(int(seed) * 2654435761 + 97) % (1 << 32) for seed in seeds])
