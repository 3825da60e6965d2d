"""Random access to uncompressed ZIP members by offset, from any number of processes."""

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidelab.data.archive import Archive
from guidelab.data.image_labels import labels_of
from guidelab.errors import UserError

_LOCAL = 30  # bytes of an entry's own header, before its name
_SIGNATURE = b"PK\x03\x04"
_AHEAD = 256  # bytes for name and extra field: one read fetches header and content


class _Stored(Archive):
    """A validated archive that also gives its members' offsets."""

    def places(self) -> tuple[np.ndarray[Any, Any], str | None]:
        """Offset of the header, size and CRC of every image, `[N, 3]` uint64 in the order of names; the first compressed one."""
        entries = [self._entries[name] for name in self.names]
        rows = ((e.header_offset, e.file_size, e.CRC) for e in entries)
        packed = next((e.filename for e in entries if e.compress_type != 0), None)
        return np.fromiter(rows, np.dtype((np.uint64, 3)), len(entries)), packed


class StoredMembers:
    """The images or arrays of a dataset, each read on access; the archive is never unpacked.

    Kept in memory: 24 bytes and a label for each. Objects can be pickled, forked and used by several threads.

    Attributes:
        path: the ZIP.
        labels: `[N]` int64, or None.
        about: dataset.json without the labels.
    Raises:
        UserError: see `Archive`; or members are compressed, or the labels are malformed.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        archive = _Stored(path)
        with archive:
            self.suffixes = {Path(name).suffix.lower() for name in archive.names}
            self._places, packed = archive.places()
            listing = archive.listing()
            self.labels: Tensor | None = labels_of(archive.names, listing, archive.where)
        self.about: dict[str, Any] = _about(listing)
        if packed:
            raise UserError(
                f"{path}: {packed} is compressed, wanted members stored as they are, so that each can be read by "
                "itself. Make the ZIP again without compression (zip -0)."
            )
        self._size = Path(path).stat().st_size
        self._open()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def classes(self) -> int:
        """How many classes the labels speak of: the largest plus one; 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def member(self, index: int) -> tuple[str, bytes]:
        """Name and content of one member, its checksum verified.

        Raises:
            UserError: the file was cut short or changed since it was opened.
            IndexError: no such member.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: given index {index}, wanted 0 to {len(self) - 1}")
        offset, size, crc = (int(value) for value in self._places[index])
        found = self._read(offset, _LOCAL + _AHEAD + size)
        if len(found) < _LOCAL or not found.startswith(_SIGNATURE):
            raise self._changed(index)
        name_length, extra_length = struct.unpack_from("<HH", found, 26)
        start = _LOCAL + name_length + extra_length
        if len(found) < start + size:
            found = self._read(offset, start + size)
        content = found[start : start + size]
        if len(content) != size or zlib.crc32(content) != crc:
            raise self._changed(index)
        return found[_LOCAL : _LOCAL + name_length].decode("utf-8", "replace"), content

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def _open(self) -> None:
        try:
            self._file = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror}). Make it again.") from error
        if os.fstat(self._file).st_size != self._size:
            raise UserError(f"{self.path}: has another size than before; something rewrites it. Run again.")

    def _read(self, offset: int, count: int) -> bytes:
        """Bytes at an offset, fewer at the end; threads and forked processes share no position."""
        parts = []
        while count > 0 and (part := os.pread(self._file, min(count, 1 << 30), offset)):
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)

    def _changed(self, index: int) -> UserError:
        return UserError(
            f"{self.path}: image {index} (in the order of names) is damaged: its checksum or header does not fit. Delete "
            "the file and run again."
        )


def _about(listing: bytes | None) -> dict[str, Any]:
    content = {} if listing is None else json.loads(listing)  # validated by labels_of
    return {key: value for key, value in content.items() if key != "labels"}


def as_indices(indices: Any, count: int) -> list[int]:
    """Whole numbers from 0 of a slice, a sequence or an integer tensor; negative ones count from the end.

    Raises:
        IndexError: beyond the end.
    """
    if isinstance(indices, slice):
        return list(range(*indices.indices(count)))
    values = indices.tolist() if isinstance(indices, Tensor | np.ndarray) else list(indices)
    if any(isinstance(value, bool | float) for value in values):
        raise IndexError(f"given {torch.as_tensor(values).dtype} indices, wanted whole numbers")
    found = [int(value) + count * (value < 0) for value in values]
    if any(not 0 <= value < count for value in found):
        raise IndexError(f"given indices from {min(found)} to {max(found)}, wanted 0 to {count - 1}")
    return found
