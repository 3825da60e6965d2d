"""Planned stops: a resumable job under Slurm stops before its time limit and is requeued."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from guidelab.plan.rules import RULES
from guidelab.runtime.running import submitted
from guidelab.runtime.slurm.stops import SIGNALS, Stops, again
from guidelab.train.state import state_folder
from guidelab.train.stop import Stopped


@contextlib.contextmanager
def planned(rule: str, job: Mapping[str, Any], outputs: Sequence[Path]) -> Iterator[None]:
    """Mind the time limit for the length of the block, where the rule keeps a state or shards (a .json lists them).

    A job that stops and has got further puts itself back into the queue. One that has not got further fails, so that
    it is tried again with more time.

    Raises:
        Stopped: a stop was requested.
    """
    slurm = submitted()
    shards = [output.with_suffix("") for output in outputs if output.suffix == ".json"]
    if not slurm or os.environ.get("RANK", "0") != "0" or not (RULES[rule].resumable or shards):
        yield
        return
    folders = (state_folder(job), *shards)
    before, stops = _saved(folders), Stops(slurm)
    stops.begin(_request_stop)
    try:
        yield
    except (Stopped, BrokenPipeError):  # the process that reads our messages may have stopped, too
        stops.end()
        if _saved(folders) == before:
            _say("nothing new was saved in this time")
        elif again(slurm):
            _say(f"job {slurm} goes back into the queue")
        else:
            _say(
                f"job {slurm} is being ended, or this cluster does not requeue: it ends, and is tried again as often as the profile allows"
            )
        raise
    finally:
        stops.end()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"guidelab: {text}", file=sys.stderr, flush=True)


def _request_stop(number: int, _frame: FrameType | None) -> None:
    for other in SIGNALS:  # a second one would break off what the first one ends in order
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(f"stopped by signal {number}; run the same command again to continue")


def _saved(folders: Sequence[Path]) -> dict[Path, int]:
    """When each saved file was written; compared with itself only, for file servers have clocks of their own."""
    found = [path for folder in folders for path in folder.rglob("*.safetensors")]
    return {path: path.stat().st_mtime_ns for path in found}
