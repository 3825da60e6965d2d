"""Named files out of a gzipped tar from anyone: nothing is extracted, and no declared size is believed."""

import gzip
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from guidelab.errors import UserError

_MAX_TOTAL = 1 << 28  # bytes unpacked, over everything: half as much again as the archive meant
_MAX_MEMBERS = 64


class _Limited:
    """A reader that ends in an error, however the archive tries to make it go on."""

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, _MAX_TOTAL

    def read(self, count: int) -> bytes:
        content = self._file.read(min(count, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"unpacks to more than {_MAX_TOTAL} bytes")
        return content


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The contents of plain files of a tar by their base names; at most one byte more than wanted of each.

    Links, devices and files of other names are passed over; a name that is there twice is refused.

    Args:
        path: a `.tar` or `.tar.gz`.
        sizes: the names wanted, and how many bytes each must have.
    Raises:
        UserError: no readable tar, or one only an attack would make.
    """
    found: dict[str, bytes] = {}
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            with tarfile.open(fileobj=_Limited(file), mode="r|") as archive:  # type: ignore[call-overload, arg-type]
                for count, member in enumerate(archive):
                    if count >= _MAX_MEMBERS:
                        raise ValueError(f"holds more than {_MAX_MEMBERS} files")
                    name = member.name.rsplit("/", 1)[-1]
                    if name not in sizes or not member.isreg() or member.issparse():
                        continue
                    if name in found:
                        raise ValueError(f"holds {name} twice")
                    content = archive.extractfile(member)
                    found[name] = content.read(sizes[name] + 1) if content else b""
    except Exception as error:  # tarfile, gzip and zlib raise several kinds
        raise UserError(f"{path}: cannot be read ({error}). Copy it again from where it comes.") from error
    return found
