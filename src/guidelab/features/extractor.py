"""The protocol of feature extractors, and preprocessing steps they share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import sha256


@dataclass(frozen=True)
class Extracted:
    """Features [B, F] float32 of a batch and, when the extractor classifies, its logits [B, K] float32."""

    features: Tensor
    logits: Tensor | None = None


class Extractor(Protocol):
    """Features of images, a pure function of each image: batches of any size give the same rows.

    Attributes:
        name: the registered name.
        sha256: of the weights' file.
    """

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    @property
    def sha256(self) -> str:
        """Hex sha256 of the weights' file."""
        ...

    def __call__(self, images: Tensor) -> Extracted:
        """Features of images [B, C, H, W] uint8, C 1 or 3."""
        ...


def check_images(images: Tensor, where: str) -> Tensor:
    """The images, if they are uint8 [B, C, H, W] with one or three channels.

    Raises:
        ValueError: another type or shape. Floats are refused: whether they lie in [0, 1] or [-1, 1] is a guess.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{where}: {images.dtype} {tuple(images.shape)}, wanted uint8 [B, C, H, W] with 1 or 3 channels"
        )
    return images


def as_rgb(images: Tensor) -> Tensor:
    """Gray images repeated on three channels; RGB as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def as_net_input(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], x / 127.5 - 1: what our own nets are trained on."""
    return images.to(torch.float32) / 127.5 - 1


def checked_weights(path: str | Path, pinned: str | None, where: str) -> str:
    """The sha256 of a weights' file, after comparing it with the pinned one where there is one.

    Raises:
        UserError: no such file, or another file than the pinned one.
    """
    if not Path(path).is_file():
        raise UserError(f"{where}: {path}: no such file, wanted the extractor's weights")
    found = sha256(path)
    if pinned is not None and found != pinned:
        raise UserError(
            f"{where}: {path}: sha256 {found}, wanted {pinned}. The file is damaged or another release: fetch it "
            "again, or state the sha256 of the file you mean."
        )
    return found
