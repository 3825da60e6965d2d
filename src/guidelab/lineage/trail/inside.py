"""Restrict the files a trace may read: those of the project, of folders it links to, and of DVC's cache.

Records come with a clone, and may name any path.
"""

import configparser
from functools import cache
from pathlib import Path, PurePosixPath

from guidelab.errors import UserError
from guidelab.provenance.places import back, folder_link


def inside(root: Path, path: str) -> Path:
    """The file a recorded path names; nothing is opened.

    Args:
        root: the project's folder. path: relative to it.
    Raises:
        UserError: it leads out of the project, by its name or through a link, and not into DVC's cache; or there is
            something that is no regular file: a device or a pipe may have no end.
        OSError: it is not there.
    """
    name = PurePosixPath(path)
    if name.is_absolute() or ".." in name.parts or "\0" in path:
        raise UserError(f"{path!r}: is no path of a file of this project; it was not read")
    found = root / path
    try:
        real = found.resolve(strict=True)
    except RuntimeError as error:  # Python 3.11 raises this for links in a circle
        raise OSError(str(error)) from error
    if not any(real.is_relative_to(own) for own in (*_own(root.resolve()), *_linked(root, name))):
        raise UserError(
            f"{path}: leads to {real}, out of this project and of DVC's cache; it was not read. If the link is yours, link its "
            f"folder instead; if not, take the file back with: {back(root, path)}"
        )
    if not real.is_file():
        raise UserError(f"{path}: is no regular file; it was not read. Take it back with: {back(root, path)}")
    return found


def _linked(root: Path, name: PurePosixPath) -> list[Path]:
    """Where the folder of a result lies when `results`, or a folder inside it, is a link, as one to a scratch disk is."""
    if name.parts[:1] != ("results",) or folder_link(root, str(name)) is None:
        return []
    return [(root / name).parent.resolve()]


@cache
def _own(root: Path) -> tuple[Path, ...]:
    """The project's folder and the cache DVC may link to; a shared one is named in DVC's own configuration."""
    found = [root.resolve()]
    parser = configparser.ConfigParser(interpolation=None)
    for name in ("config", "config.local"):
        try:
            parser.read(root / ".dvc" / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
    cache_dir = parser.get("cache", "dir", fallback="").strip()
    if cache_dir:
        found.append((root / ".dvc" / cache_dir).resolve())
    return tuple(found)
