"""Classifier guidance: up the gradient of a noisy classifier's log-probability of the requested class."""

from collections.abc import Callable

from torch import Tensor

from guidelab.core.guidance.potential import Potential

LogProbabilities = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def classifier(log_probabilities: LogProbabilities, weight: float) -> Potential:
    """`D = D1 + v sigma^2 grad_x log p(cond | x; sigma)`; neutral at `v = 0`.

    Args:
        log_probabilities: `(x [B, *event], sigma [B], None) -> [B, K]`, differentiable in `x`.
        weight: `v`.
    Raises:
        ValueError: called without a condition: an unconditional sampler has no class.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233, algorithm 2.
    """

    def log_potential(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            raise ValueError("classifier guidance: given no condition, wanted the class of every sample")
        return log_probabilities(x, sigma, None).gather(1, cond[:, None])[:, 0]

    return Potential(log_potential, weight)
