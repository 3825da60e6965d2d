"""The folder of published files: where each lies, and whether it is still the file that was there first.

A file's sha256 is written into `pins.json` beside the files when it is first used, and checked ever after; where
checkpoints.csv knows it, that one counts from the start.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from guidelab.checkpoints import vae
from guidelab.errors import UserError
from guidelab.io import atomic_write
from guidelab.released import Row, folder_of, how_to_get, row_of

PINS = "pins.json"
_CHUNK = 1 << 22
_TELL_FROM = 1 << 28  # bytes from which hashing shows how far it is
_WAIT_S = 600


def locate(row: Row | Mapping[str, Any], folder: str | Path | None = None) -> Path:
    """Where a row's file lies, after checking that it is the one it was.

    Raises:
        UserError: absent (says which file, from where, into which folder), or not the pinned one.
    """
    return checked(row, folder)[0]


def checked(row: Row | Mapping[str, Any], folder: str | Path | None = None) -> tuple[Path, str]:
    """Path and sha256 of a row's file; the first time it is pinned. Of a folder: of the names and hashes in it.

    Args:
        row: of checkpoints.csv, or its fields as a job has them.
        folder: where files lie; see `guidelab.released.folder_of`.
    Raises:
        UserError: absent, of another size than published, or of another content than published or pinned.
    """
    wanted = row if isinstance(row, Row) else row_of(row, "--job: checkpoint")
    place = folder_of(str(folder) if folder else None)
    path = place / wanted.file
    if not path.exists():
        raise UserError(f"{path}: no such file, wanted as {wanted.name}: {how_to_get(wanted, place)}")
    size = _size(path, wanted)
    if wanted.bytes and size != wanted.bytes:
        raise UserError(
            f"{path}: holds {size} bytes, published are {wanted.bytes}: {how_to_get(wanted, place)} once more"
        )
    digest = _digest(path, wanted)
    if wanted.sha256 and digest != wanted.sha256:
        raise UserError(
            f"{path}: sha256 {digest[:12]}..., published is {wanted.sha256[:12]}...: it is another file or damaged. "
            f"To mend it, {how_to_get(wanted, place)}"
        )
    pin(place, wanted, digest, size)
    return path, digest


def pin(place: Path, row: Row, digest: str, size: int) -> None:
    """Write a file's sha256 down the first time, or compare it with what was written then.

    Raises:
        UserError: it differs: names the file, the list, and what to do.
    """
    listing = place / PINS
    held = pins(place).get(row.file)
    if held is None:
        try:
            with FileLock(f"{listing}.lock", timeout=_WAIT_S):
                found = pins(place)
                held = found.setdefault(row.file, {"name": row.name, "sha256": digest, "bytes": size})
                _write(place, found)
        except (OSError, Timeout, UserError) as error:
            print(f"guidelab: {listing}: {row.file} is not pinned ({error})", file=sys.stderr)
            return
    if held.get("sha256") != digest:
        raise UserError(
            f"{place / row.file}: sha256 {digest[:12]}..., but {str(held.get('sha256'))[:12]}... when it was first used "
            f"({listing}). Put the first file back; or, if it was replaced on purpose, delete its entry there."
        )


def pin_anew(place: Path, row: Row) -> None:
    """Pin a file that was just made, whatever was pinned before; for one process at a time."""
    path = place / row.file
    try:
        found = pins(place)
    except UserError:
        found = {}
    found[row.file] = {"name": row.name, "sha256": _digest(path, row), "bytes": _size(path, row)}
    _write(place, found)


def _write(place: Path, found: dict[str, dict[str, Any]]) -> None:
    with atomic_write(place / PINS) as temporary:
        temporary.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def pins(place: Path) -> dict[str, dict[str, Any]]:
    """What `pins.json` of a folder holds: by file, its sha256, size and row.

    Raises:
        UserError: it is damaged.
    """
    listing = place / PINS
    try:
        found = json.loads(listing.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(
            f"{listing}: cannot be read ({error}). Restore it, or delete it to pin all files anew."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise UserError(
            f"{listing}: is no list of pinned files. Restore it, or delete it to pin all files anew."
        )
    return found


def sha256_told(path: Path) -> str:
    """Hex sha256 of a file's content, showing how far it is where that takes a while."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(total=size, desc=path.name, unit="B", unit_scale=True, disable=size < _TELL_FROM) as bar,
    ):
        while part := file.read(_CHUNK):
            digest.update(part)
            bar.update(len(part))
    return digest.hexdigest()


def _parts(path: Path, row: Row) -> list[Path]:
    """The files that make up a row's file."""
    if row.format == "vae":
        return vae.files(path)
    if not path.is_file():
        raise UserError(f"{path}: is a folder, wanted the file {Path(row.file).name} itself")
    return [path]


def _size(path: Path, row: Row) -> int:
    return sum(part.stat().st_size for part in _parts(path, row))


def _digest(path: Path, row: Row) -> str:
    if row.format != "vae":
        return sha256_told(path)
    lines = [f"{part.name} {sha256_told(part)}\n" for part in _parts(path, row)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
