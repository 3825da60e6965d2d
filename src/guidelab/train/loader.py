"""Lazy reader of training examples; each is a function of its position in the training alone.

A place is (seed, iteration, position in the global batch): neither the number of threads or processes, nor gradient
accumulation, nor a resumed run changes the example at a position.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from guidelab.core.losses import lognormal_sigma
from guidelab.train.augment import augment, choices
from guidelab.train.streams import stream

_GROUP = (
    32  # positions that share one generator of noise: a process draws its own groups, not the whole batch
)
_EPOCHS_KEPT = 2  # a batch may begin in one epoch and end in the next
_KEPT_BYTES = 1 << 30  # decoded images of data smaller than this stay in memory


class Source(Protocol):
    """Images or latents on disk: uint8 `[n, C, H, W]`, or float32 `[n, 2 C, h, w]` (means, then stds), by index."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: Tensor) -> Tensor:
        """Those at `index [n]`."""
        ...


class Batch(NamedTuple):
    """What one pass trains on.

    Attributes:
        x0: clean, in the net's units, `[B, C, H, W]`. noise: standard normal, like it.
        level: noise levels `[B]`, or discrete steps `[B]` int64.
        cond: labels `[B]` or None.
        augment: EDM's augmentation labels `[B, A]` or None.
    """

    x0: Tensor
    noise: Tensor
    level: Tensor
    cond: Tensor | None
    augment: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; the copy runs while the device computes."""
        if device.type == "cpu":
            return self
        parts = (p if p is None else p.pin_memory().to(device, non_blocking=True) for p in self)
        return Batch(*parts)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Draws:
    """How examples are drawn.

    Attributes:
        p_mean, p_std: of the logarithm of the noise level.
        steps: length of the discrete chain, of which steps are drawn uniformly; None for noise levels.
        label_dropout: share of the labels replaced by `null`.
        null: the label of the null class.
        flip: mirror half of the images.
        augment: EDM's augmentation, which mirrors too.
    """

    p_mean: float
    p_std: float
    steps: int | None = None
    label_dropout: float = 0.0
    null: int = 0
    flip: bool = False
    augment: bool = False


class Kept:
    """A source of images that keeps what it has decoded, if all of it is small.

    Args:
        source: gives uint8 images. shape: `(C, H, W)` of one of them.
    """

    def __init__(self, source: Source, shape: Sequence[int]) -> None:
        self._source = source
        size = len(source) * torch.Size(shape).numel()
        self._images = torch.empty(len(source), *shape, dtype=torch.uint8) if size <= _KEPT_BYTES else None
        self._known = torch.zeros(len(source), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Tensor) -> Tensor:
        if self._images is None:
            return self._source[index]
        fresh = torch.unique(index[~self._known[index]])
        if len(fresh):  # two threads may decode the same image: both write the same
            self._images[fresh] = self._source[fresh]
            self._known[fresh] = True
        return self._images[index]


class Loader:
    """Rows of the global batches of one training.

    Every epoch shows every example once, in an order that (seed, epoch) decides; epochs follow one another without a
    gap, so a batch may span two.

    Args:
        source: images or latents.
        shape: `(C, H, W)` of what the net sees.
        labels: int64 `[N]`, or None for a net without classes.
        seed: training seed. batch: examples of the global batch.
        draws: how they are drawn.
        standardise: from latents to the net's input; None for images.
    Raises:
        ValueError: no examples, or another number of labels.
    Source: Karras et al. 2024, arXiv:2312.02696 (latents are drawn anew each time).
    """

    def __init__(
        self,
        source: Source,
        shape: Sequence[int],
        labels: Tensor | None,
        seed: int,
        batch: int,
        draws: Draws,
        standardise: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if not len(source) or (labels is not None and labels.shape != (len(source),)):
            given = "no" if labels is None else tuple(labels.shape)
            raise ValueError(f"Loader: {len(source)} examples with {given} labels, wanted one label each")
        self.seed, self.batch, self.draws = seed, batch, draws
        self._source, self._event, self._standardise = source, tuple(shape), standardise
        self._labels = labels
        self._orders: dict[int, Tensor] = {}
        self._lock = threading.Lock()  # guards the orders: several threads read ahead

    def indices(self, iteration: int, rows: range) -> Tensor:
        """Indices of the examples at `rows` of an iteration's batch, int64 `[len(rows)]`; iterations count from 0."""
        count = len(self._source)
        places = iteration * self.batch + torch.arange(rows.start, rows.stop)
        epochs, within = places // count, places % count
        found = torch.empty_like(places)
        with self._lock:
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
                here = epochs == epoch
                found[here] = self._order(epoch)[within[here]]
        return found

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            while len(self._orders) >= _EPOCHS_KEPT:
                del self._orders[min(self._orders)]
            generator = stream("image order", self.seed, epoch)
            self._orders[epoch] = torch.randperm(len(self._source), generator=generator)
        return self._orders[epoch]

    def examples(self, iteration: int, rows: range) -> Batch:
        """The examples at `rows` of an iteration's batch; safe from any number of threads."""
        index = self.indices(iteration, rows)
        found = self._source[index]
        if self._standardise is None:
            x0 = found.to(torch.float32) / 127.5 - 1
        else:
            mean, std = found.chunk(2, dim=1)
            x0 = self._standardise(mean + std * self._normals("latent draw", iteration, rows))
        x0, augmented = self._changed(x0, iteration, rows)
        level, cond = self._level(iteration, rows), self._cond(index, iteration, rows)
        return Batch(x0, self._normals("image noise", iteration, rows), level, cond, augmented)

    def _level(self, iteration: int, rows: range) -> Tensor:
        draws = self.draws
        if draws.steps is not None:
            source = stream("image steps", self.seed, iteration)
            return torch.randint(draws.steps, (self.batch,), generator=source)[rows.start : rows.stop]
        normals = torch.randn(self.batch, generator=stream("image sigma", self.seed, iteration))
        return lognormal_sigma(normals[rows.start : rows.stop], draws.p_mean, draws.p_std)

    def _cond(self, index: Tensor, iteration: int, rows: range) -> Tensor | None:
        if self._labels is None:
            return None
        cond = self._labels[index]
        if not self.draws.label_dropout:
            return cond
        dropped = self._uniform("label dropout", iteration, rows) < self.draws.label_dropout
        return torch.where(dropped, self.draws.null, cond)

    def _changed(self, x0: Tensor, iteration: int, rows: range) -> tuple[Tensor, Tensor | None]:
        """Images mirrored or augmented, and for EDM's augmentation what was done to each."""
        if self.draws.augment:
            chosen = choices(self.batch, stream("image augment", self.seed, iteration))
            return augment(x0, chosen[rows.start : rows.stop])
        if self.draws.flip:
            across = self._uniform("image flip", iteration, rows) < 0.5
            x0 = torch.where(across[:, None, None, None], x0.flip(3), x0)
        return x0, None

    def _uniform(self, purpose: str, iteration: int, rows: range) -> Tensor:
        drawn = torch.rand(self.batch, generator=stream(purpose, self.seed, iteration))
        return drawn[rows.start : rows.stop]

    def _normals(self, purpose: str, iteration: int, rows: range) -> Tensor:
        """Standard normal `[len(rows), C, H, W]`; groups of positions have generators of their own."""
        groups = -(-self.batch // _GROUP)
        first, last = rows.start // _GROUP, -(-rows.stop // _GROUP)
        drawn = [
            torch.randn(
                _GROUP, *self._event, generator=stream(purpose, self.seed, iteration * groups + group)
            )
            for group in range(first, last)
        ]
        begin = rows.start - first * _GROUP
        return torch.cat(drawn)[begin : begin + len(rows)]
