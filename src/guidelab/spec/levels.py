"""Noise levels of a sampler's steps as Python floats, so that params.yaml is read without torch.

The same formulas as `core.schedules.edm_sigmas` and `core.chain`, which a test compares.
"""

import math
from collections.abc import Sequence
from functools import cache

_TRAINED = 1000  # steps of the discrete chain that ADM and DiT were trained on
_NEAR = 0.02  # relative distance beyond which a bound is no rounded level
_DIGITS = (2, 3)  # significant digits with which papers print bounds; two decimals are as many from 0.1 on


@cache
def edm_levels(steps: int, sigma_min: float, sigma_max: float, rho: float) -> tuple[float, ...]:
    """`steps` descending levels. Source: Karras et al. 2022, arXiv:2206.00364, eq. 5."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return tuple((high + i / (steps - 1) * (low - high)) ** rho for i in range(steps))


@cache
def chain_levels(steps: int, schedule: str) -> tuple[float, ...]:
    """Descending levels of a respaced chain. Source: Nichol & Dhariwal 2021, arXiv:2102.09672."""
    kept, total, levels = set(_kept(steps)), 1.0, []
    for step in range(_TRAINED):
        total *= 1 - _beta(step, schedule)
        if step in kept:
            levels.append(math.sqrt((1 - total) / total))
    return tuple(reversed(levels))


def _kept(steps: int) -> list[int]:
    stride, position, kept = (_TRAINED - 1) / (steps - 1), 0.0, []
    for _ in range(steps):
        kept.append(round(position))
        position += stride
    return kept


def _beta(step: int, schedule: str) -> float:
    if schedule == "linear":
        return 1e-4 + (0.02 - 1e-4) * step / (_TRAINED - 1)
    left, right = (math.cos((t / _TRAINED + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (step, step + 1))
    return min(1 - right / left, 0.999)


def acting(levels: Sequence[float], low: float, high: float | None) -> list[int]:
    """The steps that start in `(low, high]`."""
    return [i for i, sigma in enumerate(levels) if low < sigma <= (math.inf if high is None else high)]


def rounded(levels: Sequence[float], bound: float) -> int | None:
    """The step whose level is `bound` when printed with two decimals, or with two or three digits; None where none is."""
    for i, sigma in enumerate(levels):
        printed = [f"{sigma:.{digits}g}" for digits in _DIGITS] + [f"{sigma:.2f}"] * (sigma >= 0.1)
        if 0 < abs(bound / sigma - 1) < _NEAR and any(float(text) == bound for text in printed):
            return i
    return None
