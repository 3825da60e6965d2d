"""Training examples of images: which image, how much noise and which noise, each a function of its place.

A place is (seed, iteration, position in the global batch). No process, resumed run or gradient accumulation changes
what stands there.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from guidelab.core.losses import lognormal_sigma
from guidelab.train.streams import stream

_GROUP = (
    32  # positions that share one generator of noise: a process draws its own groups, not the whole batch
)
_EPOCHS_KEPT = 2  # a batch may begin in one epoch and end in the next


class Examples(NamedTuple):
    """Clean images `x0 [B, C, H, W]` in [-1, 1], standard normal `noise` like them, `sigma [B]`, `cond [B]` or None."""

    x0: Tensor
    noise: Tensor
    sigma: Tensor
    cond: Tensor | None

    def to(self, device: torch.device) -> "Examples":
        """The same examples on a device."""
        x0, noise, sigma = (part.to(device) for part in self[:3])
        return Examples(x0, noise, sigma, None if self.cond is None else self.cond.to(device))


class ImageLoader:
    """Rows of the global batches of one training.

    Every epoch shows every image once, in an order that (seed, epoch) decides; epochs follow one another without a
    gap, so a batch may span two.

    Args:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`, or None for a net without classes.
        seed: training seed.
        batch: images of the global batch.
        p_mean, p_std: of the logarithm of the noise level.
    Raises:
        ValueError: shapes or types are wrong, or there are no images.
    """

    def __init__(
        self, images: Tensor, labels: Tensor | None, seed: int, batch: int, p_mean: float, p_std: float
    ) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8 or not len(images):
            raise ValueError(
                f"ImageLoader: given images {tuple(images.shape)} {images.dtype}, wanted uint8 [N, C, H, W], N > 0"
            )
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype != torch.int64):
            raise ValueError(
                f"ImageLoader: given labels {tuple(labels.shape)} {labels.dtype} for {len(images)} images, "
                "wanted one int64 each"
            )
        self.images, self.labels = images, labels
        self.seed, self.batch = seed, batch
        self._p_mean, self._p_std = p_mean, p_std
        self._orders: dict[int, Tensor] = {}

    def indices(self, iteration: int, rows: range) -> Tensor:
        """Which images stand at `rows` of an iteration's batch, int64 `[len(rows)]`; iterations count from 0."""
        places = iteration * self.batch + torch.arange(rows.start, rows.stop)
        epochs, within = places // len(self.images), places % len(self.images)
        found = torch.empty_like(places)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            found[here] = self._order(epoch)[within[here]]
        return found

    def examples(self, iteration: int, rows: range) -> Examples:
        """What stands at `rows` of an iteration's batch."""
        index = self.indices(iteration, rows)
        normals = torch.randn(self.batch, generator=stream("image sigma", self.seed, iteration))
        sigma = lognormal_sigma(normals[rows.start : rows.stop], self._p_mean, self._p_std)
        x0 = self.images[index].to(torch.float32) / 127.5 - 1
        cond = None if self.labels is None else self.labels[index]
        return Examples(x0, self._noise(iteration, rows), sigma, cond)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            while len(self._orders) >= _EPOCHS_KEPT:
                del self._orders[min(self._orders)]
            generator = stream("image order", self.seed, epoch)
            self._orders[epoch] = torch.randperm(len(self.images), generator=generator)
        return self._orders[epoch]

    def _noise(self, iteration: int, rows: range) -> Tensor:
        groups = -(-self.batch // _GROUP)
        first, last = rows.start // _GROUP, -(-rows.stop // _GROUP)
        event = self.images.shape[1:]
        drawn = [
            torch.randn(
                _GROUP, *event, generator=stream("image noise", self.seed, iteration * groups + group)
            )
            for group in range(first, last)
        ]
        begin = rows.start - first * _GROUP
        return torch.cat(drawn)[begin : begin + len(rows)]
