"""Random numbers that are a function of (sample seed, step, sigma, salt), without a state."""

import struct

import torch
from torch import Tensor

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
