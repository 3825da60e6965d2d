"""Noise of stochastic steps (EDM's churn), for a sampler with `S_churn`."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidelab.compute.feed import Feed
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.churn import Churn


def churn(options: Mapping[str, Any], x: Tensor, noise: SeededNoise) -> Churn:
    """EDM's fresh noise of the steps, drawn from each sample's generator after the start noise, as in EDM2.

    Args:
        options: of the sampler: `S_churn`, and where they are given `S_min`, `S_max`, `S_noise`.
        x: start `[B, *event]`, for its shape, dtype and device. noise: of its samples.
    """
    event = tuple(x.shape[1:])
    fresh = Feed(lambda step: noise.randn(event, x.dtype), x.device)
    high = options.get("S_max") or math.inf
    return Churn(options["S_churn"], fresh, options.get("S_min", 0.0), high, options.get("S_noise", 1.0))
