"""Process registry: one flock-protected file for each running Snakemake and job in the project's folder.

The files are in `running/` next to the states of trainings and are locked by flock, which the kernel releases when a
process ends, however it ends: a file that is there and not held was left by a process that was killed. No process
number is used for that; it only appears in messages to the user.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.runtime.worker import Worker, read, stop

RUN = "GUIDELAB_RUN"  # in the environment of the jobs a Snakemake starts: its own file's name
FROM = (
    "GUIDELAB_SUBMITTED_FROM"  # in jobs' environment: the Slurm job that Snakemake itself runs in, or `login`
)
NOTE = "note.json"  # next to kept outputs: the job's parameters, and the Snakemake that is to delete them
_NOW = "%Y-%m-%d %H:%M:%S"
_POLL_S = 0.2


def place() -> Path:
    """Where the files lie: `running/` under `GUIDELAB_STATE_DIR` (default `.state`)."""
    return Path(os.environ.get("GUIDELAB_STATE_DIR", ".state")).absolute() / "running"


def name_of(outputs: Sequence[str | Path]) -> str:
    """The name of the file that two jobs with the same outputs both want."""
    paths = sorted(os.path.relpath(path) for path in outputs)
    return f"job-{hashlib.sha256(json.dumps([_here(), paths]).encode()).hexdigest()[:20]}"


def _here() -> int:
    return Path.cwd().stat().st_ino


@contextlib.contextmanager
def hold(name: str, kind: str, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a name for the length of the block.

    Args:
        name: of the file; one process at a time holds it.
        kind, what: as in `Worker`.
        wait_s: how long to wait for another process that holds it: one that is stopping may be saving.
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
            path.unlink()  # while it is locked, so that no other process's file is removed
        os.close(handle)


def workers() -> list[Worker]:
    """All processes that run, or were killed, in this folder; sorted by name."""
    here = _here()
    found = [worker for path in sorted(place().glob("*-*")) if (worker := _read(path)) is not None]
    return [worker for worker in found if worker.inode == here]


def run_name() -> str:
    """The name of the Snakemake that started this process; empty for one started by hand."""
    return os.environ.get(RUN, "")


def submitted(environ: Mapping[str, str] = os.environ) -> str:
    """The number of the Slurm job that Snakemake's executor made for this process; empty for any other process.

    A user's allocation, in which Snakemake itself or a command by hand runs, is never stopped or requeued.
    """
    mine, outer = environ.get("SLURM_JOB_ID", ""), environ.get(FROM, "")
    return mine if outer and mine != outer else ""


def orphaned() -> bool:
    """Whether the Snakemake that started this process is not known to be running.

    From a node of a cluster that is in doubt where locks do not reach other machines.
    """
    run = run_name()
    return bool(run) and run not in {worker.name for worker in workers() if worker.held}


def forget(worker: Worker) -> None:
    """Remove the file of an ended process; one that is locked, or another user's, may stay."""
    path = place() / worker.name
    try:
        handle = _take(path)
    except UserError:
        return
    if handle is not None:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def kept() -> Path:
    """The folder of outputs that jobs complete without a running Snakemake; see `runtime/finished.py`."""
    return place().parent / "finished"


def release(run: str) -> None:
    """Remove outputs that jobs kept because their Snakemake could not be seen: it runs, and has recorded them itself."""
    for note in kept().glob(f"*/{NOTE}"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if json.loads(note.read_text(encoding="utf-8")).get("run") == run:
                shutil.rmtree(note.parent, ignore_errors=True)


def _patiently(path: Path, wait_s: float) -> int:
    end = time.monotonic() + wait_s
    warned = False
    while (handle := _take(path)) is None:
        other = _read(path)
        who = str(other) if other else "another process"
        if time.monotonic() >= end:
            raise UserError(
                f"{who} is working on the same files. Wait until it has ended, or stop it ({stop([other])}), then run the "
                f"same command again. If that machine no longer exists, delete {path}."
            )
        if not warned:
            print(f"guidelab: waiting up to {wait_s:.0f} s for {who}", file=sys.stderr)
            warned = True
        time.sleep(_POLL_S)
    return handle


def _take(path: Path) -> int | None:
    """An open file that this process holds, or None if another one does.

    Raises:
        UserError: the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = _open(path)
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


def _open(path: Path) -> int:
    """An open file; one of another user for reading, which is enough to see whether it is held.

    Raises:
        UserError: it was left by another user, who alone can remove it.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # less what the umask forbids
    except PermissionError:
        if not path.exists():
            raise
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return handle  # locked: the message names the holder
    os.close(handle)
    try:
        path.unlink()  # its owner's process has ended; a folder that the group may write to allows this
    except OSError as error:
        raise _of_another_user(path) from error
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _of_another_user(path: Path) -> UserError:
    try:
        who = path.owner()
    except (OSError, KeyError):
        who = "another user"
    return UserError(
        f"{path}: was left by a process of {who} that is gone, and only {who} can remove it. Ask {who} to delete it (and to "
        "run `chmod g+w` on the folder, if you share it), or work in a clone of your own."
    )


def _describe(handle: int, path: Path, kind: str, what: str) -> None:
    worker = Worker(
        path.name,
        kind,
        what,
        os.getpid(),
        socket.gethostname(),
        str(Path.cwd()),
        time.strftime(_NOW),
        run_name() if kind == "job" else "",
        submitted(),
        _here(),
    )
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(worker)).encode(), 0)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    to_do = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Make the folder writable"
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}). {to_do} or choose another folder, the same for everybody "
        "who works here, with GUIDELAB_STATE_DIR; then run the same command again: what is done stays done."
    )


def _read(path: Path) -> Worker | None:
    """A file's content, and whether it is locked; None for one that was removed or is not of this format."""
    try:
        with open(path, "rb") as file:
            content: Any = json.loads(file.read() or b"{}")
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            except OSError:  # a file system without locks: the process number has to do
                held = (
                    content.get("host") == socket.gethostname()
                    and Path(f"/proc/{content.get('pid')}").exists()
                )
        return read(content, path.name, held)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
