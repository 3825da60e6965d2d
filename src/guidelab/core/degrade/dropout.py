"""Dropout at sampling time, with a separate mask for each sample."""

import copy
from typing import Any

import torch
from torch import Tensor

from guidelab.core.degrade.hashed import hashed_uniform, step_seeds


def dropout_mask(seeds: Tensor, sigma: Tensor, shape: tuple[int, ...], p: float, salt: int) -> Tensor:
    """Dropout factors `[B, *shape]`: 0 with probability `p`, else `1 / (1 - p)`.

    Raises:
        ValueError: `p` outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout_mask: given p={p}, wanted 0 <= p < 1")
    return (hashed_uniform(seeds, sigma, shape, salt) >= p).to(torch.float32) / (1 - p)


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
