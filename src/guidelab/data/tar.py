"""Defensive tar reader: nothing is extracted to disk, and declared sizes are checked."""

import gzip
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from guidelab.data import limits
from guidelab.data.placeholders import placeholder_file
from guidelab.errors import UserError, brief

_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE)
_BLOCK = tarfile.BLOCKSIZE


class _Limited:
    """A reader that raises an error after a maximal number of bytes."""

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, limits.CIFAR_BYTES

    def read(self, count: int) -> bytes:
        content = self._file.read(min(count, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"unpacks to more than {limits.CIFAR_BYTES} bytes")
        return content


def check_headers(file: IO[bytes], members: int) -> None:
    """Read a tar's headers alone, before `tarfile` interprets them: it would follow an extended header of any size.

    Args:
        file: uncompressed, at its beginning; left anywhere.
        members: how many there may be.
    Raises:
        ValueError: too many members, a member of another kind than plain files and folders, a header that is damaged,
            or an extended header larger than a name needs.
    """
    offset, count = 0, 0
    while True:
        file.seek(offset)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or not block.strip(b"\0"):
            return
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        count += info.type not in _EXTENDED
        if count > members:
            raise ValueError(f"holds more than {members} files")
        if info.size < 0 or (info.type in _EXTENDED and info.size > limits.TAR_EXTENSION_BYTES):
            raise ValueError(f"has an extended header of {info.size} bytes")
        if info.type not in _PLAIN + _EXTENDED:
            raise ValueError(f"packs {info.name[:200]!r} as something other than a plain file")
        offset += _BLOCK + -(-info.size // _BLOCK) * _BLOCK


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The contents of plain files of a tar by their base names; at most one byte more than wanted of each.

    Files of other names are passed over; a name that is there twice is refused.

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
                    if count >= limits.CIFAR_MEMBERS:
                        raise ValueError(f"holds more than {limits.CIFAR_MEMBERS} files")
                    name = member.name.rsplit("/", 1)[-1]
                    if name not in sizes or not member.isreg() or member.issparse():
                        continue
                    if name in found:
                        raise ValueError(f"holds {name} twice")
                    content = archive.extractfile(member)
                    found[name] = content.read(sizes[name] + 1) if content else b""
    except Exception as error:  # tarfile, gzip and zlib raise several kinds
        reason = placeholder_file(path) or f"cannot be read ({brief(error)})"
        raise UserError(f"{path}: {reason}. Copy it again from where it comes.") from error
    return found
