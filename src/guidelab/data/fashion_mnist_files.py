"""Locate or download the four files of Fashion-MNIST; used only if their sha256 is the published one."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from guidelab.data.download import download
from guidelab.errors import UserError, home_path

PACKAGE = "dataset-fashion-mnist"  # of Debian, section main
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
# the authors' bucket, of which their http address is the web front
UPSTREAM = "https://fashion-mnist.s3.eu-central-1.amazonaws.com"
_LOCK_S = 1800  # another process may be downloading over a slow line
_PACKAGE_S = 900  # for apt-get in all
_PACKAGE_BYTES = 30_887_900  # of the package, for the progress bar alone


@dataclass(frozen=True)
class Published:
    """One file as its authors published it."""

    name: str
    size: int  # bytes
    sha256: str


TRAIN_IMAGES = Published(
    "train-images-idx3-ubyte.gz", 26421856, "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
)
TRAIN_LABELS = Published(
    "train-labels-idx1-ubyte.gz", 29491, "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
)
TEST_IMAGES = Published(
    "t10k-images-idx3-ubyte.gz", 4422079, "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
)
TEST_LABELS = Published(
    "t10k-labels-idx1-ubyte.gz", 5125, "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
Contents = dict[str, bytes]  # by file name, still compressed


class _UnavailableError(Exception):
    """Why one source does not serve."""


def find(source: str | Path | None, cache: str | Path | None) -> Contents:
    """The four files' contents, from the first source that has them.

    A given folder is the only source tried. Otherwise: the installed Debian package; the cache; the Debian package
    downloaded and unpacked into the cache (no root needed); the authors' address, into the cache.

    Args:
        source: a folder with the four .gz files, or None.
        cache: a folder to keep what is fetched; without one nothing is fetched. Two processes may share it.
    Raises:
        UserError: no source serves; lists each with the reason.
    """
    if source is not None:
        try:
            return _read(Path(source))
        except _UnavailableError as error:
            raise UserError(
                f"{source}: {error}. Give a folder with the four files of Fashion-MNIST "
                f"({', '.join(file.name for file in FILES)}), or none, to have them found."
            ) from error
    tried = []
    try:
        return _read(INSTALLED)
    except _UnavailableError as error:
        tried.append(f"{INSTALLED}: {error}")
    if cache is None:
        tried.append("downloads: no cache folder was given")
    else:
        found = _cached(home_path(cache), tried)
        if found is not None:
            return found
    raise UserError(
        "Fashion-MNIST was not found. Tried:\n"
        + "\n".join(f"  - {line}" for line in tried)
        + f"\nInstall the Debian package {PACKAGE}, or give a folder that holds "
        + f"{', '.join(file.name for file in FILES)} as the source."
    )


def _cached(cache: Path, tried: list[str]) -> Contents | None:
    """From the cache, filled first where need be; adds to `tried` why not."""
    folder = cache / "fashion-mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "fashion-mnist.lock", timeout=_LOCK_S):
            return _filled(folder, tried)
    except Timeout:
        tried.append(f"{cache}: another process has held its lock for {_LOCK_S // 60} minutes")
    except OSError as error:
        tried.append(f"{folder}: cannot be written ({error.strerror or error})")
    return None


def _filled(folder: Path, tried: list[str]) -> Contents | None:
    ways: list[tuple[str, Callable[[Path], None]]] = [
        (str(folder), lambda folder: None),  # another job, or an earlier one, has fetched them
        (f"apt-get download {PACKAGE}", _fetch_package),
        (UPSTREAM, _fetch_upstream),
    ]
    for label, fetch in ways:
        try:
            fetch(folder)
            return _read(folder)
        except _UnavailableError as error:
            tried.append(f"{label}: {error}")
    return None


def _read(folder: Path) -> Contents:
    """The four files of a folder, each checked."""
    if not folder.is_dir():
        raise _UnavailableError("no such folder")
    found = {}
    for file in FILES:
        try:
            content = (folder / file.name).read_bytes()
        except OSError as error:
            raise _UnavailableError(f"{file.name} cannot be read ({error.strerror})") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise _UnavailableError(
                f"{file.name} is not the published file ({len(content)} bytes, sha256 {digest[:12]}...; wanted "
                f"{file.size} and {file.sha256[:12]}...)"
            )
        found[file.name] = content
    return found


def _fetch_package(folder: Path) -> None:
    """Download the Debian package and unpack its files into a folder."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise _UnavailableError(f"there is no {tool} here")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".package-") as name:
        work = Path(name)
        _download_package(work)
        packages = sorted(work.glob("*.deb"))
        if len(packages) != 1:
            raise _UnavailableError(f"left {len(packages)} packages, wanted one")
        done = subprocess.run(
            ["dpkg", "-x", str(packages[0]), str(work / "unpacked")], capture_output=True, text=True
        )
        if done.returncode:
            raise _UnavailableError(f"dpkg cannot unpack it: {_last_line(done.stderr)}")
        unpacked = work / "unpacked" / INSTALLED.relative_to("/")
        _read(unpacked)  # nothing unchecked reaches the cache
        for file in FILES:
            os.replace(unpacked / file.name, folder / file.name)


def _download_package(work: Path) -> None:
    """`apt-get download` into a folder, with a progress bar over the growing file."""
    command = [
        "apt-get",
        "download",
        "-q",
        "-o",
        "Acquire::Retries=2",
        "-o",
        "Acquire::http::Timeout=30",
        PACKAGE,
    ]
    deadline = time.monotonic() + _PACKAGE_S
    with (
        (work / "log").open("w+") as log,
        tqdm(total=_PACKAGE_BYTES, unit="B", unit_scale=True, desc=PACKAGE, leave=False) as bar,
    ):
        running = subprocess.Popen(
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            while running.poll() is None:
                if time.monotonic() > deadline:
                    raise _UnavailableError(f"not finished after {_PACKAGE_S // 60} minutes")
                bar.update(sum(file.stat().st_size for file in work.glob(f"{PACKAGE}*")) - bar.n)
                time.sleep(0.1)
        finally:
            running.kill()
            running.wait()
        if running.returncode:
            log.seek(0)
            raise _UnavailableError(f"failed ({_last_line(log.read())})")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"


def _fetch_upstream(folder: Path) -> None:
    for file in FILES:
        try:
            download(f"{UPSTREAM}/{file.name}", folder / file.name, file.size, file.sha256)
        except (OSError, ValueError) as error:
            raise _UnavailableError(f"{file.name}: {error}") from error
