"""Defensive ZIP reader: declared sizes, names and compression are validated before anything is decompressed.

Nothing is ever extracted to disk, so names are harmless here; unsafe names are refused all the same, since
other tools extract the same archive.
"""

import stat
import zipfile
from pathlib import Path, PurePosixPath
from types import TracebackType

from guidelab.data import limits
from guidelab.data.image_decode import SUFFIXES
from guidelab.data.notice import notice, some
from guidelab.data.placeholders import placeholder_file
from guidelab.errors import UserError, brief

LISTING = "dataset.json"
# What file managers, operating systems, editors and version control leave in folders, in lower case
LEFTOVERS = frozenset(
    [
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
        "network trash folder",
        "temporary items",
        "_gsdata_",
        "cvs",
    ]
)  # fmt: skip
_LOCAL_HEADER = 30  # bytes before an entry's name


def sort_out(names: list[str], where: str) -> list[str]:
    """The images among file names, sorted, without dataset.json; leftovers are passed over and named on stderr.

    Raises:
        UserError: there are none, or there are files of another kind.
    """
    passed = sorted(n for n in names if is_leftover(n))
    kept = [n for n in names if n != LISTING and not is_leftover(n)]
    images = sorted(n for n in kept if n.lower().endswith(SUFFIXES))
    others = sorted(set(kept) - set(images))
    if others:
        raise UserError(
            f"{where}: holds {len(others)} files that are no images: {some(others)}; wanted {', '.join(SUFFIXES)} and "
            f"{LISTING}. Move them elsewhere."
        )
    if not images:
        raise UserError(f"{where}: holds no images; wanted files {', '.join(SUFFIXES)}")
    if passed:
        notice(f"{where}: {len(passed)} hidden or leftover files are no part of the dataset: {some(passed)}")
    return images


def is_leftover(name: str) -> bool:
    """Whether a file, by its path within a dataset, is hidden or left behind by some program, or lies in such a folder."""
    return any(
        (part.startswith(".") and part != "..") or part.lower() in LEFTOVERS or part.endswith("~")
        for part in name.split("/")
    )


class Archive:
    """An open ZIP of images: their names, their bytes, the content of dataset.json.

    Attributes:
        where: the path, for errors.
        names: of the images, sorted.
    Raises:
        UserError: absent, no ZIP, encrypted, or with unsafe names, links, entries that overlap, and sizes only an
            attack would declare.
    """

    def __init__(self, path: str | Path):
        self.where = str(path)
        if Path(path).is_dir():
            raise UserError(f"{path}: is a folder, wanted a ZIP; use the dataset image_folder for it")
        if Path(path).exists() and not Path(path).is_file():
            raise UserError(f"{path}: is a device or a pipe, wanted a ZIP")  # reading it might never end
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; wanted a ZIP of images") from error
        except Exception as error:  # zipfile raises several kinds at broken directories
            reason = (
                f"is no readable ZIP ({placeholder_file(Path(path)) or brief(error)}); it may be cut short"
            )
            raise UserError(f"{path}: {reason}. Copy or make it again.") from error
        try:
            entries = [entry for entry in self._zip.infolist() if not entry.filename.endswith("/")]
            _validate(entries, self._zip.start_dir, self.where)
            self._entries = {entry.filename: entry for entry in entries}
            self.names = sort_out(list(self._entries), self.where)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def content(self, name: str) -> bytes:
        """The bytes of one file, its checksum verified; raises what zipfile raises."""
        return self._zip.read(self._entries[name])

    def listing(self) -> bytes | None:
        """The content of dataset.json, or None.

        Raises:
            UserError: it cannot be read.
        """
        if LISTING not in self._entries:
            return None
        try:
            return self.content(LISTING)
        except Exception as error:  # as for opening
            raise UserError(
                f"{self.where}: its {LISTING} cannot be read ({brief(error)}). Copy or make the archive again."
            ) from error


def _validate(entries: list[zipfile.ZipInfo], end: int, where: str) -> None:
    """Refuse sizes, names and compression that no dataset has."""
    if len(entries) > limits.IMAGE_ENTRIES:
        raise UserError(f"{where}: holds {len(entries)} files, wanted at most {limits.IMAGE_ENTRIES}")
    seen: set[str] = set()
    for entry in entries:
        fault = _fault(entry) or ("is there twice" if entry.filename in seen else "")
        if fault:
            raise UserError(
                f"{where}: {entry.filename[:200]!r} {fault}. Make the archive again with plain files under relative names."
            )
        seen.add(entry.filename)
    if any(entry.header_offset < 0 for entry in entries):
        raise UserError(f"{where}: its directory points before its beginning: it is cut short or damaged")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [*(entry.header_offset for entry in ordered[1:]), end]
    for entry, limit in zip(ordered, ends, strict=bool(entries)):
        if entry.header_offset + _LOCAL_HEADER + entry.compress_size > limit:
            raise UserError(
                f"{where}: {entry.filename!r} overlaps what follows it: the archive is damaged or a ZIP bomb"
            )
    total = sum(entry.file_size for entry in entries)
    if total > limits.ZIP_RATIO * max(end, 1 << 16):
        raise UserError(
            f"{where}: declares {total} bytes in {end} bytes of archive, more than {limits.ZIP_RATIO} times as many: a ZIP "
            "bomb, or images of one colour. If you trust it, store it uncompressed."
        )


def _fault(entry: zipfile.ZipInfo) -> str:
    """What is wrong with an entry, or an empty string."""
    name, path = entry.filename, PurePosixPath(entry.filename)
    limit = limits.LISTING_BYTES if name == LISTING else limits.IMAGE_BYTES
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in path.parts[0]
        or not name.isprintable()
    ):
        return "is an unsafe name (absolute, with '..', a backslash, a drive or unprintable characters)"
    if kind not in (0, stat.S_IFREG):
        return "is a link or a special file"
    if entry.file_size > limit:
        return f"declares {entry.file_size} bytes, wanted at most {limit}"
    return unreadable(entry)


def unreadable(entry: zipfile.ZipInfo) -> str:
    """Why an entry of a ZIP cannot be read, or an empty string."""
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {entry.compress_type}, wanted stored or deflated"
    return ""
