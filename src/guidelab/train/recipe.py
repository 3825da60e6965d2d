"""Settings of a training that follow from its loss: Adam's betas, gradient scale, precision, label dropout."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch

_BETAS = {"edm2": (0.9, 0.99), "edm": (0.9, 0.999), "vp": (0.9, 0.999), "exact_score": (0.9, 0.99)}
_SCALE = {"float16": 128.0}  # of the gradients inside the net: float16 has no numbers below 6e-8


@dataclass(frozen=True)
class Recipe:
    """Settings that follow from a net's loss.

    Attributes:
        loss: `edm`, `edm2`, `vp` or `exact_score`.
        precision: `float32`, or `bfloat16` or `float16` for the arithmetic of the net on CUDA.
        label_dropout: share of the examples whose class is dropped.
    """

    loss: str
    precision: str = "float32"
    label_dropout: float = 0.0

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's, as published with the loss. Source: arXiv:2206.00364; arXiv:2312.02696, appendix B, also for 2D."""
        return _BETAS[self.loss]

    def scale(self, device: torch.device) -> float:
        """What the loss is multiplied with on a device, a power of two."""
        return _SCALE.get(self.precision, 1.0) if device.type == "cuda" else 1.0


class Batch(Protocol):
    """The tensors of one pass, in the order of the objective's arguments."""

    def __iter__(self) -> Iterator[Any]:
        """The tensors."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...


class Examples(Protocol):
    """Rows of the global batches of one training.

    Attributes:
        seed: the training seed.
    """

    seed: int

    def examples(self, iteration: int, rows: range) -> Batch:
        """Some rows of a batch: a function of seed, iteration and row alone."""
        ...


class Objective(Protocol):
    """A module that gives the loss of each example of a batch, `[B]`.

    Attributes:
        net: the net in training. recipe: which loss, in which precision.
    """

    net: Any
    recipe: Recipe

    def __call__(self, *batch: Any) -> Any:
        """Losses `[B]`, a tensor."""
        ...
