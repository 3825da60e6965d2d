"""Images or latents on disk as the sides a discriminator tells apart, and as a classifier's examples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.train.large.loader import Source
from guidelab.train.noisy import Images, Noisy, levels, split
from guidelab.train.streams import stream

CHUNK = 128  # held-out images read at a time
_CHUNKS = 1 << 20  # more than there are of one side


@dataclass(frozen=True)
class Side:
    """Some images or latents of a source, read when they are asked for.

    Attributes:
        source: uint8 images `[n, C, H, W]`, or means and deviations of latents `[n, 2C, h, w]`, by index.
        labels: int64, one for each of the source; None for those not told.
        index: which of the source they are, int64 `[N]`.
        standardise: from latents to what nets see; None for images.
    """

    source: Source
    labels: Tensor | None
    index: Tensor
    standardise: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def all(
        cls, source: Source, labels: Tensor | None, standardise: Callable[[Tensor], Tensor] | None = None
    ) -> "Side":
        """Everything a source holds."""
        return cls(source, labels, torch.arange(len(source)), standardise)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Tensor | slice) -> "Side":
        return replace(self, index=self.index[index])

    def noisy(self, config: Mapping[str, Any], generator: torch.Generator) -> Noisy:
        """Each at a noise level of its own; latents are drawn anew."""
        found = self.source[self.index]
        if self.standardise is None:
            clean = found.to(torch.float32) / 127.5 - 1
        else:
            mean, std = found.chunk(2, dim=1)
            clean = self.standardise(mean + std * torch.randn(mean.shape, generator=generator))
        sigma = levels(len(clean), config, generator)
        if config["sigma_max"] > 0:
            clean = clean + per_sample(sigma, clean) * torch.randn(clean.shape, generator=generator)
        return Noisy(clean, sigma, None if self.labels is None else self.labels[self.index])


@dataclass(frozen=True)
class Parts:
    """One side's parts; nothing is in two of them."""

    train: Side
    validation: Side
    test: Side
    sizes: dict[str, int]


def parts_of(side: Side, config: Mapping[str, Any], generator: torch.Generator, name: str) -> Parts:
    """Cut a side by the shares `validation` and `test`.

    Raises:
        UserError: a part would have fewer than ten.
    """
    found = split(
        cast(Images, side), config, generator, name
    )  # all that it asks for are a length and indexing
    train, validation, test = (cast(Side, part) for part in (found.train, found.validation, found.test))
    return Parts(train, validation, test, found.sizes)


def chunks(
    side: Side, config: Mapping[str, Any], purpose: str, seed: int, number: int, repeats: int
) -> list[Callable[[], Noisy]]:
    """Every image at `repeats` noise levels of its own, in pieces that are the same whenever they are made.

    Args:
        purpose, seed, number: name the random numbers; `number` tells sides apart.
    """

    def maker(part: Tensor, at: int) -> Callable[[], Noisy]:
        return lambda: side[part].noisy(config, stream(purpose, seed, number * _CHUNKS + at))

    pieces = torch.arange(len(side)).split(CHUNK) * repeats  # type: ignore[no-untyped-call]
    return [maker(part, at) for at, part in enumerate(pieces)]
