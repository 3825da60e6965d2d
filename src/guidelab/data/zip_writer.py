"""Write the EDM2 dataset format, one image or latent at a time, with reproducible bytes.

Source: Karras et al. 2024, arXiv:2312.02696, and its dataset tool.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidelab.data.archive import LISTING
from guidelab.data.png import encode_png

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can hold: bytes must not depend on the clock
_MODE = 0o100644 << 16  # a plain file, read by all
_UNIX = 3  # the system whose modes these are
_PNG = (1, 3)  # channels that a PNG can hold; other images are stored as arrays


class ZipWriter:
    """An open ZIP: images as `00000/img00000000.png` (`.npy` unless gray or RGB), latents as `00000/img-mean-std-00000000.npy`.

    One item is in memory at a time; what stays is a directory entry and a label for each, some 0.6 KB. Write to a temporary path
    and rename it when the block has ended: this class does not. After an error the file is not complete.

    Args:
        path: the file to write.
        about: further entries of dataset.json (the latents' encoding, for example); readers of the format skip them.
    """

    def __init__(self, path: str | Path, about: dict[str, Any] | None = None):
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._about = dict(about or {})
        self._labels: list[list[Any]] = []
        self._count = 0
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "ZipWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                labels = self._labels or None
                self._add(LISTING, json.dumps({"labels": labels, **self._about}).encode())
        finally:
            self._zip.close()

    def add_image(self, image: NDArray[np.uint8], label: int | None) -> None:
        """Append an image `[C, R, R]` uint8.

        Raises:
            ValueError: another shape than the first one's, or a label where others have none.
        """
        suffix = "png" if image.shape[0] in _PNG else "npy"
        name = f"{self._count // 1000:05d}/img{self._count:08d}.{suffix}"
        self._next(name, image.shape, label)
        content = encode_png(image) if suffix == "png" else _npy(image.tobytes(), image.shape, "|u1")
        self._add(name, content)

    def add_latent(self, moments: NDArray[np.float32], label: int | None) -> None:
        """Append an autoencoder's mean and standard deviation `[2C, h, w]` float32, as it gave them.

        Raises:
            ValueError: another dtype, another shape than the first one's, or a label where others have none.
        """
        if moments.dtype != np.float32 or moments.ndim != 3:
            raise ValueError(f"ZipWriter: given {moments.dtype} {moments.shape}, wanted float32 [2C, h, w]")
        name = f"{self._count // 1000:05d}/img-mean-std-{self._count:08d}.npy"
        self._next(name, moments.shape, label)
        self._add(name, _npy(np.ascontiguousarray(moments, "<f4").tobytes(), moments.shape, "<f4"))

    def _next(self, name: str, shape: Sequence[int], label: int | None) -> None:
        self._shape = self._shape or tuple(shape)
        if tuple(shape) != self._shape:
            raise ValueError(f"ZipWriter: given {tuple(shape)} after {self._shape}")
        if self._count and (label is not None) != bool(self._labels):
            raise ValueError(f"ZipWriter: given label {label} for item {self._count}; label all or none")
        if label is not None:
            self._labels.append([name, int(label)])
        self._count += 1

    def _add(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, _DATE)
        entry.external_attr, entry.create_system = _MODE, _UNIX
        self._zip.writestr(entry, content)


def _npy(content: bytes, shape: Sequence[int], descr: str) -> bytes:
    """An NPY file, version 1.0, its header padded to a multiple of 64 bytes; `descr` is numpy's name of the type."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content
