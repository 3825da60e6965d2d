"""The run record of a job: run time, host and package versions, in a JSON file.

Run records are in `logs/_jobs/`, one file a job, tracked by neither git nor DVC; after a run they are gathered
with the results, see `runs`. A run record names the content the job wrote: a file that differs from it is not recorded as the
job's result. A record that cannot be written is skipped.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from guidelab.provenance.disk import sha256, write_text

FOLDER = "logs/_jobs"  # no experiment's name begins with an underscore
MACHINE = "GUIDELAB_MACHINE"  # a name to record instead of the host's
TIME = "%Y-%m-%dT%H:%M:%SZ"  # of `started`, in UTC
_PACKAGES = (
    "guidelab", "torch", "torchvision", "numpy", "scipy", "pandas", "pillow", "safetensors", "torch-fidelity",
    "diffusers", "snakemake",
)  # fmt: skip


def key_of(job: Mapping[str, Any]) -> str:
    """A key that is equal for two jobs exactly when their parameters are."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:20]


def path_of(root: Path, output: str) -> Path:
    """Path of a job's run record; `output` is its first output by name."""
    return root / FOLDER / f"{output}.json"


def leave(
    job: Mapping[str, Any], outputs: Sequence[Path], started: float, seconds: float, finished: bool
) -> None:
    """Write a job's run record, in its working folder.

    Args:
        job: its parameters.
        outputs: what it makes; a job that writes outside `results/` gets no record.
        started: seconds since 1970; the record is in UTC.
        seconds: duration of this attempt; the sum of earlier attempts that stopped in time is a separate key.
        finished: the outputs are made; False for a training that saved its state and stopped.
    """
    first = min((output.as_posix() for output in outputs), default="")
    if not first.startswith("results/") or ".." in Path(first).parts:
        return
    before = read(Path(), first)
    same = before is not None and before["job"] == key_of(job) and not before["finished"]
    earlier = before["seconds"] + before["earlier_seconds"] if before and same else 0.0
    note = {
        "job": key_of(job),
        "started": time.strftime(TIME, time.gmtime(started)),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(
            sum(os.times()[:4]), 3
        ),  # of this process and those it waited for, since it began
        "earlier_seconds": round(earlier, 3),
        "finished": finished,
        "outputs": _contents(outputs) if finished else {},
        "machine": machine(),
        "software": software(),
    }
    with contextlib.suppress(OSError):  # a full disk ends no job that has its results
        write_text(path_of(Path(), first), json.dumps(note, indent=1, sort_keys=True) + "\n")


def _contents(outputs: Sequence[Path]) -> dict[str, str]:
    """sha256 of a job's outputs by path; unreadable ones are left out."""
    found = {}
    for output in outputs:
        with contextlib.suppress(OSError):
            found[output.as_posix()] = sha256(output)
    return found


def read(root: Path, output: str) -> dict[str, Any] | None:
    """The run record of a job, found by its first output's path; None if absent or invalid."""
    try:
        note = json.loads(path_of(root, output).read_text(encoding="utf-8"))
        taken = (note["seconds"], note["earlier_seconds"])
        numbers = all(isinstance(n, int | float) and 0 <= n < math.inf for n in taken)
        plain = isinstance(note["machine"], dict) and isinstance(note["software"], dict)
        wanted = {"job", "started", "finished"} <= set(note)
        wrote = note.setdefault("outputs", {})  # records of older versions have none
        plain = plain and isinstance(wrote, dict) and all(isinstance(sha, str) for sha in wrote.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return note if numbers and plain and wanted else None


def machine() -> dict[str, Any]:
    """The machine of this process: its name (`GUIDELAB_MACHINE`, else the host's), processor, cores, memory, GPUs."""
    found: dict[str, Any] = {
        "name": os.environ.get(MACHINE) or socket.gethostname(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }
    with contextlib.suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        models = [
            line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")
        ]
        found |= {"processor": models[0]} if models else {}
    with contextlib.suppress(OSError, ValueError):
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages * size / 2**30, 1)
    torch = sys.modules.get(
        "torch"
    )  # without torch loaded the job uses no GPU; importing it would take seconds
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def software() -> dict[str, str]:
    """The versions of Python, of guidelab and of the packages that compute or run jobs."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
