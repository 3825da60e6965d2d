"""Convert between denoisers and scores."""

from collections.abc import Callable

from torch import Tensor

from guidelab.core.denoiser import Denoiser, per_sample


def denoiser_from_score(score: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """Denoiser of a score function, `D = x + sigma^2 * score(x, sigma)`; the condition is not used.

    Source: Tweedie's formula, Karras et al. 2022, arXiv:2206.00364, eq. 3.
    """

    def predict(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        return x + per_sample(sigma, x) ** 2 * score(x, sigma)

    return predict


def score_from_denoiser(predict: Denoiser) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Score of a denoiser, `(D - x) / sigma^2`, as a function of `(x, sigma, cond)`.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 3.
    """

    def score(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        return (predict(x, sigma, cond) - x) / per_sample(sigma, x) ** 2

    return score
