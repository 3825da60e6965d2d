"""From what nets make to what is stored: points as float32, pixels as bytes. Latents are in `latents`."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Codec(Protocol):
    """How samples are stored.

    Attributes:
        finite: samples that are not finite cannot be stored.
    """

    finite: bool

    def decode(self, x: Tensor) -> Tensor:
        """From samples `[B, *event]` of a net to what is stored of them `[B, ...]`, on the same device."""
        ...


class Points:
    """Points `[B, *event]`, as they are, in float32."""

    finite = False  # their metrics count those that are not

    def __init__(self, job: Mapping[str, Any] | None = None, where: torch.device | None = None) -> None:
        pass

    def decode(self, x: Tensor) -> Tensor:
        """See `Codec`."""
        return x.to(torch.float32)


class Pixels:
    """Images `[B, C, H, W]` in [-1, 1] as bytes, by the rule named by a job's `uint8`: edm or truncate."""

    finite = True  # as bytes they would be black images, and counted

    def __init__(self, job: Mapping[str, Any], where: torch.device | None = None) -> None:
        self.decode = rounded if job["uint8"] == "edm" else truncated


def rounded(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes: `127.5 x + 128`, clipped, as EDM does (its rounding, not truncation of x * 255)."""
    return (x * 127.5 + 128).clip(0, 255).to(torch.uint8)


def truncated(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes the way ADM makes them: `(x + 1) * 127.5` without rounding."""
    return ((x + 1) * 127.5).clip(0, 255).to(torch.uint8)
