"""Protocols of samplers, codecs and start distributions; only type checkers import this module."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from guidelab.assemble import Assembled
from guidelab.core.noise import SeededNoise

Callback = Callable[[int, float, Tensor], None]
# (training seed, first and last sample seed, called with the size of each finished batch) -> what is stored, labels
Draw = Callable[[int, int, int, Callable[[int], Any]], tuple[Tensor, Tensor | None]]


class Codec(Protocol):
    """How samples are stored.

    Attributes:
        finite: samples that are not finite cannot be stored.
    """

    finite: bool

    def decode(self, x: Tensor) -> Tensor:
        """From samples `[B, *event]` of a net to what is stored of them `[B, ...]`, on the same device."""
        ...

    def save(self, job: Mapping[str, Any], output: Path, draw: Draw) -> None:
        """Draw all blocks of a job and store them."""
        ...


class Start(Protocol):
    """Draws the start of the sampler, `[B, *event]` at the schedule's highest noise level, from per-sample noise."""

    def __call__(self, noise: SeededNoise, sigma_max: float) -> Tensor:
        """The start of each of the noise's samples."""
        ...


class Sampler(Protocol):
    """One sampler with its options, for the nets of one training seed."""

    def scaled(self, noise: Tensor) -> Tensor:
        """The start `[B, *event]` made from standard normal noise."""
        ...

    def __call__(
        self,
        built: Assembled,
        x: Tensor,
        cond: Tensor | None,
        *,
        seeds: Tensor,
        noise: SeededNoise,
        callback: Callback | None,
    ) -> Tensor:
        """Samples `[B, *event]`.

        Args:
            built: the guided denoiser.
            x: the start, and `cond` the class `[B]` or None; on the device.
            seeds: `[B]` int64 of the samples, and `noise` their generators, as they are after the start; on the CPU.
            callback: called with `(step, sigma, x)` at the start and after every step.
        """
        ...
