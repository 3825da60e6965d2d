"""Files on disk: Snakemake's metadata, each file's last recorded state (size, time, hash), atomic writes."""

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MAX_NAME = 254  # of a path component, as Snakemake cuts it
_STATE = ".snakemake/guidelab-provenance.json"

# Size, modification time in ns, inode, and time of the last change of any of these or of the content, which no program
# can set (ns); None for a file that is not there.
Stat = list[int] | None


def stat(path: Path) -> Stat:
    """Size, times and inode, which identify an unchanged file without reading it."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all.

    Raises:
        OSError: it cannot be written; nothing partial is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


class Metadata:
    """Snakemake's job records in `.snakemake/`, one JSON file per output (its `file` persistence backend)."""

    def __init__(self, root: Path):
        self.root = root
        self._folder = root / ".snakemake"

    def path(self, output: str, kind: str = "metadata") -> Path:
        """Where the record of an output lies."""
        name = base64.urlsafe_b64encode(output.encode()).decode()
        parts = [name[i : i + _MAX_NAME] for i in range(0, len(name), _MAX_NAME)]
        return self._folder.joinpath(kind, *(f"@{part}" for part in parts[:-1]), parts[-1])

    def read(self, output: str) -> dict[str, Any] | None:
        """The record of an output; None when there is none, or it is half-written."""
        try:
            record = json.loads(self.path(output).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        usable = isinstance(record, dict) and record.get("rule") and not record.get("incomplete")
        return record if usable else None

    def write(self, output: str, record: Mapping[str, Any], time: float) -> None:
        """Write the record of an output.

        Raises:
            OSError: it cannot be written.
        """
        # Snakemake takes a `metadata` folder without `incomplete` for one of an old version and migrates it.
        (self._folder / "incomplete").mkdir(parents=True, exist_ok=True)
        # Not the rendered command: it repeats the parameters, and Snakemake compares the rule's text instead.
        times = {
            "incomplete": False,
            "starttime": time,
            "endtime": time,
            "shellcmd": None,
            "external_jobid": None,
        }
        write_text(self.path(output), json.dumps({**record, **times}))

    def content(self, output: str) -> str:
        """A hash of the record of an output, the same in a copy of the tree; empty when there is none."""
        try:
            return hashlib.sha256(self.path(output).read_bytes()).hexdigest()[:16]
        except OSError:
            return ""

    def forget(self, output: str) -> None:
        """Remove the record of an output that was removed: a file written there later is not its job's."""
        with contextlib.suppress(OSError):
            self.path(output).unlink()

    def is_incomplete(self, output: str) -> bool:
        """A job has begun to write this output and has not finished."""
        return self.path(output, "incomplete").exists()

    def is_locked(self) -> bool:
        """Another Snakemake works in this folder; its files are in motion."""
        folder = self._folder / "locks"
        return folder.is_dir() and any(folder.iterdir())


class State:
    """What every file looked like when it was last looked at; only ever saves time."""

    def __init__(self, root: Path):
        self._root, self._path = root, root / _STATE
        self._read: dict[str, tuple[Stat, str]] = {}  # contents read by this process
        self.files: dict[
            str, list[Any]
        ] = {}  # output: [stat, stat of its record, fingerprint of its entry, sha256, hash of its record]
        self.stages: dict[str, Stat] = {}  # provenance or ledger file: stat
        self.differing: list[str] = []  # outputs whose content is not what was recorded
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self.files = {str(k): list(v) for k, v in content["files"].items() if len(v) == 5}
            self.stages, self.differing = dict(content["stages"]), list(content["differing"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.files, self.stages, self.differing = {}, {}, []

    def sha256(self, output: str) -> str:
        """The content of a file, read only when it has changed since it was last read.

        Raises:
            OSError: it cannot be read.
        """
        now, seen = stat(self._root / output), self.files.get(output)
        if output in self._read and self._read[output][0] == now:
            return self._read[output][1]
        if seen and now and seen[0] == now and seen[3]:
            return str(seen[3])
        self._read[output] = (now, sha256(self._root / output))
        return self._read[output][1]

    def know(self, output: str, content: str) -> None:
        """Take note of a file's content, known without reading it again: only its times were changed."""
        self._read[output] = (stat(self._root / output), content)

    def save(self) -> None:
        """Keep it for the next time.

        Raises:
            OSError: it cannot be written.
        """
        content = {"files": self.files, "stages": self.stages, "differing": self.differing}
        write_text(self._path, json.dumps(content, sort_keys=True))
