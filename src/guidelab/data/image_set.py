"""Images in memory with labels and names: the type that image datasets return and writers accept."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images of one square shape, checked on construction.

    Attributes:
        images: `[N, C, R, R]` uint8, 0 to 255; N at least 1.
        labels: `[N]` int64, class indices from 0; None for a dataset without classes.
        names: N different names, what the images were called where they come from.
    Raises:
        ValueError: a wrong dtype or shape, other counts, a negative label, or a name used twice.
    """

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3] or 0 in shape:
            raise ValueError(f"ImageSet: given images {self.images.dtype} {shape}, wanted uint8 [N, C, R, R]")
        if len(self.names) != shape[0] or len(set(self.names)) != shape[0]:
            raise ValueError(
                f"ImageSet: given {len(self.names)} names ({len(set(self.names))} different ones), wanted {shape[0]}"
            )
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != shape[:1]:
            given = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(f"ImageSet: given labels {given}, wanted int64 [{shape[0]}]")
        if int(self.labels.min()) < 0:
            raise ValueError(f"ImageSet: given label {int(self.labels.min())}, wanted class indices from 0")

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, threads: int) -> Iterator[NDArray[np.uint8]]:
        """Every image `[C, R, R]`, in order; `threads` is not used, as nothing has to be decoded."""
        yield from self.images.numpy()

    @property
    def resolution_px(self) -> int:
        """Height and width of the images."""
        return int(self.images.shape[-1])

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return int(self.images.shape[1])

    @property
    def classes(self) -> int:
        """How many classes the labels speak of: the largest plus one, 0 without labels (as EDM2 counts them)."""
        return 0 if self.labels is None else int(self.labels.max()) + 1
