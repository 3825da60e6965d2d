"""EDM's churn: noise added before a sampler's steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Churn:
    """Noise added before a step, EDM's stochastic sampling.

    Args:
        S_churn: total amount; each step raises sigma by the factor `1 + min(S_churn / steps, sqrt(2) - 1)`.
        S_min, S_max: only steps whose sigma lies in `[S_min, S_max]` are churned.
        S_noise: std of the fresh noise (EDM: slightly above 1).
        noise: step index to standard-normal noise shaped like `x`.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2.
    """

    S_churn: float
    noise: Callable[[int], Tensor]
    S_min: float = 0.0
    S_max: float = math.inf
    S_noise: float = 1.0

    def gamma(self, sigma: float, steps: int) -> float:
        """Relative increase of the noise level at a step that starts from `sigma`."""
        if self.S_churn <= 0 or not self.S_min <= sigma <= self.S_max:
            return 0.0
        return min(self.S_churn / steps, math.sqrt(2.0) - 1.0)
