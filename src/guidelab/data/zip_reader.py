"""Folds read lazily: images and latents of a ZIP in the EDM2 format, by index, from any number of processes."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidelab.core.latents import ENCODINGS, Encoding, encoding
from guidelab.data import limits
from guidelab.data.image_decode import UnusableError, decode_exact
from guidelab.data.members import StoredMembers, as_indices
from guidelab.data.npy import npy_header
from guidelab.errors import UserError

_FLOATS = ("<f4", "<f2")


class ZipImages:
    """The images of a ZIP in the EDM2 format; only requested ones are read.

    Attributes:
        path: the ZIP.
        labels: `[N]` int64, or None.
        shape: `(C, R, R)` of every image; taken from the first, checked at each.
    Raises:
        UserError: absent, no ZIP, unsafe, compressed, without images; later, when an image is corrupt or of another
            shape than the first.
    """

    def __init__(self, path: str | Path):
        self._members = StoredMembers(path)
        self.path, self.labels = self._members.path, self._members.labels
        self.shape: tuple[int, ...] = self._image(0).shape
        if self.shape[1] != self.shape[2]:
            raise UserError(
                f"{path}: its first image is {self.shape[2]} x {self.shape[1]}, wanted square images"
            )

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, indices: Any) -> Tensor:
        """Images `[n, C, R, R]` uint8 at a slice, sequence or tensor of indices; `[C, R, R]` at one index."""
        if isinstance(indices, int):
            return self[[indices]][0]
        wanted = as_indices(indices, len(self))
        out = torch.empty(len(wanted), *self.shape, dtype=torch.uint8)
        for row, index in enumerate(wanted):
            pixels = self._image(index)
            if pixels.shape != self.shape:
                raise UserError(
                    f"{self.path}: image {index} has shape {pixels.shape}, the first one {self.shape}; wanted one shape"
                )
            out[row].numpy()[...] = pixels
        return out

    @property
    def classes(self) -> int:
        """How many classes the labels speak of: the largest plus one; 0 without labels."""
        return self._members.classes

    def _image(self, index: int) -> NDArray[np.uint8]:
        name, content = self._members.member(index)
        try:
            return decode_exact(name, content)
        except UnusableError as error:
            raise UserError(f"{self.path}: {name} {error}. Delete the file and make it again.") from error


class ZipLatents:
    """An autoencoder's means and standard deviations of every image, from a ZIP in the EDM2 format.

    Args:
        path: the ZIP.
        how: the encoding, for files that do not name theirs (EDM2's own); `edm2` then unless given.
    Attributes:
        path, labels: as of `ZipImages`.
        shape: `(2C, h, w)`.
        encoding: pixels to latents to standardised latents, and back.
        parts: for samples of several trainings, training seed to the range of its indices; empty otherwise.
    Raises:
        UserError: as of `ZipImages`; or no latents but images, or of another encoding than given.
    """

    def __init__(self, path: str | Path, how: str | None = None):
        self._members = StoredMembers(path)
        self.path, self.labels = self._members.path, self._members.labels
        if self._members.suffixes != {".npy"}:
            raise UserError(
                f"{path}: holds images, wanted latents (img-mean-std-*.npy). If guidelab encoded this file, delete it and run "
                "again; otherwise give a ZIP of latents."
            )
        self.encoding = self._encoding(how)
        self.shape: tuple[int, ...] = self._moments(0).shape
        if self.shape[0] % 2:
            raise UserError(
                f"{path}: its arrays have {self.shape[0]} channels, wanted means and as many deviations"
            )
        self.parts = self._parts()

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, indices: Any) -> Tensor:
        """Means and deviations `[n, 2C, h, w]` float32, not standardised; `[2C, h, w]` at one index."""
        if isinstance(indices, int):
            return self[[indices]][0]
        wanted = as_indices(indices, len(self))
        out = torch.empty(len(wanted), *self.shape)
        for row, index in enumerate(wanted):
            moments = self._moments(index)
            if moments.shape != self.shape:
                raise UserError(
                    f"{self.path}: latent {index} has shape {moments.shape}, the first one {self.shape}; wanted one shape"
                )
            out[row].numpy()[...] = moments
        return out

    def sample(self, indices: Any, generator: torch.Generator | None) -> Tensor:
        """One draw of each latent `[n, C, h, w]` float32, standardised as nets want them; the mean without a generator."""
        return self.encoding.sample(self[indices], generator)

    @property
    def classes(self) -> int:
        """As of `ZipImages`."""
        return self._members.classes

    def _encoding(self, how: str | None) -> Encoding:
        named = self._members.about.get("encoding")
        if named is not None and named not in ENCODINGS:
            raise UserError(
                f"{self.path}: names the encoding {named!r}, wanted one of {', '.join(ENCODINGS)}"
            )
        if named is not None and how is not None and named != how:
            raise UserError(
                f"{self.path}: holds latents of encoding {named}, wanted {how}: their pixels were scaled in another way. "
                "Encode the images again."
            )
        return encoding(named or how or "edm2")

    def _parts(self) -> dict[int, range]:
        try:
            listed = self._members.about.get("parts") or {}
            return {int(seed): range(int(first), int(last) + 1) for seed, (first, last) in listed.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}: its dataset.json has malformed `parts`. Make the file again."
            ) from error

    def _moments(self, index: int) -> NDArray[np.float32]:
        name, content = self._members.member(index)
        try:
            return read_latent(content)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.path}: {name} is no latent: {reason}. Make the file again.") from error


def read_latent(content: bytes) -> NDArray[np.float32]:
    """The array `[2C, h, w]` of an NPY file of float32 or float16; its header is validated, no pickle is ever read.

    Raises:
        ValueError: another format, type or shape, a wrong length, or values that are not finite.
    """
    file = io.BytesIO(content)
    shape, fortran, dtype = npy_header(file)
    if (
        dtype.str not in _FLOATS
        or len(shape) != 3
        or min(shape) < 1
        or math.prod(shape) > limits.LATENT_VALUES
    ):
        raise ValueError(f"holds {dtype} {shape}, wanted float32 [2C, h, w]")
    if len(content) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"holds {len(content) - file.tell()} bytes, but its header says {shape} {dtype}")
    values = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite")
    return values.astype(np.float32)
