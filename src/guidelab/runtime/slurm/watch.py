"""Robust job-status polling for snakemake-executor-plugin-slurm 2.8.0: no job is lost, no wait is silent.

The executor's plugin (2.8.0) queries the states of its jobs and then

* drops all jobs when Slurm does not answer, and waits for ever for what it has dropped;
* leaves preempted jobs, and those of a lost node, to Slurm, which may have cancelled them for good;
* does not know sacct's "CANCELLED by 1000" and waits on;
* waits for jobs that Slurm has forgotten.

So its query function is wrapped; unknown states are mapped to ones the plugin handles. It also reports, whenever nothing
has happened for some minutes, what is waited for and why. The plugin's version is pinned; another one that lacks what
is replaced here is reported once, and left alone.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from guidelab.environment import whole
from guidelab.runtime.slurm.queue import Queued, listed, queue

PLUGIN = "snakemake_executor_plugin_slurm"
SURE = 2  # equal answers in a row before a state that may be transient is accepted
AGAIN_S = 10.0  # between the two for squeue; sacct, which lags, is queried at the usual interval
_LOST = {  # states the plugin waits on -> one it acts on: the job is submitted again, as `retries` allows
    "PREEMPTED": "CANCELLED",
    "NODE_FAIL": "FAILED",
    "REVOKED": "FAILED",
    "LAUNCH_FAILED": "FAILED",
    "SPECIAL_EXIT": "FAILED",
}
_USUAL = ("Resources", "Priority", "None", "BeginTime", "Dependency")

Answer = tuple[dict[str, str] | None, float | None]
Ask = Callable[[str, Any], Awaitable[Answer]]


def mend() -> None:
    """Replace the executor's query function, if Snakemake has the executor."""
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or getattr(plugin, "guidelab_watch", None):
        return
    executor: Any = getattr(plugin, "Executor", None)
    if not hasattr(plugin, "query_job_status") or not hasattr(executor, "check_active_jobs"):
        print(f"guidelab: {PLUGIN} is another version: lost jobs are not noticed", file=sys.stderr)
        return
    watch = Watch(plugin.query_job_status, whole("GUIDELAB_WATCH_MINUTES", 10) * 60.0)
    check = executor.check_active_jobs

    async def check_active_jobs(self: Any, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        watch.expect([job.external_jobid for job in active_jobs])
        async for job in check(self, active_jobs):
            yield job

    plugin.guidelab_watch = watch  # type: ignore[attr-defined]
    plugin.query_job_status = watch.query  # type: ignore[attr-defined]
    executor.check_active_jobs = check_active_jobs


class Watch:
    """Wraps the executor's queries of Slurm.

    Attributes:
        ask: the plugin's own function: `(command, logger) -> (states by job or None, seconds)`.
        quiet_s: so many seconds without a change before the awaited jobs are reported.
        tell, clock, again_s: for tests.
    """

    def __init__(
        self,
        ask: Ask,
        quiet_s: float,
        tell: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        again_s: float = AGAIN_S,
    ):
        self.ask, self.quiet_s, self.clock, self.again_s = ask, quiet_s, clock, again_s
        self.tell = tell or (lambda text: print(f"guidelab: {text}", file=sys.stderr, flush=True))
        self._expected: list[str] = []
        self._last: dict[str, str] = {}
        self._doubts: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._news = self._told = clock()
        self._silent_since: float | None = None

    def expect(self, jobs: Sequence[str]) -> None:
        """The jobs the executor waits for."""
        self._expected = list(jobs)

    async def query(self, command: str, logger: Any) -> tuple[dict[str, str], float]:
        """The states of jobs, mapped to ones the executor handles; empty, never None, without an answer."""
        found, took = await self.ask(command, logger)
        if found is None:
            self._silent()
            return {}, 0.0
        if self._silent_since is not None:
            self.tell("Slurm answers again")
            self._silent_since, self._news = None, self.clock()
        lags = command.lstrip().startswith("sacct")
        states = self._accepted(found, lags)
        if not lags and any(count < SURE for count in self._doubts.values()):
            await asyncio.sleep(self.again_s)
            found, _ = await self.ask(command, logger)
            states = states if found is None else self._accepted(found, lags)
        self._watch(states)
        return states, took or 0.0

    def _silent(self) -> None:
        now = self.clock()
        first = self._silent_since is None
        self._silent_since = now if self._silent_since is None else self._silent_since
        if not first and now - self._told < self.quiet_s:
            return
        self._told = now
        minutes = (now - self._silent_since) / 60
        self.tell(
            f"Slurm has not answered {f'for {minutes:.0f} minutes' if minutes else 'this time'}; {len(self._expected)} jobs are "
            "waited for. They keep running, and this run continues when Slurm answers: no action is needed. `sinfo` shows "
            "its state. If it does not return: Ctrl-C here, later the same command again; what is done stays done."
        )

    def _accepted(self, found: Mapping[str, str], lags: bool) -> dict[str, str]:
        self._seen |= set(found)
        states = {job: state.split()[0] if state else state for job, state in found.items()}
        expected = [
            job for job in self._expected if job in self._seen or not lags
        ]  # a new job may not be listed yet
        doubtful = {job: states.get(job, "UNKNOWN") for job in expected}
        doubtful = {job: state for job, state in doubtful.items() if state in (*_LOST, "UNKNOWN")}
        self._doubts = Counter({job: self._doubts[job] + 1 for job in doubtful})
        for job, state in doubtful.items():
            if self._doubts[job] < SURE:
                states[job] = "PENDING"  # it may be on its way back into the queue, or not be in it yet
            elif state == "UNKNOWN":
                self.tell(f"Slurm has forgotten job {job}: whether its files are there decides")
                states[job] = "UNKNOWN"
            else:
                self.tell(f"job {job} is {state} and Slurm does not start it again: it counts as failed")
                states[job] = _LOST[state]
        return states

    def _watch(self, states: dict[str, str]) -> None:
        now = self.clock()
        mine = {job: states[job] for job in self._expected if job in states}
        if mine != self._last:
            self._last, self._news = mine, now
        if mine and now - max(self._news, self._told) >= self.quiet_s:
            self._told = now
            self.tell(waited(queue(f"--jobs={','.join(mine)}") or [], (now - self._news) / 60))


def waited(jobs: Sequence[Queued], minutes: float) -> str:
    """What is waited for, and what can be done about jobs that wait for something unusual."""
    running = [job for job in jobs if job.state == "RUNNING"]
    pending = [job for job in jobs if job.state == "PENDING"]
    odd = [job for job in pending if job.reason not in _USUAL]
    head = f"nothing new for {minutes:.0f} minutes: {len(running)} jobs run, {len(pending)} wait"
    if not odd:
        return head + ("; see `squeue --me`" if jobs else "; none is in the queue")
    return (
        f"{head}, of these {len(odd)} for no usual reason:{listed(odd)}\n"
        "They may wait for ever. The reason names the limit (`man squeue`, JOB REASON CODES): ask for less with "
        "--set-resources, choose another partition with GUIDELAB_SLURM_PARTITION, or `scontrol release JOB` for held ones."
    )
