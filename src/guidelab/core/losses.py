"""Denoising losses, as functions of explicit noise: nothing here draws random numbers."""

from torch import Tensor

from guidelab.core.denoiser import Denoiser, per_sample


def lognormal_sigma(normal: Tensor, p_mean: float, p_std: float) -> Tensor:
    """Training noise levels `exp(p_mean + p_std * normal)`, shaped like `normal`.

    Source: Karras et al. 2022, arXiv:2206.00364, table 1.
    """
    return (p_mean + p_std * normal).exp()


def loss_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """EDM's weight `(sigma^2 + sigma_data^2) / (sigma sigma_data)^2`, shaped like `sigma`.

    Source: Karras et al. 2022, arXiv:2206.00364, table 1.
    """
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def edm_loss(
    predict: Denoiser, x0: Tensor, noise: Tensor, sigma: Tensor, cond: Tensor | None, sigma_data: float
) -> Tensor:
    """Weighted denoising error of each sample, `[B]`: summed over the event, to be averaged over the batch.

    Args:
        predict: denoiser, with gradients.
        x0: clean data `[B, *event]`.
        noise: standard normal, like `x0`.
        sigma: noise level of each sample `[B]`.
        cond: class index `[B]` or None.
        sigma_data: std of the data.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 2 and table 1.
    """
    error = (predict(x0 + per_sample(sigma, x0) * noise, sigma, cond) - x0) ** 2
    return loss_weight(sigma, sigma_data) * error.flatten(1).sum(1)


def edm2_loss(
    predict: Denoiser,
    x0: Tensor,
    noise: Tensor,
    sigma: Tensor,
    cond: Tensor | None,
    sigma_data: float,
    log_variance: Tensor,
) -> Tensor:
    """EDM's loss with a learned log-variance, `[B]`: `lambda / exp(u) * error + u` summed over the event.

    Args:
        log_variance: `u(sigma)`, `[B]`, with gradients; one value for all elements of a sample.
        predict, x0, noise, sigma, cond, sigma_data: as in `edm_loss`.
    Source: Karras et al. 2024, arXiv:2312.02696.
    """
    error = edm_loss(predict, x0, noise, sigma, cond, sigma_data)
    return error / log_variance.exp() + log_variance * x0[0].numel()
