"""Who works in this project's folder: every Snakemake and every job holds a file of its own for as long as it lives.

The files lie in `running/` beside the states of trainings and are held by flock, which the kernel gives back when a
process ends, however it ends: a file that is there and not held was left by a process that was killed. No process
number is trusted for that; it is only told to the person who has to act.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidelab.errors import UserError

RUN = "GUIDELAB_RUN"  # in the environment of the jobs a Snakemake starts: its own file's name
_NOW = ("%Y-%m-%d %H:%M:%S",)
_POLL_S = 0.2


@dataclass(frozen=True)
class Worker:
    """One process that works, or worked, in a folder.

    Attributes:
        name: of its file. kind: `run` (a Snakemake) or `job`.
        what: to tell a person: the command, or the rule and its first output.
        pid, host, folder, since: which process, where, and from when.
        run: of a job: the name of the Snakemake that started it; empty for one started by hand.
        slurm: the Slurm job it belongs to; empty elsewhere.
        held: it lives. Of a file of another host that is not held nothing is known: not every file system carries
            locks from one machine to another.
    """

    name: str
    kind: str
    what: str
    pid: int = 0
    host: str = ""
    folder: str = ""
    since: str = ""
    run: str = ""
    slurm: str = ""
    held: bool = False

    @property
    def dead(self) -> bool:
        """It was killed: its file is there, on this machine, and nobody holds it."""
        return not self.held and self.host == socket.gethostname()

    def __str__(self) -> str:
        place = "" if self.host == socket.gethostname() else f" on {self.host}"
        slurm = f", Slurm job {self.slurm}" if self.slurm else ""
        return f"{self.what} (process {self.pid}{place}{slurm}, since {self.since})"


def place() -> Path:
    """Where the files lie: `running/` under `GUIDELAB_STATE_DIR` (default `.state`)."""
    return Path(os.environ.get("GUIDELAB_STATE_DIR", ".state")).absolute() / "running"


def name_of(outputs: Sequence[str | Path]) -> str:
    """The name of the file that two jobs with the same outputs both want."""
    paths = sorted(str(Path(path).absolute()) for path in outputs)
    return f"job-{hashlib.sha256(json.dumps(paths).encode()).hexdigest()[:20]}"


@contextlib.contextmanager
def hold(name: str, kind: str, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a name for the length of the block.

    Args:
        name: of the file; one process at a time holds it.
        kind, what: as in `Worker`.
        wait_s: how long to wait for another process that holds it: one that was told to end may be saving.
    Raises:
        UserError: another process holds it still, or the file cannot be written.
    """
    path = place() / name
    handle = _patiently(path, wait_s)
    try:
        _describe(handle, path, kind, what)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held, so that nobody else's is removed
        os.close(handle)


def workers() -> list[Worker]:
    """All that work, or were killed at work, in this folder; sorted by name."""
    here = str(Path.cwd())
    found = [worker for path in sorted(place().glob("*-*")) if (worker := _read(path)) is not None]
    return [worker for worker in found if worker.folder == here]


def orphaned() -> bool:
    """Whether the Snakemake that started this process is gone."""
    run = os.environ.get(RUN, "")
    return bool(run) and run not in {worker.name for worker in workers() if worker.held or not worker.dead}


def forget(worker: Worker) -> None:
    """Remove the file of a process that does not live any more; one that is held stays."""
    path = place() / worker.name
    handle = _take(path)
    if handle is not None:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _patiently(path: Path, wait_s: float) -> int:
    end = time.monotonic() + wait_s
    told = False
    while (handle := _take(path)) is None:
        other = _read(path)
        who = str(other) if other else "another process"
        if time.monotonic() >= end:
            raise UserError(
                f"{who} is at work on the same files. Wait until it has ended, or stop it ({stop([other])}), then run the "
                f"same command again. If that machine is gone for good, delete {path}."
            )
        if not told:
            print(f"guidelab: waiting up to {wait_s:.0f} s for {who}", file=sys.stderr)
            told = True
        time.sleep(_POLL_S)
    return handle


def stop(found: Sequence[Worker | None]) -> str:
    """The commands that stop processes: `scancel` for those of Slurm, `kill` for the others."""
    known = [worker for worker in found if worker is not None]
    slurm = sorted({worker.slurm for worker in known if worker.slurm})
    others = sorted({worker.pid for worker in known if not worker.slurm})
    words = [f"scancel {' '.join(slurm)}"] if slurm else []
    words += [f"kill {' '.join(map(str, others))}"] if others else []
    return "; ".join(words) or "see the processes of this folder"


def _take(path: Path) -> int | None:
    """An open file that this process holds, or None if another one does.

    Raises:
        UserError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return None
            except OSError as error:  # a file system without locks: nothing is protected, nothing is refused
                print(f"guidelab: {path}: cannot be locked ({error.strerror})", file=sys.stderr)
                return handle
            with contextlib.suppress(OSError):
                if os.fstat(handle).st_ino == path.stat().st_ino:
                    return handle
            os.close(handle)  # its holder removed it in between
    except OSError as error:
        raise _unwritable(path, error) from error


def _describe(handle: int, path: Path, kind: str, what: str) -> None:
    worker = Worker(
        path.name,
        kind,
        what,
        os.getpid(),
        socket.gethostname(),
        str(Path.cwd()),
        time.strftime(*_NOW),
        os.environ.get(RUN, "") if kind == "job" else "",
        os.environ.get("SLURM_JOB_ID", ""),
    )
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(worker)).encode(), 0)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another folder with "
        "GUIDELAB_STATE_DIR, then run the same command again: what is done stays done."
    )


def _read(path: Path) -> Worker | None:
    """What a file says, and whether it is held; None for one that is gone or not ours."""
    try:
        with open(path, "rb") as file:
            told: Any = json.loads(file.read() or b"{}")
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            except OSError:  # a file system without locks: the process number has to do
                held = told.get("host") == socket.gethostname() and Path(f"/proc/{told.get('pid')}").exists()
        known = {key: told[key] for key in told if key in Worker.__dataclass_fields__}
        return Worker(**{"name": path.name, "kind": "job", "what": "a job", **known, "held": held})
    except (OSError, ValueError, TypeError):
        return None
