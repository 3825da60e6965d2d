"""Random numbers of a discriminator's training: a stream for every position, or one sequence."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from guidelab.train.streams import stream

T = TypeVar("T")
Generators = tuple[torch.Generator, torch.Generator]  # of noise, and of latents

_PARTS = ("validation", "test")


class Draws(Protocol):
    """The random numbers of one training.

    Attributes:
        seed: of the training.
        workers: threads that may read batches; None for as many as there are cores.
    """

    seed: int
    workers: int | None

    def order(self, side: int, n: int) -> Tensor:
        """A permutation `[n]` that cuts one side (0 real, 1 generated) into its parts."""
        ...

    def weights(self) -> torch.Generator:
        """The generator of the first weights."""
        ...

    def batch(self, iteration: int, draw: Callable[[torch.Generator], T]) -> T:
        """Call `draw` with the generator of an iteration; the same result after a resume."""
        ...

    def held_out(self, part: str, side: int) -> Generators:
        """New generators of a held-out part of one side."""
        ...


class Streams:
    """A separate stream for every position, so any number of threads may read."""

    workers: int | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def order(self, side: int, n: int) -> Tensor:
        """See `Draws`."""
        name = ("real", "generated")[side]
        return torch.randperm(n, generator=stream(f"discriminator split {name}", self.seed))

    def weights(self) -> torch.Generator:
        """See `Draws`."""
        return stream("image discriminator weights", self.seed)

    def batch(self, iteration: int, draw: Callable[[torch.Generator], T]) -> T:
        """See `Draws`."""
        return draw(stream("discriminator batch", self.seed, iteration))

    def held_out(self, part: str, side: int) -> Generators:
        """See `Draws`."""
        purpose = f"discriminator {part}"
        return stream(purpose, self.seed, side), stream(f"{purpose} latents", self.seed, side)


class InSequence:
    """One generator gives parts, weights and batches in this order, as in the published results on points.

    A training that resumes draws the batches before its iteration again and drops them: of points this takes less than
    a second.

    Args:
        seed: of the generator.
        sizes: examples of the real and of the generated side.
    """

    workers: int | None = 1  # batches are drawn in sequence

    def __init__(self, seed: int, sizes: Sequence[int]) -> None:
        self.seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self._orders = [torch.randperm(n, generator=self._generator) for n in sizes]
        self._next = 0

    def order(self, side: int, n: int) -> Tensor:
        """See `Draws`."""
        return self._orders[side][:n]

    def weights(self) -> torch.Generator:
        """See `Draws`; to be used before the first batch."""
        return self._generator

    def batch(self, iteration: int, draw: Callable[[torch.Generator], T]) -> T:
        """See `Draws`."""
        while self._next < iteration:
            draw(self._generator)
            self._next += 1
        self._next += 1
        return draw(self._generator)

    def held_out(self, part: str, side: int) -> Generators:
        """See `Draws`; both sides have the same noise."""
        generator = torch.Generator().manual_seed(self.seed + 1 + _PARTS.index(part))
        return generator, generator
