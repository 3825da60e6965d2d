"""A job under Slurm stops by itself before its time limit, if it can go on later, and asks to be run again."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from guidelab.cli.runtime import Stopped, state_folder
from guidelab.slurm.stops import Stops, again, submitted

KEEP = {  # commands that keep a state; those with a manifest (.json) keep their shards
    "train",
    "images.train",
    "large.train",
    "images.discriminate",
    "large.discriminate",
    "images.null",
}


@contextlib.contextmanager
def planned(command: str, job: Mapping[str, Any], outputs: Sequence[Path]) -> Iterator[None]:
    """Mind the time limit for the length of the block.

    A job that stops and has got further puts itself back into the queue. One that has not got further fails, so that
    it is tried again with more time.

    Raises:
        Stopped: it was asked to stop.
    """
    slurm = submitted(dict(os.environ))
    shards = [output.with_suffix("") for output in outputs if output.suffix == ".json"]
    if not slurm or os.environ.get("RANK", "0") != "0" or not (command in KEEP or shards):
        yield
        return
    began, stops = time.time(), Stops(slurm)
    stops.begin(_asked)
    try:
        yield
    except (Stopped, BrokenPipeError):  # what reads our messages may have been told to stop, too, and be gone
        stops.end()
        further = any(_newer(folder, began) for folder in (state_folder(job), *shards))
        if further and again(slurm):
            _say(f"job {slurm} goes back into the queue")
        elif not further:
            _say("nothing new was saved in this time")
        raise
    finally:
        stops.end()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"guidelab: {text}", file=sys.stderr, flush=True)


def _asked(number: int, _frame: FrameType | None) -> None:
    raise Stopped(f"stopped by signal {number}; run the same command again to go on")


def _newer(folder: Path, began: float) -> bool:
    """Whether anything was written since; a second is allowed for the clocks of file servers."""
    return any(path.stat().st_mtime > began - 1 for path in folder.rglob("*.safetensors"))
