"""Draw samples with the boosting of discriminator guidance, for a term with `boost`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.boosted import boosted


def boosted_samples(
    term: Mapping[str, Any],
    disc: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    predict: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    cond: Tensor | None,
    seeds: Tensor,
    **how: Any,
) -> Tensor:
    """Samples `[B, *event]`.

    Args:
        term: with `boost`. disc: its discriminator.
        predict, x, sigmas, cond: see `boosted`. how: `correct` and `callback`, see there.
        seeds: `[B]` int64 of the samples.
    """
    boosting = Boosting(disc, term["weight"], term["sigma_lo"], term["sigma_hi"] or math.inf)
    return boosted(predict, x, sigmas, cond, boosting=boosting, noise=churn_noise(seeds), **how)


def churn_noise(seeds: Tensor) -> SeededNoise:
    """Noise of each sample's own seed, and not from the generator that its start and label came from."""
    return SeededNoise([(int(seed) * 2654435761 + 97) % (1 << 32) for seed in seeds])
