"""Samplers of discrete diffusions, DDPM's (ancestral) and DDIM's, around a denoiser in sigma's units.

The state is variance-preserving, as in the papers; the denoiser is given `x = x_vp / sqrt(abar)` and its sigma, so
guidance nests as it does everywhere else.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from guidelab.core.chain import Chain, Transition
from guidelab.core.denoiser import Denoiser, at_step
from guidelab.core.samplers.heun import Correct

Learned = Callable[[Tensor, Tensor, Tensor | None, float, float], Tensor]
Variance = str | Learned
Noise = Callable[[int], Tensor]
Callback = Callable[[int, float, Tensor], None]


class Posterior(NamedTuple):
    """A Gaussian step of a chain: mean `[B, *event]` and log-variance (broadcasts), and the denoised it came from."""

    mean: Tensor
    log_variance: Tensor
    denoised: Tensor


@torch.no_grad()
def posterior(
    predict: Denoiser,
    x: Tensor,
    chain: Chain,
    index: int,
    cond: Tensor | None,
    *,
    variance: Variance,
    correct: Correct | None = None,
    clip: bool = False,
) -> Posterior:
    """One step of `ddpm` from position `index` of the chain, before its noise is added.

    Args:
        predict, chain, cond, variance, correct, clip: as in `ddpm`.
        x: state `[B, *event]`, variance-preserving.
        index: position in the chain, 0 for the step that ends at the sample.
    """
    t = chain.transitions[index]
    state, sigma, denoised = _denoised(predict, x, t, cond, clip)
    mean = t.denoised_factor * denoised + t.state_factor * x
    if callable(variance):
        log_variance = variance(state, sigma, cond, t.log_variance_small, t.log_variance_large)
    else:
        fixed = {"small": t.log_variance_small, "large": t.log_variance_large}
        if variance not in fixed:
            raise ValueError(f"ddpm: variance {variance!r}; wanted 'small', 'large' or a network's own")
        log_variance = torch.full((), fixed[variance], dtype=x.dtype, device=x.device)
    if correct is not None:
        delta = at_step(correct, t.sigma)(state, sigma, cond, denoised)  # sigma^2 times the gradient in x
        mean = mean + log_variance.exp() * delta / (t.sigma**2 * math.sqrt(t.alpha_cumprod))
    return Posterior(mean, log_variance, denoised)


@torch.no_grad()
def ddpm(
    predict: Denoiser,
    x: Tensor,
    chain: Chain,
    cond: Tensor | None,
    *,
    variance: Variance,
    noise: Noise,
    correct: Correct | None = None,
    clip: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """Draw from `p(x_prev | x)` along a chain, from its last step to its first: ancestral sampling.

    One call of `predict` a step; `predict` and `correct` with a method `at_step` are called with the step's sigma.

    Args:
        predict: denoiser in sigma's units.
        x: start `[B, *event]`, variance-preserving: standard normal. Not modified.
        chain: steps to visit; see `core.chain.respaced`.
        cond: class index `[B]` int64, or None.
        variance: `small` (of the exact posterior), `large` (beta), or a network's learned one, called after
            `predict` with the same `(x, sigma, cond)` and the logarithms of small and large.
        noise: number of the step, from 0, to standard-normal noise shaped like `x`; not called in the last step.
        correct: guidance added to the mean as the step's variance times its gradient: classifier guidance as
            published. (Within `predict` it is multiplied by the exact posterior's share of `D` instead.)
        clip: the denoised is clipped to [-1, 1] (images; not latents), guidance inside `predict` included.
        callback: called with `(step, sigma, x)` at the start (step 0) and after every step.
    Returns:
        The sample `[B, *event]`.
    Raises:
        ValueError: a variance of another name.
    Source: Ho et al. 2020, arXiv:2006.11239; learned variance, Nichol & Dhariwal 2021, arXiv:2102.09672; guided
        mean, Dhariwal & Nichol 2021, arXiv:2105.05233, algorithm 1.
    """
    _report(callback, 0, chain.transitions[-1].sigma, x)
    for number, index in enumerate(reversed(range(len(chain)))):
        mean, log_variance, _ = posterior(
            predict, x, chain, index, cond, variance=variance, correct=correct, clip=clip
        )
        x = mean + torch.exp(0.5 * log_variance) * noise(number).to(x) if index else mean
        _report(callback, number + 1, chain.transitions[index].sigma_prev, x)
    return x


@torch.no_grad()
def ddim(
    predict: Denoiser,
    x: Tensor,
    chain: Chain,
    cond: Tensor | None,
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    correct: Correct | None = None,
    clip: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM's sampler: with `eta = 0` an Euler step of the probability flow in `x / sqrt(abar)`, with 1 as random as DDPM.

    Args:
        predict, x, chain, cond, clip, callback: as in `ddpm`.
        eta: share of the posterior's std that is drawn afresh.
        noise: as in `ddpm`; needed where `eta` is above 0.
        correct: guidance added to `D`, after clipping: the published guided score. (In `predict` it is clipped too.)
    Returns:
        The sample `[B, *event]`.
    Raises:
        ValueError: `eta` above 0 without noise.
    Source: Song et al. 2021, arXiv:2010.02502; Dhariwal & Nichol 2021, arXiv:2105.05233, algorithm 2.
    """
    if eta > 0 and noise is None:
        raise ValueError(f"ddim: given eta={eta} and no noise; wanted noise, or eta 0")
    _report(callback, 0, chain.transitions[-1].sigma, x)
    for number, index in enumerate(reversed(range(len(chain)))):
        t = chain.transitions[index]
        state, sigma, denoised = _denoised(predict, x, t, cond, clip)
        if correct is not None:
            denoised = denoised + at_step(correct, t.sigma)(state, sigma, cond, denoised)
        eps = (state - denoised) / t.sigma
        now, before = t.alpha_cumprod, t.alpha_cumprod_prev
        fresh = eta * math.sqrt((1 - before) / (1 - now) * (1 - now / before))  # 0 in the last step
        x = math.sqrt(before) * denoised + math.sqrt(1 - before - fresh**2) * eps
        if fresh > 0 and noise is not None:
            x = x + fresh * noise(number).to(x)
        _report(callback, number + 1, t.sigma_prev, x)
    return x


def _denoised(
    predict: Denoiser, x: Tensor, t: Transition, cond: Tensor | None, clip: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """State in sigma's units, the step's sigma `[B]`, and the denoised `[B, *event]`."""
    state = x / math.sqrt(t.alpha_cumprod)
    sigma = torch.full((x.shape[0],), t.sigma, dtype=x.dtype, device=x.device)
    denoised = at_step(predict, t.sigma)(state, sigma, cond)
    return state, sigma, denoised.clamp(-1, 1) if clip else denoised


def _report(callback: Callback | None, step: int, sigma: float, x: Tensor) -> None:
    if callback is not None:
        callback(step, sigma, x)
