"""EDM preconditioning: a raw network becomes a denoiser whose inputs and targets have unit variance."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from guidelab.core.denoiser import Denoiser, per_sample


class Coefficients(NamedTuple):
    """EDM's four coefficients, each shaped like the `sigma` they were computed from."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float) -> Coefficients:
    """Coefficients of `D(x) = c_skip x + c_out F(c_in x, c_noise)`.

    Args:
        sigma: noise levels above 0, any shape.
        sigma_data: std of the data.
    Source: Karras et al. 2022, arXiv:2206.00364, table 1.
    """
    total = sigma**2 + sigma_data**2
    root = total.sqrt()
    return Coefficients(sigma_data**2 / total, sigma * sigma_data / root, 1 / root, sigma.log() / 4)


def precondition(raw: Callable[[Tensor, Tensor, Tensor | None], Tensor], sigma_data: float) -> Denoiser:
    """Denoiser of a raw network `F(c_in x [B, *event], c_noise [B], cond)`.

    Source: Karras et al. 2022, arXiv:2206.00364, eq. 7.
    """

    def predict(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        c = coefficients(sigma, sigma_data)
        inner = raw(per_sample(c.c_in, x) * x, c.c_noise, cond)
        return per_sample(c.c_skip, x) * x + per_sample(c.c_out, x) * inner

    return predict
