"""Stream images of one size from any folder or ZIP, for measuring."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guidelab.data.archive import Archive
from guidelab.data.image_decode import UnusableError, decode_any
from guidelab.data.image_folder import names_in
from guidelab.errors import UserError, brief


class LooseImages:
    """The images of a folder or ZIP in the order of their names, as RGB.

    Args:
        path: a folder, or a ZIP of any compression.
    Attributes:
        path: as given. names: of the images.
        shape: `(3, H, W)`, of the first and checked at each.
    Raises:
        UserError: absent, unsafe, without images; later, an image that is damaged or of another size.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, source = str(path), Path(path)
        if not source.exists():
            raise UserError(f"{path}: is not there; wanted a folder or ZIP of images")
        self._archive = None if source.is_dir() else Archive(source)
        self.names = names_in(source) if self._archive is None else self._archive.names
        self.shape: tuple[int, ...] = self._image(self.names[0]).shape

    def __len__(self) -> int:
        return len(self.names)

    def pieces(self, size: int) -> Iterator[Tensor]:
        """All images `[n, 3, H, W]` uint8, at most `size` at a time."""
        for first in range(0, len(self.names), size):
            names = self.names[first : first + size]
            out = torch.empty(len(names), *self.shape, dtype=torch.uint8)
            for row, name in enumerate(names):
                image = self._image(name)
                if image.shape != self.shape:
                    (_, height, width), (_, h, w) = image.shape, self.shape
                    raise UserError(
                        f"{self.path}: {name} is {width} x {height}, {self.names[0]} is {w} x {h}; wanted images of one size "
                        "(guidelab prepare image-folder --resolution crops them)"
                    )
                out[row].numpy()[...] = image
            yield out

    def sha256(self) -> str:
        """Of the names and contents of all images."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name} {hashlib.sha256(self._content(name)).hexdigest()}\n".encode())
        return digest.hexdigest()

    def _content(self, name: str) -> bytes:
        try:
            return (
                (Path(self.path) / name).read_bytes()
                if self._archive is None
                else self._archive.content(name)
            )
        except Exception as error:  # archives and file systems may raise any exception type
            raise UserError(f"{self.path}: {name} cannot be read ({brief(error)})") from error

    def _image(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        try:
            pixels = np.ascontiguousarray(decode_any(name, self._content(name), False))
        except UnusableError as error:
            raise UserError(f"{self.path}: {name} {error}. Remove it, or copy it again.") from error
        return pixels.transpose(2, 0, 1)
