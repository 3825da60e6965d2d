"""Stream published reference images from an NPZ file (`arr_0`, as in ADM's reference batches)."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidelab.data.image_decode import Pixels
from guidelab.data.npy import npy_header
from guidelab.errors import UserError, brief

MAX_BYTES = 1 << 34  # of all images: 87,000 at 256 px; the largest batch published has 2 GB
_MEND = "Copy it again from where it was published."


class ReferenceImages:
    """The images of a reference batch, one at a time.

    Attributes:
        shape: `(N, R, R, 3)`.
        labels: `[N]` int64 from `arr_1`, or None.
    Raises:
        UserError: no NPZ, no uint8 `arr_0` of square RGB images, larger than 16 GiB, or not of this resolution.
    """

    def __init__(self, path: str | Path, resolution_px: int):
        self.path = str(path)
        try:
            with zipfile.ZipFile(path) as archive:
                self.shape = self._validate(archive, resolution_px)
                self.labels = self._labels(archive)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; wanted an NPZ of images") from error
        except UserError:
            raise
        except Exception as error:  # zipfile and numpy's parser raise several kinds
            raise UserError(f"{path}: is no readable NPZ of images ({brief(error)}). {_MEND}") from error

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Pixels]:
        """Every image `[3, R, R]` uint8."""
        count, side = self.shape[:2]
        size = 3 * side * side
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open("arr_0.npy") as file:
                npy_header(file)
                for index in range(count):
                    content = file.read(size)
                    if len(content) != size:
                        raise ValueError(f"ends within image {index} of {count}")
                    yield np.frombuffer(content, np.uint8).reshape(side, side, 3).transpose(2, 0, 1)
                if file.read(1):  # also makes zipfile verify the checksum
                    raise ValueError(f"holds more than the {count} images its header says")
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise UserError(f"{self.path}: arr_0 cannot be read ({brief(error)}). {_MEND}") from error

    def _validate(self, archive: zipfile.ZipFile, resolution_px: int) -> tuple[int, ...]:
        if "arr_0.npy" not in archive.namelist():
            held = ", ".join(sorted(archive.namelist())[:5])
            raise UserError(
                f"{self.path}: holds no arr_0 (it holds {held}); wanted a reference batch with images"
            )
        with archive.open("arr_0.npy") as file:
            shape, fortran, dtype = npy_header(file)
        if (
            dtype != np.uint8
            or len(shape) != 4
            or shape[3] != 3
            or shape[1] != shape[2]
            or 0 in shape
            or fortran
        ):
            raise UserError(f"{self.path}: arr_0 is {dtype} {shape}, wanted uint8 images [N, R, R, 3]")
        if math.prod(shape) > MAX_BYTES:
            raise UserError(
                f"{self.path}: arr_0 declares {math.prod(shape)} bytes, wanted at most {MAX_BYTES}"
            )
        if shape[1] != resolution_px:
            raise UserError(
                f"{self.path}: its images are {shape[1]} px, wanted {resolution_px}. Give the batch of this resolution."
            )
        return shape

    def _labels(self, archive: zipfile.ZipFile) -> NDArray[np.int64] | None:
        if "arr_1.npy" not in archive.namelist():
            return None
        with archive.open("arr_1.npy") as file:
            shape, _, dtype = npy_header(file)
            content: Any = file.read(self.shape[0] * dtype.itemsize + 1) if dtype.kind in "iu" else b""
        if shape != self.shape[:1] or len(content) != self.shape[0] * dtype.itemsize:
            raise UserError(
                f"{self.path}: arr_1 is {dtype} {shape}, wanted {self.shape[0]} class indices. {_MEND}"
            )
        labels = np.frombuffer(content, dtype).astype(np.int64)
        if int(labels.min()) < 0:
            raise UserError(
                f"{self.path}: arr_1 holds the label {int(labels.min())}, wanted class indices from 0"
            )
        return labels
