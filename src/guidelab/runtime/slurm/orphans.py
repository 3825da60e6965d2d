"""Refuse to start while Slurm jobs of an earlier Snakemake are still in the queue.

Jobs of a killed Snakemake stay in the queue, run and write files. A new Snakemake does not know them and would
submit them again.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from guidelab.errors import UserError, counted
from guidelab.runtime.preflight import invocation_of
from guidelab.runtime.running import FROM
from guidelab.runtime.slurm import watch
from guidelab.runtime.slurm.queue import Queued, listed, queue


def begin(arguments: Sequence[str]) -> None:
    """Look for such jobs, mark those of this run in their environment, and start the status polling.

    Args:
        arguments: of the Snakemake that reads the workflow, without the program's name.
    Raises:
        UserError: there are some, and jobs would be run.
    """
    os.environ[FROM] = os.environ.get("SLURM_JOB_ID", "login")
    invocation = invocation_of(arguments)
    if not invocation.tells:
        return
    left = orphans(queue() or [], Path.cwd())
    if left and invocation.acts:
        raise UserError(message(left))
    if left:
        print(message(left), file=sys.stderr)
    watch.mend()


def within() -> None:
    """Ignore SIGUSR1 in the Snakemake inside a job: a cluster's notice before the time limit is for the job's command.

    Without this, the signal would end Snakemake and its shell before the command has saved its state.
    """
    signal.signal(
        signal.SIGUSR1, signal.SIG_IGN
    )  # child processes inherit this; a training sets its own handler


def orphans(jobs: Sequence[Queued], folder: Path) -> list[Queued]:
    """The queued Slurm jobs that a Snakemake submitted from a folder."""
    here = folder.resolve()
    return [job for job in jobs if job.comment.startswith("rule_") and Path(job.folder).resolve() == here]


def message(left: Sequence[Queued]) -> str:
    """The message about them."""
    return (
        f"still in the queue for this folder: {counted(len(left), 'job')} of a snakemake that has ended, or runs on another machine:{listed(left)}\n"
        "Nothing was started, for two jobs would write the same files. Wait until they have ended, or cancel them (a "
        f"training saves its state first):\n  scancel {' '.join(job.number for job in left)}\n"
        "Then type the same command again."
    )
