"""Discrete variance-preserving diffusions: noise schedules, and respaced chains with fewer steps.

At step `t` of a schedule `x_vp = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n`, which is `x = x_0 + sigma_t n` scaled by
`sqrt(abar_t)`, with `sigma_t = sqrt((1 - abar_t) / abar_t)`: noise levels mean the same here as everywhere else.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, overload

import torch
from torch import Tensor

_LINEAR = (1e-4, 0.02)  # first and last beta of 1000 steps; Ho et al. 2020, arXiv:2006.11239
_COSINE_SHIFT, _COSINE_MOST = 0.008, 0.999  # Nichol & Dhariwal 2021, arXiv:2102.09672
_SNAP = 1e-3  # steps this near to a whole one are whole: float32 keeps sigma to 2e-5 of a step


class Schedule:
    """Noise levels of a discrete diffusion.

    Args:
        name: `linear` (betas, scaled so that their sum does not depend on `steps`) or `cosine`.
        steps: their number, at least 2.
    Attributes:
        betas, alphas_cumprod: `[steps]` float64, on the CPU.
        sigmas: `[steps]` float64, ascending: std of the noise relative to the signal.
    Raises:
        ValueError: another name, or fewer than two steps.
    Source: Ho et al. 2020, arXiv:2006.11239; Nichol & Dhariwal 2021, arXiv:2102.09672.
    """

    def __init__(self, name: str = "linear", steps: int = 1000) -> None:
        if steps < 2:
            raise ValueError(f"Schedule: given steps={steps}, wanted at least 2")
        self.name, self.steps = name, steps
        self.betas = _betas(name, steps)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        self._tables = {self.sigmas.device: self.sigmas.log()}

    def _table(self, device: torch.device) -> Tensor:
        """Logarithms of the noise levels on a device; copied there once."""
        if device not in self._tables:
            self._tables[device] = self.sigmas.log().to(device)
        return self._tables[device]

    @overload
    def sigma_of(self, step: float) -> float: ...
    @overload
    def sigma_of(self, step: Tensor) -> Tensor: ...
    def sigma_of(self, step: float | Tensor) -> float | Tensor:
        """Noise level of a step (0 to `steps - 1`, need not be whole), in its dtype; a float of a number.

        For "steps above 200" give the level of step 200.5: rounding then decides nothing.
        """
        if not isinstance(step, Tensor):
            return float(self.sigma_of(torch.tensor(step, dtype=torch.float64)))
        table = self._table(step.device)
        exact = step.to(torch.float64).clamp(0, self.steps - 1)
        below = exact.floor().clamp_max(self.steps - 2)
        index = below.to(torch.int64)
        return torch.lerp(table[index], table[index + 1], exact - below).exp().to(step.dtype)

    def step_of(self, sigma: Tensor) -> Tensor:
        """Step of a noise level, in sigma's shape and dtype: whole at the schedule's own levels.

        Between levels it is linear in log sigma; beyond the first and the last it stays there. Nothing here waits
        for a device.
        """
        wanted = sigma.to(torch.float64).log()
        table = self._table(sigma.device)
        above = torch.searchsorted(table, wanted).clamp(1, self.steps - 1)
        low, high = table[above - 1], table[above]
        step = (above - 1) + ((wanted - low) / (high - low)).clamp(0, 1)
        whole = step.round()
        return torch.where((step - whole).abs() < _SNAP, whole, step).to(sigma.dtype)


@functools.cache
def schedule_of(name: str, steps: int = 1000) -> Schedule:
    """The schedule of a name, made once: its tables are shared by all that use it."""
    return Schedule(name, steps)


def _betas(name: str, steps: int) -> Tensor:
    """Variance of the noise each step adds, `[steps]` float64."""
    if name == "linear":
        first, last = (1000 / steps * beta for beta in _LINEAR)
        return torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")
    if name == "cosine":
        times = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        left = torch.cos((times + _COSINE_SHIFT) / (1 + _COSINE_SHIFT) * math.pi / 2) ** 2
        return (1 - left[1:] / left[:-1]).clamp_max(_COSINE_MOST)
    raise ValueError(f"Schedule: name {name!r} is not known; wanted 'linear' or 'cosine'")


class Transition(NamedTuple):
    """From one step of a chain to the one before it; numbers of `q(x_prev | x, x_0)` and of both fixed variances."""

    step: int  # of the original schedule: the network's time input
    alpha_cumprod: float
    alpha_cumprod_prev: float  # 1 before the first step
    sigma: float
    sigma_prev: float  # 0 before the first step
    denoised_factor: float  # mean = denoised_factor * x_0 + state_factor * x_vp
    state_factor: float
    log_variance_small: float  # of the exact posterior; at the first step, where that is 0, the second step's
    log_variance_large: float  # log beta; at the first step the small one


@dataclass(frozen=True)
class Chain:
    """Some steps of a schedule, with the betas that join them.

    Attributes:
        steps_original: `n` ascending indices into the schedule.
        alphas_cumprod, betas: `[n]` float64.
    """

    steps_original: tuple[int, ...]
    alphas_cumprod: Tensor
    betas: Tensor

    def __len__(self) -> int:
        return len(self.steps_original)

    @property
    def sigmas(self) -> Tensor:
        """Noise levels `[n + 1]` float64, descending to 0, as other samplers take them."""
        levels = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt().flip(0)
        return torch.cat([levels, levels.new_zeros(1)])

    @functools.cached_property
    def transitions(self) -> tuple[Transition, ...]:
        """One per step, ascending, in Python floats: a sampler's loop then waits for no device."""
        betas, now = self.betas.tolist(), self.alphas_cumprod.tolist()
        before = [1.0, *now[:-1]]
        exact = [b * (1 - p) / (1 - a) for b, p, a in zip(betas, before, now, strict=True)]
        floor = exact[1] if len(exact) > 1 else betas[0]  # the first posterior has variance 0
        sigmas = [math.sqrt((1 - a) / a) for a in now]
        return tuple(
            Transition(
                step=self.steps_original[i],
                alpha_cumprod=now[i],
                alpha_cumprod_prev=before[i],
                sigma=sigmas[i],
                sigma_prev=sigmas[i - 1] if i else 0.0,
                denoised_factor=betas[i] * math.sqrt(before[i]) / (1 - now[i]),
                state_factor=(1 - before[i]) * math.sqrt(1 - betas[i]) / (1 - now[i]),
                log_variance_small=math.log(exact[i] if i else floor),
                log_variance_large=math.log(betas[i] if i else floor),
            )
            for i in range(len(betas))
        )


