"""Remove results that params.yaml no longer plans: only files inside the project with a job's record.

Anything else in the folders of a stage stays, and is named: files of the user's, and everything behind a link.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from guidelab.errors import UserError, counted
from guidelab.provenance import records
from guidelab.provenance.disk import Metadata
from guidelab.provenance.places import folder_link

_NAMED = 5
_TEMPORARY = re.compile(r"\.(?P<of>.+)\.[^.]+\.tmp")  # as atomic writes name the files they have not finished


def prune(
    root: Path, folders: Sequence[Path], keep: Iterable[str], provenance: str, log: Callable[[str], None]
) -> list[str]:
    """Remove the unplanned files that jobs of a stage made, and the folders this leaves empty.

    Args:
        root: the project's folder.
        folders: what the stage owns, relative to root, all inside `results/`.
        keep: planned files; folders, with a slash at the end, whose content stays.
        provenance: the stage's provenance file.
        log: takes a message about what stays.
    Returns:
        The removed files, sorted.
    """
    kept = {Path(path) for path in keep}
    whole = {Path(path) for path in keep if path.endswith("/")}
    removed: list[str] = []
    for folder in folders:
        link = folder_link(root, f"{folder.as_posix()}/file")
        if link is not None:
            log(f"{folder}: nothing was removed from it: {link} is a link")
            continue
        found = [path for path in _files(root, folder) if path not in kept and path.name != ".gitignore"]
        found = [path for path in found if not whole & set(path.parents)]
        made = _made(root, found, kept, provenance)
        for path in made:
            (root / path).unlink()
            Metadata(root).forget(path.as_posix())
        _remove_empty(root, folder, {path.parent for path in made})
        removed += [path.as_posix() for path in made]
        _name_left(folder, [path for path in found if path not in made], log)
    return sorted(removed)


def _files(root: Path, folder: Path) -> list[Path]:
    """All that is no folder, relative to root; links are listed and never followed."""
    found = []
    for place, names, files in os.walk(root / folder, followlinks=False):
        links = [name for name in names if (Path(place) / name).is_symlink()]
        found += [(Path(place) / name).relative_to(root) for name in (*files, *links)]
    return sorted(found)


def _made(root: Path, found: Sequence[Path], kept: set[Path], provenance: str) -> set[Path]:
    """Those of some files that a job is recorded to have made: with a record of their own, listed by one, or unfinished."""
    try:
        entries = records.all_of(root, provenance) if (root / provenance).is_file() else {}
    except UserError:
        entries = {}  # `restore` complains of it
    metadata = Metadata(root)
    files = [path for path in found if not _is_folder_link(root / path)]
    made = {p for p in files if p.as_posix() in entries or metadata.path(p.as_posix()).is_file()}
    for path in [path for path in made if path.suffix == ".json"]:
        made |= _listed(root, path) & set(files)
    unfinished = {path: _TEMPORARY.fullmatch(path.name) for path in files}
    return made | {p for p, match in unfinished.items() if match and p.with_name(match["of"]) in made | kept}


def _listed(root: Path, path: Path) -> set[Path]:
    """The shards that a manifest of samples lists, relative to root; none if it lists none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        shards = json.loads((root / path).read_text(encoding="utf-8"))["shards"]
        return {path.with_suffix("") / str(shard["file"]) for shard in shards}
    return set()


def _is_folder_link(path: Path) -> bool:
    return path.is_symlink() and path.is_dir()


def _remove_empty(root: Path, folder: Path, places: Iterable[Path]) -> None:
    """Remove folders without content, from some upwards to one that stays."""
    for place in places:
        while folder in place.parents and not any((root / place).iterdir()):
            (root / place).rmdir()
            place = place.parent


def _name_left(folder: Path, left: Sequence[Path], log: Callable[[str], None]) -> None:
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        log(
            f"{folder}: holds {counted(len(left), 'file')} that no job is recorded to have made, and DVC keeps with it: "
            f"{', '.join(map(str, left[:_NAMED]))}{more}. Move what is yours out of results/"
        )
