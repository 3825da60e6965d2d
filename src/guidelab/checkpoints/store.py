"""The folder of pretrained files: the path of each, and its sha256 pinned at first use and checked afterwards.

A file's sha256 is written into `pins.json` in the same folder at its first successful use, and compared ever
after; where checkpoints.csv knows it, that one counts from the start. A file that was refused is not pinned, so that
a better copy may take its place.
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
from guidelab.data.strict_json import read_json
from guidelab.errors import UserError, brief
from guidelab.io import atomic_write
from guidelab.released import CSV, Row, folder_of, how_to_get, load_rows, row_of

PINS = "pins.json"
_CHUNK = 1 << 22
_TELL_FROM = 1 << 28  # bytes from which hashing shows how far it is
_WAIT_S = 600
_MADE_OF = {"features": "features"}  # kind -> the folder of results made of such a file; else `obtained`


def locate(row: Row | Mapping[str, Any], folder: str | Path | None = None) -> Path:
    """Where a row's file lies, after checking that it is the one it was.

    Raises:
        UserError: absent (says which file, from where, into which folder), or not the pinned one.
    """
    return checked(row, folder)[0]


def checked(row: Row | Mapping[str, Any], folder: str | Path | None = None) -> tuple[Path, str]:
    """Path and sha256 of a row's file, compared with what is known of it. Of a folder: of the names and hashes in it.

    Nothing is written: the caller calls `pin` once the file proves to be the wanted one.

    Args:
        row: of checkpoints.csv, or its fields as a job has them.
        folder: where files lie; see `guidelab.released.folder_of`.
    Raises:
        UserError: absent, of another size than published, of another content than published or pinned, or the very
            file that is pinned under another name.
    """
    wanted, place = _row(row), folder_of(str(folder) if folder else None)
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
    _compare(place, wanted, digest, pins(place))
    return path, digest


def pin(row: Row | Mapping[str, Any], folder: str | Path | None = None, digest: str | None = None) -> None:
    """Write a file's sha256 down, once it was read and found to be what was wanted; it is compared from then on.

    A file that is not in checkpoints.csv is the user's own and stays free. A folder that cannot be written to is reported
    on stderr and is no error.

    Args:
        row, folder: as for `checked`.
        digest: what `checked` said; computed anew when None.
    Raises:
        UserError: another process pinned another file meanwhile, or this one under another name.
    """
    wanted, place = _row(row), folder_of(str(folder) if folder else None)
    if wanted.name not in _listed():
        return
    path, listing = place / wanted.file, place / PINS
    try:
        if wanted.file in pins(place):
            return
        about = {"name": wanted.name, "sha256": digest or _digest(path, wanted), "bytes": _size(path, wanted)}
        with FileLock(f"{listing}.lock", timeout=_WAIT_S):
            found = pins(place)
            refused = _refusal(place, wanted, str(about["sha256"]), found)
            if not refused:
                _write(place, {wanted.file: about} | found)
    except (OSError, Timeout) as error:
        print(f"guidelab: {listing}: {wanted.file} is not pinned ({error})", file=sys.stderr)
        return
    if refused:
        raise UserError(refused)


def _row(row: Row | Mapping[str, Any]) -> Row:
    return row if isinstance(row, Row) else row_of(row, "--job: checkpoint")


def _listed() -> dict[str, Row]:
    """The rows of checkpoints.csv; none where there is no such file."""
    try:
        return load_rows()
    except UserError:
        return {}


def _compare(place: Path, row: Row, digest: str, pinned: dict[str, dict[str, Any]]) -> None:
    refused = _refusal(place, row, digest, pinned)
    if refused:
        raise UserError(refused)


def _refusal(place: Path, row: Row, digest: str, pinned: dict[str, dict[str, Any]]) -> str:
    """Why a file with this content cannot be the row's, by what is pinned; empty if it can."""
    path, listing, made = place / row.file, place / PINS, _MADE_OF.get(row.kind, "obtained")
    held = pinned.get(row.file)
    if held is not None and held.get("sha256") != digest:
        return (
            f"{path}: sha256 {digest[:12]}..., but {str(held.get('sha256'))[:12]}... when it was first used "
            f"({listing}). Put the first file back; or, if it was replaced on purpose, delete the entry {row.file!r} in "
            f"{listing} and results/<experiment>/{made}/, which was made of the first file, and run again."
        )
    rows = _listed()
    for file, entry in pinned.items() if row.name in rows else ():  # a user's own file may be a copy
        other = rows.get(str(entry.get("name")))
        if entry.get("sha256") != digest or entry.get("name") == row.name or not (place / file).exists():
            continue
        if other is None or not row.url or other.url != row.url:
            return (
                f"{path}: is the same file as {place / file}, byte by byte, which is pinned as {entry.get('name')}: one of "
                f"them was saved under a wrong name. Find out which; if it is this one, {how_to_get(row, place)}; if the "
                f"other, delete its entry {file!r} in {listing} and results/<experiment>/{made}/ and fetch that one anew. "
                f"(Two names of one file have one address in {CSV}.)"
            )
    return ""


def pin_anew(place: Path, row: Row) -> None:
    """Pin a file that was just made, replacing any earlier pin; for one process at a time."""
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
        found = read_json(listing.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise UserError(
            f"{listing}: cannot be read ({brief(error)}). Restore it, or delete it to pin all files anew."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise UserError(
            f"{listing}: is no list of pinned files. Restore it, or delete it to pin all files anew."
        )
    return found


def sha256_shown(path: Path) -> str:
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
        return sha256_shown(path)
    lines = [f"{part.name} {sha256_shown(part)}\n" for part in _parts(path, row)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
