"""Pack an experiment's pretrained files into one tar file for clusters without internet, and unpack it safely.

A bundle is an uncompressed tar: `manifest.json` first (every other member with its size and sha256), `rows.csv` (the
rows of checkpoints.csv), and the files below `files/`. Unpacking writes the files that these rows name and nothing
else; a file is pinned where it is first used, as any other.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from guidelab.checkpoints import store, vae
from guidelab.checkpoints.pickle_work import RefusedError
from guidelab.checkpoints.tensors import check_member
from guidelab.data import limits
from guidelab.data.strict_json import read_json
from guidelab.data.tar import check_headers
from guidelab.errors import UserError
from guidelab.io import atomic_write
from guidelab.project import resource
from guidelab.released import CSV, Row, folder_of, how_to_get, load_rows, row_of

MANIFEST, ROWS, FILES = "manifest.json", "rows.csv", "files"
_VERSION = 2
_CHUNK = 1 << 22


def pack(rows: Iterable[Row], output: Path, about: str, folder: str | None = None) -> list[str]:
    """Write a bundle of the rows' files.

    Args:
        rows: what to pack.
        output: the bundle.
        about: what it is for, such as the experiment's name.
        folder: where the files lie.
    Returns:
        Paths of the packed files, relative to the folder.
    Raises:
        UserError: files are absent (all are named) or not the pinned ones; nothing is written then.
    """
    place, chosen = folder_of(folder), list(rows)
    absent = [row for row in chosen if not (place / row.file).exists()]
    if absent:
        missing = "; ".join(how_to_get(row, place) for row in absent)
        raise UserError(f"{place}: lacks {len(absent)} of {len(chosen)} files: {missing}")
    found: dict[str, Path] = {}
    for row in chosen:
        path, _ = store.checked(row, folder)
        for part in vae.files(path) if row.format == "vae" else [path]:
            found[part.relative_to(place).as_posix()] = part
    listing = _csv(chosen)
    members = {ROWS: _described(hashlib.sha256(listing).hexdigest(), len(listing))}
    members |= {f"{FILES}/{n}": _described(store.sha256_shown(p), p.stat().st_size) for n, p in found.items()}
    manifest = {"version": _VERSION, "about": about, "rows": [row.name for row in chosen], "members": members}
    with atomic_write(output) as temporary, tarfile.open(temporary, "w") as tar:
        _add(tar, MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        _add(tar, ROWS, listing)
        for name, path in sorted(found.items()):
            with path.open("rb") as file:
                info = tarfile.TarInfo(f"{FILES}/{name}")
                info.size = members[info.name]["bytes"]
                tar.addfile(info, file)
    return sorted(found)


def unpack(bundle: Path, folder: str | None = None) -> list[str]:
    """Check a bundle and put its files into the folder of published files.

    Every member is compared with the manifest while it is copied; a file appears under its name only when it is
    complete. Files that are there with the same content stay; others are never overwritten.

    Returns:
        Paths of the files put there, relative to the folder.
    Raises:
        UserError: no bundle; a member that is no plain file, leads out of the folder, is absent, not in the manifest,
            named by no row of the list here, or of another content; or a file of that name with another content is
            there.
    """
    place = folder_of(folder)
    try:
        size = bundle.stat().st_size
        with bundle.open("rb") as raw:
            check_headers(raw, limits.TAR_MEMBERS)
            raw.seek(0)
            with tarfile.open(fileobj=raw, mode="r:") as tar:
                return _unpacked(tar, size, place)
    except FileNotFoundError as error:
        raise UserError(f"{bundle}: no such file; make it with `guidelab bundle`") from error
    except RefusedError as error:
        raise UserError(
            f"{bundle}: {error}; make it again with `guidelab bundle`, or copy it again"
        ) from error
    except UserError:
        raise
    except Exception as error:  # the bundle's bytes decide what tarfile and json trip over
        raise UserError(
            f"{bundle}: is no readable bundle ({type(error).__name__}: {str(error)[:200]}); copy it again"
        ) from error


def _unpacked(tar: tarfile.TarFile, size: int, place: Path) -> list[str]:
    members = tar.getmembers()
    if not members or members[0].name != MANIFEST:
        raise RefusedError(f"does not begin with {MANIFEST}")
    for member in members:
        check_member(member.name)
        if not member.isreg() or member.issparse():
            raise RefusedError(
                f"packs {member.name} as something other than a plain file (a link, a device, a folder)"
            )
        if member.size > size:
            raise RefusedError(f"claims {member.size} bytes for {member.name}, in a bundle of {size}")
    wanted = _listed(_content(tar, members[0]))
    held = [member.name for member in members[1:]]
    if sorted(held) != sorted(wanted):
        odd = sorted(set(held) ^ set(wanted)) or [name for name in held if held.count(name) > 1]
        raise RefusedError(f"does not hold what its manifest lists ({', '.join(odd[:3])[:200]})")
    if ROWS not in held:
        raise RefusedError(f"does not hold what its manifest lists ({ROWS})")
    listing = next(member for member in members if member.name == ROWS)
    rows = _rows(_verified(_content(tar, listing), ROWS, wanted[ROWS]))
    files = [member for member in members[1:] if member.name != ROWS]
    for member in files:
        top, _, rest = member.name.partition("/")
        if top != FILES or not _names(rows, rest):
            raise RefusedError(f"packs {member.name}, which belongs to no bundle: no row of {ROWS} names it")
    put = []
    for member in files:
        rest = member.name.partition("/")[2]
        if _copied(tar, member, wanted[member.name], place / rest):
            put.append(rest)
    for row in rows:
        store.checked(row, place)
    return put


def _listed(content: bytes) -> dict[str, dict[str, Any]]:
    """The members a manifest lists: by name, sha256 and size."""
    manifest = read_json(content)
    members = manifest.get("members") if isinstance(manifest, dict) else None
    if not isinstance(members, dict) or not all(
        isinstance(m, dict) and type(m.get("bytes")) is int and isinstance(m.get("sha256"), str)
        for m in members.values()
    ):
        raise RefusedError(f"has a {MANIFEST} that lists no members")
    if manifest.get("version") != _VERSION:
        raise RefusedError(f"is of another version than this guidelab writes ({_VERSION})")
    return members


def _names(rows: Iterable[Row], file: str) -> bool:
    """Whether a row names a file: its own, or one of the two that an autoencoder's folder is read from."""
    for row in rows:
        if row.format != "vae" and file == row.file:
            return True
        if row.format == "vae" and (file == row.file or file in vae.names(row.file)):
            return True
    return False


