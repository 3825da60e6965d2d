"""Divide the shards of one manifest between processes: each makes every n-th; the first waits for the rest.

They communicate through the folder of shards, not through a network: a shard is whole or absent. Each process keeps a
status file in that folder while it works; if it fails, the file stays and holds the reason.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from guidelab.compute.processes import ProcessGroup
from guidelab.environment import seconds
from guidelab.errors import UserError
from guidelab.io.shards import Shard

PATIENCE_S = 3600.0  # without one new shard of another process; GUIDELAB_PATIENCE_S overrides
_POLL_S = 0.5
_SKEW_S = 10.0  # a process may begin, and fail, a little before the one that waits
_ATTEMPT = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "SLURM_JOB_ID",
    "SLURM_RESTART_COUNT",
)
_LEAVE_S = 60.0  # a process whose last shard is there has this long to take its note away


def share(shards: Sequence[Shard], here: ProcessGroup) -> list[Shard]:
    """The shards this process makes: every `size`-th."""
    return list(shards[here.rank :: here.size])


def whole(folder: Path, shard: Shard, about: Mapping[str, Any]) -> bool:
    """Whether a shard is there, of these seeds and made as `about` says; its header is read, its images are not."""
    try:
        with safe_open(folder / shard.name, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("guidelab", "{}"))
    except (SafetensorError, OSError, ValueError):
        return False
    same = json.loads(json.dumps(dict(about)))
    return bool(meta.get("about") == same and meta.get("seeds") == [shard.first, shard.last])


@contextlib.contextmanager
def present(folder: Path, here: ProcessGroup) -> Iterator[None]:
    """Keep this process's status file for the length of the block, so that waiting processes see an error at once."""
    if here.size == 1:
        yield
        return
    _patience()  # an invalid value is refused now, not after the work
    _note(folder, here.rank, "working")
    try:
        yield
    except BaseException as error:
        _note(folder, here.rank, "failed", f"{type(error).__name__}: {error}"[:400])
        raise
    _path(folder, here.rank).unlink(missing_ok=True)


def wait(
    folder: Path,
    shards: Sequence[Shard],
    about: Mapping[str, Any],
    here: ProcessGroup,
    began: float,
    **clock: Any,
) -> None:
    """Wait until every shard is there and the other processes have ended.

    Args:
        folder: of the shards.
        shards: all of the manifest, in the order they were shared.
        about: what they are made from.
        here: this process, the first.
        began: when it began (`time.time`); older notes are of an earlier attempt.
        clock: `now`, `sleep` and `patience_s`, for tests.
    Raises:
        UserError: another process failed, or none of the others has finished a shard for `patience_s` seconds.
    """
    now: Callable[[], float] = clock.get("now", time.time)
    sleep: Callable[[float], None] = clock.get("sleep", time.sleep)
    patience = clock.get("patience_s") or _patience()
    left = [shard for shard in shards if not whole(folder, shard, about)]
    last = now()
    while left:
        _raise_failed(folder, here, began)
        still = [shard for shard in left if not whole(folder, shard, about)]
        if len(still) < len(left):
            left, last = still, now()
        if left and now() - last > patience:
            owners = sorted({shards.index(shard) % here.size for shard in left})
            raise UserError(
                f"{folder}: {len(left)} of {len(shards)} shards are missing, those of process {owners} of {here.size}; none "
                f"came in {patience:.0f} s. A process ended or hangs: read its log, then run the same command again "
                "(finished shards stay; GUIDELAB_PATIENCE_S changes how long to wait)."
            )
        if left:
            sleep(_POLL_S)
    while _working(folder, here, began) and now() - last <= _LEAVE_S:
        sleep(_POLL_S)


def _patience() -> float:
    return seconds("GUIDELAB_PATIENCE_S", PATIENCE_S)


def _notes(folder: Path, here: ProcessGroup, began: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """The other processes' notes of this attempt, by rank."""
    for rank in range(here.size):
        with contextlib.suppress(OSError, ValueError, KeyError):
            note = json.loads(_path(folder, rank).read_text(encoding="utf-8"))
            same = note["attempt"] == _attempt() and note["at"] >= began - _SKEW_S
            if rank != here.rank and same:
                yield rank, note


def _raise_failed(folder: Path, here: ProcessGroup, began: float) -> None:
    for rank, note in _notes(folder, here, began):
        if note["state"] == "failed":
            raise UserError(
                f"{folder}: process {rank} of {here.size} failed: {note['why']}. Finished shards stay: run the same "
                "command again once that is mended."
            )


def _working(folder: Path, here: ProcessGroup, began: float) -> bool:
    return any(note["state"] == "working" for _, note in _notes(folder, here, began))


def _note(folder: Path, rank: int, state: str, why: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, rank)
    temporary = path.with_suffix(".new")
    text = json.dumps({"state": state, "why": why, "at": time.time(), "attempt": _attempt()})
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _attempt() -> list[str]:
    """An identifier of this attempt, from the launcher's environment variables."""
    return [os.environ.get(name, "") for name in _ATTEMPT]


def _path(folder: Path, rank: int) -> Path:
    """Of a process's note; it is listed in no manifest, so writing the manifest removes it."""
    return folder / f"process-{rank}.json"
