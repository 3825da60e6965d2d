"""Lock a job's outputs so that one process at a time writes them; temporary files of killed attempts are removed first."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.runtime import running
from guidelab.runtime.finished import keep, put_back
from guidelab.train.state import state_folder

WAIT_S = 30.0  # for an earlier attempt that is stopping and saves its state


@contextlib.contextmanager
def claimed(rule: str, job: Mapping[str, Any], outputs: Sequence[Path]) -> Iterator[bool]:
    """Hold a job's outputs for the length of the block; of processes that share a job, the first does.

    Raises:
        UserError: another process makes them still after `WAIT_S`, or the disk is full.
    """
    if os.environ.get("RANK", "0") != "0":
        yield True
        return
    with held(rule, outputs):
        for path in leftovers(job, outputs):
            path.unlink(missing_ok=True)
        if "RANK" not in os.environ and taken_over(
            job, outputs
        ):  # else the other processes would wait for this one
            yield False
            return
        yield True
        keep(job, outputs)


def held(rule: str, outputs: Sequence[Path]) -> contextlib.AbstractContextManager[None]:
    """Hold a job's outputs; an earlier attempt is waited for.

    Raises:
        UserError: another process makes them still after `WAIT_S`, or the disk is full.
    """
    return running.hold(running.name_of(outputs), "job", f"{rule} {outputs[0]}", WAIT_S)


def taken_over(job: Mapping[str, Any], outputs: Sequence[Path]) -> bool:
    """Restore outputs completed by an orphaned job, with a message; returns whether there were any."""
    found = put_back(job, outputs)
    if found:
        print(f"guidelab: {outputs[0]}: was finished after Snakemake had ended; taken over", file=sys.stderr)
    return found


def leftovers(job: Mapping[str, Any], outputs: Sequence[Path]) -> list[Path]:
    """Temporary files of attempts that were killed while they wrote: of these outputs, their shards and the state."""
    found = [path for output in outputs for path in output.parent.glob(f".{output.name}.*.tmp")]
    folders = [output.with_suffix("") for output in outputs if output.suffix == ".json"]
    for folder in (*folders, state_folder(job)):
        found += folder.rglob(".*.tmp")
    return found