def _copied(tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Mapping[str, Any], target: Path) -> bool:
    """Put one file in its place; False where it is there already.

    Raises:
        RefusedError: it is not what the manifest says.
        UserError: another file is there, or the folder cannot be written.
    """
    if target.is_symlink() or target.exists():
        if target.is_file() and store.sha256_shown(target) == wanted["sha256"]:
            return False
        raise UserError(f"{target}: another file is there already; move it away, nothing is overwritten")
    source = tar.extractfile(member)
    assert source is not None  # it is a plain file
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        digest, count = hashlib.sha256(), 0
        while part := source.read(_CHUNK):
            digest.update(part)
            file.write(part)
            count += len(part)
        if (digest.hexdigest(), count) != (wanted["sha256"], wanted["bytes"]):
            raise RefusedError(f"holds {member.name} with another content than its manifest says")
    return True


def _rows(content: bytes) -> list[Row]:
    """The bundle's rows; those we know too must be the same."""
    temporary = io.StringIO(content.decode("utf-8"), newline="")
    found = [row_of(fields, f"{ROWS} of the bundle") for fields in csv.DictReader(temporary)]
    known = load_rows(resource(CSV))
    for row in found:
        if row.name not in known:
            raise RefusedError(
                f"describes {row.name}, which {CSV} here does not list: bring this project up to date first"
            )
        if known[row.name] != row:
            raise RefusedError(f"describes {row.name} differently from {CSV} of this project")
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > limits.DESCRIPTION_BYTES:
        raise RefusedError(
            f"has a {member.name} of {member.size} bytes, wanted at most {limits.DESCRIPTION_BYTES}"
        )
    file: IO[bytes] | None = tar.extractfile(member)
    assert file is not None  # it is a plain file
    return file.read()


def _verified(content: bytes, name: str, wanted: Mapping[str, Any]) -> bytes:
    if hashlib.sha256(content).hexdigest() != wanted["sha256"]:
        raise RefusedError(f"holds {name} with another content than its manifest says")
    return content


def _described(digest: str, size: int) -> dict[str, Any]:
    return {"sha256": digest, "bytes": size}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _csv(rows: Iterable[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(Row.__annotations__), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.as_job().items()})
    return text.getvalue().encode()
