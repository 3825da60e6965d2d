"""The loss of ADM and DiT: predicted noise, and a variational term that trains the predicted variance alone."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from guidelab.core.chain import Schedule, respaced
from guidelab.core.denoiser import per_sample

Raw = Callable[
    [Tensor, Tensor, Tensor | None], Tensor
]  # (x_vp, steps [B], cond) -> noise [B, C, ...], or [B, 2C, ...]
_REFERENCE_STEPS = 1000  # the variational term has weight 1 at this length of the chain
_HALF_BIN = 1 / 255  # half of the distance of two byte values in [-1, 1]
_SMALLEST = 1e-12  # probability


class Tables(NamedTuple):
    """Numbers of every step, `[T]` float32: of the noisy state, of the posterior's mean and of both log-variances."""

    signal: Tensor
    noise: Tensor
    denoised_factor: Tensor
    state_factor: Tensor
    log_small: Tensor
    log_large: Tensor

    @classmethod
    def of(cls, schedule: Schedule) -> "Tables":
        """The tables of a schedule, on the CPU."""
        transitions = respaced(schedule, "").transitions
        alphas = schedule.alphas_cumprod
        columns = [
            alphas.sqrt(),
            (1 - alphas).sqrt(),
            *(
                torch.tensor([getattr(t, name) for t in transitions], dtype=torch.float64)
                for name in ("denoised_factor", "state_factor", "log_variance_small")
            ),
            schedule.betas.log(),
        ]
        return cls(*(column.to(torch.float32) for column in columns))

    def to(self, device: torch.device) -> "Tables":
        """The same on a device."""
        return Tables(*(column.to(device) for column in self))


def hybrid_loss(
    raw: Raw, x0: Tensor, noise: Tensor, steps: Tensor, cond: Tensor | None, tables: Tables
) -> Tensor:
    """Squared error of the predicted noise plus the variational term, of each sample `[B]`, summed over the event.

    The variational term is in bits, times T / 1000; no gradient of it reaches the predicted noise. At step 0 it is the
    negative log-likelihood of bytes (so also for latents, as in DiT). A net that predicts no variance has no such term.

    Args:
        raw: the network, in the units of its chain.
        x0: clean data `[B, C, H, W]` in [-1, 1] (or standardised latents). noise: standard normal, like it.
        steps: `[B]` int64, 0 to T - 1.
        cond: labels `[B]` or None.
        tables: of the network's schedule, on x0's device.
    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, section 3.1; Ho et al. 2020, arXiv:2006.11239, eq. 14.
    """
    at = Tables(*(per_sample(column[steps], x0) for column in tables))  # [B, 1, 1, 1] each
    x_vp = at.signal * x0 + at.noise * noise
    out = raw(x_vp, steps.to(torch.float32), cond).to(torch.float32)
    channels = x0.shape[1]
    predicted = out[:, :channels]
    simple = ((predicted - noise) ** 2).flatten(1).sum(1)
    if out.shape[1] == channels:
        return simple
    fraction = (out[:, channels:] + 1) / 2
    log_variance = fraction * at.log_large + (1 - fraction) * at.log_small
    denoised = (x_vp - at.noise * predicted.detach()) / at.signal
    # both means weigh the noisy state alike: only the denoised images differ
    apart = at.denoised_factor * (denoised - x0)
    ratio = torch.exp(at.log_small - log_variance)
    nats = 0.5 * (log_variance - at.log_small - 1 + ratio + apart**2 * torch.exp(-log_variance))
    mean = at.denoised_factor * denoised + at.state_factor * x_vp
    first = per_sample(steps == 0, x0)
    nats = torch.where(first, byte_nll(x0, mean, log_variance), nats)
    weight = len(tables.signal) / _REFERENCE_STEPS / math.log(2)
    return simple + weight * nats.flatten(1).sum(1)


def byte_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log-probability (nats, like `x`) of the byte at `x` in [-1, 1] under a normal distribution.

    The lowest and the highest byte take all that lies beyond them.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 13.
    """
    scale = torch.exp(-0.5 * log_variance)
    cdf = torch.special.ndtr
    above, below = cdf((x - mean + _HALF_BIN) * scale), cdf((x - mean - _HALF_BIN) * scale)
    inside = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return -inside.clamp_min(_SMALLEST).log()
