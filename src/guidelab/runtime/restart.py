"""Restart after a killed Snakemake: its lock is removed, its jobs that still run are named, and nothing starts
meanwhile.

A killed Snakemake leaves its lock, and its jobs keep running. Snakemake cannot distinguish such a lock from that of
a running one, and takes files of a job that still runs for incomplete: two jobs would write them.
"""

import atexit
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from guidelab.errors import UserError, counted
from guidelab.runtime import running
from guidelab.runtime.preflight import invocation_of
from guidelab.runtime.worker import Worker, stop

_LOCKS = Path(".snakemake/locks")
_NAMED = 8


def restart(arguments: Sequence[str]) -> None:
    """Handle locks and jobs of an earlier Snakemake in this folder, and register this one if it will run jobs.

    Args:
        arguments: of the Snakemake that reads the workflow, without the program's name.
    Raises:
        UserError: jobs of an ended Snakemake still run, locks of a running one would be removed, or results would
            be recorded as made by jobs that did not run.
    """
    invocation = invocation_of(arguments)
    if invocation.touches:
        raise UserError(
            "--touch: would record results as made with the parameters and the code of now, which did not make them. To see "
            "what is outdated: snakemake -n. To make it again: snakemake -c2"
        )
    # registered first, so that of two that start together neither takes the other for ended
    own = _note(arguments) if invocation.acts else ""
    others = [worker for worker in running.workers() if worker.name != own]
    runs = [worker for worker in others if worker.kind == "run"]
    at_work = [worker for worker in runs if worker.held]
    if invocation.unlocks:
        _unlock_by_hand(runs, at_work)
        return
    orphans = [worker for worker in others if _orphan(worker, {run.name for run in at_work})]
    if orphans:
        message = _orphans_message(orphans)
        if invocation.acts:
            raise UserError(message)
        print(message, file=sys.stderr)
        return
    if invocation.acts:
        _tell_of_unknown([worker for worker in others if worker.kind == "job" and worker.unknown])
        _take_lock_away(runs, at_work)
        for worker in others:
            if worker.dead:
                running.forget(worker)


def _note(arguments: Sequence[str]) -> str:
    """Hold a file until this process ends; the jobs it starts carry its name, which is returned."""
    name = f"run-{os.getpid()}-{os.urandom(4).hex()}"
    held = contextlib.ExitStack()
    held.enter_context(running.hold(name, "run", shlex.join(["snakemake", *arguments])[:200]))
    held.callback(running.release, name)
    atexit.register(held.close)
    os.environ[running.RUN] = name
    return name


def _orphan(worker: Worker, alive: set[str]) -> bool:
    """A running job whose Snakemake has ended; jobs started by hand have none."""
    return worker.kind == "job" and worker.held and bool(worker.run) and worker.run not in alive


def _orphans_message(orphans: Sequence[Worker]) -> str:
    named = "".join(f"\n  {worker}" for worker in orphans[:_NAMED])
    more = f"\n  and {len(orphans) - _NAMED} more" if len(orphans) > _NAMED else ""
    return (
        f"still running here: {counted(len(orphans), 'job')} of a snakemake that has ended:{named}{more}\n"
        "Nothing was started, for two jobs would write the same files. Wait until they have ended, or stop them (a training "
        f"saves its state first):\n  {stop(orphans)}\nThen type the same command again."
    )


def _take_lock_away(runs: Sequence[Worker], at_work: Sequence[Worker]) -> None:
    """Remove the locks in this folder if every process that may have left them is known to have ended."""
    locks = sorted(_LOCKS.glob("*.lock"))
    if not locks:
        return
    unknown = [worker for worker in runs if worker.unknown]
    if at_work or unknown:
        for worker in at_work:
            print(f"another snakemake is running in this folder: {worker}", file=sys.stderr)
        for worker in unknown:
            print(
                f"this folder was locked by {worker}; whether it still runs cannot be seen from here. If it does not: "
                "snakemake --unlock",
                file=sys.stderr,
            )
        return
    gone = [worker for worker in runs if worker.dead]
    if gone:
        for lock in locks:
            lock.unlink(missing_ok=True)
        print(
            f"removed the lock of a killed snakemake: {gone[-1]}. Unfinished outputs of its jobs are made again.",
            file=sys.stderr,
        )


def _tell_of_unknown(jobs: Sequence[Worker]) -> None:
    """Jobs of other machines; those of Slurm were looked for in its queue, and are not there."""
    for worker in jobs:
        if worker.slurm:
            running.forget(worker)
        else:
            print(
                f"{worker}: whether it still runs cannot be seen from here. If it does, stop this run and wait for it; if "
                f"that machine is gone, delete {running.place() / worker.name}",
                file=sys.stderr,
            )


def _unlock_by_hand(runs: Sequence[Worker], at_work: Sequence[Worker]) -> None:
    if at_work:
        raise UserError(
            f"--unlock: a snakemake is running in this folder: {at_work[0]}. Its lock stays, for two would write the "
            f"same files. Wait for it, or stop it: {stop(at_work)}"
        )
    for worker in runs:
        running.forget(worker)
