"""Degradations at sampling time. Their randomness is a function of (sample seed, step, sigma, salt), without a state.

A sample therefore depends on its own seed alone, whatever the batch, and a degraded denoiser stays a function:
two evaluations at the same point of the same step give the same answer. The step is part of the key because Heun's
second evaluation has the noise level of the next step's first one: with equal masks the errors of both slopes would
add up instead of averaging out, at up to twice the variance of independent draws.
"""

import copy
import struct
from typing import Any

import torch
from torch import Tensor

from guidelab.core.denoiser import Denoiser, at_step, per_sample

# splitmix64's constants as signed 64-bit integers. Source: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_A = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_B = 0x94D049BB133111EB - (1 << 64)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of int64 (torch's own repeats the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _splitmix64(bits: Tensor) -> Tensor:
    """One splitmix64 output per int64 state; multiplication wraps modulo 2^64."""
    bits = bits + _GOLDEN
    bits = (bits ^ _shift(bits, 30)) * _MIX_A
    bits = (bits ^ _shift(bits, 27)) * _MIX_B
    return bits ^ _shift(bits, 31)


def hashed_uniform(seeds: Tensor, sigma: Tensor, shape: tuple[int, ...], salt: int) -> Tensor:
    """Uniform numbers in the open interval (0, 1), a function of each sample's seed and sigma, and the salt.

    Args:
        seeds: sample seeds `[B]` int64.
        sigma: noise levels `[B]`; used in float32, so the precision of the sampler changes nothing.
        shape: shape of one sample's numbers.
        salt: distinguishes independent uses (layers, terms).
    Returns:
        `[B, *shape]` float32 on the device of `seeds`, multiples of 2^-24 (odd ones: never 0, never 1).
    """
    level = sigma.to(torch.float32).contiguous().view(torch.int32).to(seeds.device, torch.int64)
    salted = _splitmix64(_splitmix64(seeds) ^ level)  # [B]
    key = _splitmix64(salted + salt * 0x2545F4914F6CDD1D % (1 << 63))
    count = int(torch.Size(shape).numel())
    index = torch.arange(count, dtype=torch.int64, device=seeds.device)
    bits = _splitmix64(key[:, None] + index * _GOLDEN)  # [B, count]
    return ((_shift(bits, 41).to(torch.float32) + 0.5) * 2.0**-23).reshape(-1, *shape)


def hashed_normal(seeds: Tensor, sigma: Tensor, shape: tuple[int, ...], salt: int) -> Tensor:
    """Standard-normal numbers `[B, *shape]` float32 from `hashed_uniform` by the inverse CDF (|n| < 5.3)."""
    normal: Tensor = torch.special.ndtri(hashed_uniform(seeds, sigma, shape, salt))
    return normal


def dropout_mask(seeds: Tensor, sigma: Tensor, shape: tuple[int, ...], p: float, salt: int) -> Tensor:
    """Dropout factors `[B, *shape]`: 0 with probability `p`, else `1 / (1 - p)`.

    Raises:
        ValueError: `p` outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout_mask: given p={p}, wanted 0 <= p < 1")
    return (hashed_uniform(seeds, sigma, shape, salt) >= p).to(torch.float32) / (1 - p)


def step_seeds(seeds: Tensor, step: float | None) -> Tensor:
    """Seeds `[B]` int64 of one sampler step: those of the samples, with the bits of the step's sigma above bit 32.

    Args:
        seeds: sample seeds `[B]` int64, below 2^32.
        step: noise level the step starts from; None outside a sampler.
    """
    if step is None:
        return seeds
    (bits,) = struct.unpack("<I", struct.pack("<f", step))
    keyed: Tensor = seeds + (bits << 32)
    return keyed


class Dropout:
    """A net with dropout masks of its own, one for each sample, step, noise level and layer; see `dropout`."""

    def __init__(self, net: Any, seeds: Tensor, p: float, salt: int, step: float | None = None) -> None:
        self.net, self.seeds, self.p, self.salt = net, seeds, p, salt
        self._keyed = step_seeds(seeds, step)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Denoised `[B, *event]` of the net with its masks."""
        self.net.dropout = self._mask  # the steps share one net, which keeps what it computed of its weights
        found: Tensor = self.net(x, sigma, cond)
        return found

    def _mask(self, layer: int, sigma: Tensor, shape: tuple[int, ...]) -> Tensor:
        return dropout_mask(self._keyed, sigma, shape[1:], self.p, salt=1000 * self.salt + layer)

    def at_step(self, sigma: float) -> "Dropout":
        """The same with the masks of the step that starts at `sigma`."""
        return Dropout(self.net, self.seeds, self.p, self.salt, sigma)


class InputNoise:
    """A denoiser whose input is noisier than its argument; see `input_noise`."""

    def __init__(
        self, predict: Denoiser, seeds: Tensor, relative: float, salt: int, step: float | None = None
    ) -> None:
        self.predict = predict
        self.seeds = seeds
        self.relative = relative
        self.salt = salt
        self._keyed = step_seeds(seeds, step)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Posterior mean `[B, *event]` of `predict` at the raised noise level."""
        raised = sigma * (1 + self.relative)
        extra = (raised**2 - sigma**2).sqrt()
        noise = hashed_normal(self._keyed, sigma, tuple(x.shape[1:]), self.salt).to(x)
        return self.predict(x + per_sample(extra, x) * noise, raised, cond)

    def at_step(self, sigma: float) -> "InputNoise":
        """The same with the noise of the step that starts at `sigma`."""
        return InputNoise(at_step(self.predict, sigma), self.seeds, self.relative, self.salt, sigma)


def dropout(net: Any, seeds: Tensor, p: float, salt: int) -> Dropout:
    """Degrade a net by dropout at sampling time.

    Args:
        net: a denoiser with an attribute `dropout`, a function of (layer, sigma [B], shape) to factors `shape`.
        seeds: seeds `[B]` int64 of the samples it will be called with, in their order.
        p: probability of a zero.
        salt: distinguishes independent degradations.
    Raises:
        ValueError: `p` outside [0, 1), when the net is called.
    """
    return Dropout(copy.copy(net), seeds, p, salt)  # the copy shares its parameters


def input_noise(predict: Denoiser, seeds: Tensor, relative: float, salt: int) -> InputNoise:
    """Degrade a denoiser by raising its input's noise: `D(x + sqrt(s'^2 - s^2) n, s')` with `s' = (1 + relative) s`.

    Args:
        predict: the denoiser.
        seeds: seeds `[B]` int64 of the samples it will be called with, in their order.
        relative: by how much the noise level is raised (0.1 for 10 %).
        salt: distinguishes independent degradations.
    Raises:
        ValueError: `relative` is negative.
    Source: Karras et al. 2024, arXiv:2406.02507, section 4.
    """
    if relative < 0:
        raise ValueError(f"input_noise: given relative={relative}, wanted 0 or more")
    return InputNoise(predict, seeds, relative, salt)
