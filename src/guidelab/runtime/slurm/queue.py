"""Queries of Slurm's queue and parsers of their output. Each query is one short command; none runs in a loop."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_S = 60.0
_END = "\x1f"  # what no folder and no comment holds
_FIELDS = _END.join(
    ("%i", "%T", "%r", "%M", "%Z", "%k")
)  # job, state, why it waits, time used, folder, comment


@dataclass(frozen=True)
class Queued:
    """One job in the queue.

    Attributes:
        number: of the job. state: in Slurm's long form. reason: why it waits. used: time it has run, as Slurm writes it.
        folder: where it was submitted. comment: the executor writes the rule and its wildcards there.
    """

    number: str
    state: str
    reason: str
    used: str
    folder: str
    comment: str

    @property
    def what(self) -> str:
        """The rule and its output."""
        return self.comment.removeprefix("rule_").replace("_wildcards_", " ")


def ask(*command: str) -> str | None:
    """The output of a Slurm command; None where the command is missing or fails."""
    if not shutil.which(command[0]):
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout if done.returncode == 0 else None


def queue(*more: str) -> list[Queued] | None:
    """My jobs that are in the queue, or those that `more` options of squeue select; None without an answer."""
    rows_of_queue = ask("squeue", "--noheader", f"--format={_FIELDS}", *(more or ("--me",)))
    if rows_of_queue is None:
        return None
    rows = [line.strip(" ").split(_END, 5) for line in rows_of_queue.splitlines() if line.strip()]
    return [Queued(*row) for row in rows if len(row) == 6]


def config(name: str) -> str | None:
    """One value of the cluster's configuration."""
    found = re.search(rf"^{name}\s*=\s*(.*)$", ask("scontrol", "show", "config") or "", re.M)
    return found.group(1).strip() if found else None


def seconds(text: str) -> int | None:
    """Slurm's `days-hours:minutes:seconds` in seconds; None for UNLIMITED, NOT_SET, INVALID.

    >>> seconds("1-00:00:10"), seconds("5:00"), seconds("UNLIMITED")
    (86410, 300, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if not found:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def time_of(job: str) -> tuple[int, int] | None:
    """Seconds a running job has left, and its whole limit; None where there is no limit, or no answer."""
    words = (ask("squeue", "--noheader", "--format=%L|%l", "--jobs", job) or "").strip().split("|")
    found = [seconds(word) for word in words]
    left, limit = found if len(found) == 2 else (None, None)
    return None if left is None or limit is None else (left, limit)


def state_of(job: str) -> str:
    """A job's state; empty without an answer."""
    return (ask("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job) or "").strip()


def requeue(job: str) -> bool:
    """Put a running job back into the queue, with its full time limit and the same number."""
    return ask("scontrol", "requeue", job) is not None


def environment() -> dict[str, str]:
    """This process's environment without what the step it runs in would impose on another step."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SRUN_", "SBATCH_")) or name == "SLURM_CONF"
    }


def listed(jobs: Sequence[Queued], most: int = 8) -> str:
    """Jobs, one a line, for a message."""
    lines = [f"\n  {job.number} {job.state.lower()} {job.what} ({job.reason})" for job in jobs[:most]]
    return "".join(lines) + (f"\n  and {len(jobs) - most} more" if len(jobs) > most else "")
