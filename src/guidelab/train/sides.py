"""Training data of discriminators (two sides) and classifiers: points, images or latents."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.core.denoiser import per_sample
from guidelab.errors import UserError
from guidelab.train.draws import Generators
from guidelab.train.noisy import NoisyBatch, levels

if TYPE_CHECKING:
    from guidelab.train.loader import Source

CHUNK = 512  # held-out examples at a time
_VALUES = 1 << 23  # numbers in a chunk, at most: 32 MiB
_STEP = 16  # a chunk is a multiple: torch fills vectors of normal numbers in blocks of 16, so pieces equal the whole
_FEWEST = 10  # examples in the smallest part


@dataclass(frozen=True)
class Side:
    """Some points, images or latents of a source, read when they are used.

    Attributes:
        source: float32 points `[n, D]`, uint8 images `[n, C, H, W]`, or means and deviations of latents `[n, 2C, h, w]`, by index.
        labels: int64, one for each of the source; None for networks without classes.
        index: which of the source they are, int64 `[N]`.
        standardise: from latents to the nets' input; None for points and images.
    """

    source: "Source"
    labels: Tensor | None
    index: Tensor
    standardise: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def all(
        cls, source: "Source", labels: Tensor | None, standardise: Callable[[Tensor], Tensor] | None = None
    ) -> "Side":
        """Everything a source holds."""
        return cls(source, labels, torch.arange(len(source)), standardise)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Tensor | slice) -> "Side":
        return replace(self, index=self.index[index])

    def noisy(self, config: Mapping[str, Any], generator: torch.Generator) -> NoisyBatch:
        """Each at a noise level of its own; latents are drawn anew, first."""
        clean = self.clean(generator)
        return self._at(clean, levels(len(clean), config, generator), config, generator)

    def held_out(
        self, config: Mapping[str, Any], generators: Generators, repeats: int
    ) -> Iterator[NoisyBatch]:
        """Every example at `repeats` noise levels of its own, in chunks.

        Of images, the numbers do not depend on the size of the chunks.

        Args:
            config: `sigma_min`, `sigma_max`.
            generators: of noise, and of latents.
            repeats: noise levels of each example.
        """
        order = torch.arange(len(self)).repeat(repeats)
        generator, latents = generators
        sigma = levels(len(order), config, generator)
        for rows in torch.arange(len(order)).split(_chunk(self.source)):  # type: ignore[no-untyped-call]
            part = self[order[rows]]
            yield part._at(part.clean(latents), sigma[rows], config, generator)

    def clean(self, generator: torch.Generator) -> Tensor:
        """What nets see of each, without noise, `[N, *event]` float32; of latents a draw."""
        found = self.source[self.index]
        if self.standardise is None:
            return found if found.is_floating_point() else found.to(torch.float32) / 127.5 - 1
        mean, std = found.chunk(2, dim=1)
        return self.standardise(mean + std * torch.randn(mean.shape, generator=generator))

    def _at(
        self, clean: Tensor, sigma: Tensor, config: Mapping[str, Any], generator: torch.Generator
    ) -> NoisyBatch:
        x = clean
        if config["sigma_max"] > 0:
            x = clean + per_sample(sigma, clean) * torch.randn(clean.shape, generator=generator)
        return NoisyBatch(x, sigma, None if self.labels is None else self.labels[self.index])


def _chunk(source: "Source") -> int:
    """How many examples of a source to look at together."""
    size = source[torch.zeros(1, dtype=torch.int64)].numel()
    return max(min(CHUNK, _VALUES // size) // _STEP * _STEP, _STEP)


@dataclass(frozen=True)
class Split:
    """One side's parts; no example is in two of them."""

    train: Side
    validation: Side
    test: Side

    @property
    def sizes(self) -> dict[str, int]:
        """`n_train`, `n_validation`, `n_test`."""
        return {f"n_{part}": len(getattr(self, part)) for part in ("train", "validation", "test")}


def split(side: Side, config: Mapping[str, Any], order: Tensor, name: str) -> Split:
    """Cut a side by its shares `validation` and `test`.

    Args:
        side: all its examples. name: of the side, for errors.
        config: the shares.
        order: a permutation `[N]`, which decides which example is in which part.
    Raises:
        UserError: a part would have fewer than ten examples.
    """
    n = len(side)
    held, tested = round(config["validation"] * n), round(config["test"] * n)
    if min(held, tested, n - held - tested) < _FEWEST:
        raise UserError(
            f"{name}: {n} examples leave {n - held - tested} to train, {held} to validate and {tested} to test; "
            f"wanted at least {_FEWEST} each. Give it more examples: a larger fold, or more seeds of samples."
        )
    return Split(side[order[held + tested :]], side[order[:held]], side[order[held : held + tested]])