def respaced(schedule: Schedule, respacing: str | int) -> Chain:
    """The chain that visits some of a schedule's steps, chosen as ADM and DiT choose them.

    Args:
        schedule: the one a network was trained with.
        respacing: how many steps, evenly from first to last (`250`); how many in each of equal sections (`10,5`);
            `ddim25` for 25 at a whole stride from 0; an empty string for all.
    Raises:
        ValueError: more steps than there are, no whole stride, or words.
    Source: Nichol & Dhariwal 2021, arXiv:2102.09672; Song et al. 2021, arXiv:2010.02502 (the stride of `ddim`).
    """
    kept = _kept_steps(schedule.steps, str(respacing))
    alphas = schedule.alphas_cumprod[list(kept)]
    betas = 1 - alphas / torch.cat([alphas.new_ones(1), alphas[:-1]])
    return Chain(kept, (1 - betas).cumprod(0), betas)


def _kept_steps(steps: int, respacing: str) -> tuple[int, ...]:
    if respacing.startswith("ddim"):
        count = _count(respacing.removeprefix("ddim"), respacing)
        strides = [s for s in range(1, steps) if len(range(0, steps, s)) == count]
        if not strides:
            raise ValueError(f"respaced: no whole stride gives {count} of {steps} steps ({respacing!r})")
        return tuple(range(0, steps, strides[0]))
    counts = [_count(part, respacing) for part in respacing.split(",")] if respacing else [steps]
    length, longer = divmod(steps, len(counts))  # the first `longer` sections have one step more
    kept: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        size = length + (section < longer)
        if count > size:
            raise ValueError(f"respaced: {respacing!r} requests {count} steps of a section of {size}")
        stride, position = (size - 1) / (count - 1) if count > 1 else 1.0, 0.0
        for _ in range(count):
            kept.append(start + round(position))
            position += stride  # summed, not multiplied: ties round as in the released samplers
        start += size
    return tuple(kept)


def _count(word: str, respacing: str) -> int:
    if not word.strip().isdecimal() or int(word) < 1:
        raise ValueError(
            f"respaced: given {respacing!r}; wanted a number of steps, as '250', 'ddim25' or '10,5'"
        )
    return int(word)
