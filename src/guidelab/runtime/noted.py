"""Write the run record of a job: run time, host and package versions."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.provenance import notes
from guidelab.train.stop import Stopped


@contextlib.contextmanager
def noted(job: Mapping[str, Any], outputs: Sequence[Path]) -> Iterator[None]:
    """Time the block and write a run record at its end; of processes that share a job, only the first does.

    A job that fails leaves none. One that stops in time is recorded as not finished: its time is added to the
    attempt that resumes it.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    started, clock = time.time(), time.perf_counter()
    try:
        yield
    except Stopped:
        notes.leave(job, outputs, started, time.perf_counter() - clock, finished=False)
        raise
    notes.leave(job, outputs, started, time.perf_counter() - clock, finished=True)
