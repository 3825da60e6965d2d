"""Planned stops under Slurm: a job gets SIGTERM before its time limit and requeues itself.

The job keeps its number and gets its whole time again; Snakemake sees it wait and run, and counts no attempt. What a
job must bring along is a state it resumes from.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

from guidelab.environment import seconds
from guidelab.runtime.slurm import queue

ASK_AGAIN_S = 60.0
MARGIN_S = (30.0, 600.0)  # of the limit's tenth: from when on it is stopped; GUIDELAB_MARGIN_S overrides
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_LISTENER = (  # the direct child of the step: where processes are tracked by cgroups, Slurm signals no other
    "trap 'kill -s TERM {pid}' TERM; trap 'kill -s USR1 {pid}' USR1; "
    "while kill -0 {pid} 2>/dev/null; do sleep 1 & wait $!; done"
)


class Stops:
    """Sends this process SIGTERM in time; forwards Slurm's signals where they would not arrive."""

    def __init__(self, job: str):
        self.job = job
        self._done = threading.Event()
        self._listener: subprocess.Popen[bytes] | None = None

    def begin(self, handler: Callable[[int, FrameType | None], None]) -> None:
        """Set `handler` as the handler until a trainer sets its own; watch the time from now on."""
        for number in SIGNALS:
            signal.signal(number, handler)
        if (queue.config("ProctrackType") or "").endswith("cgroup"):
            self._listen()
        threading.Thread(target=self._mind, daemon=True).start()

    def end(self) -> None:
        """No more stops: the work is done, or has been stopped."""
        self._done.set()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _listen(self) -> None:
        script = _LISTENER.format(pid=os.getpid())
        command = ["srun", "--overlap", f"--jobid={self.job}", "--ntasks=1", "--nodes=1", "--cpu-bind=none"]
        try:
            self._listener = subprocess.Popen(
                [*command, "--quiet", "sh", "-c", script],
                env=queue.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            print(f"guidelab: {shlex.join(command)}: {error}; Slurm's signals do not arrive", file=sys.stderr)

    def _mind(self) -> None:
        found = queue.time_of(self.job)
        while found is None and queue.state_of(self.job) == "" and not self._done.wait(ASK_AGAIN_S):
            found = queue.time_of(self.job)  # Slurm did not answer
        if found is None:
            print(f"guidelab: job {self.job}: no time limit is known, so no stop is planned", file=sys.stderr)
            return
        margin = seconds("GUIDELAB_MARGIN_S", min(max(found[1] / 10, MARGIN_S[0]), MARGIN_S[1]))
        left: float = found[0]
        while not self._done.wait(max(left - margin, 0.0)):
            found = queue.time_of(self.job)  # the limit may have been extended
            left = found[0] if found else 0.0
            if left <= margin + 1:
                print(f"guidelab: {left:.0f} s of the time limit are left: stopping", file=sys.stderr)
                os.kill(os.getpid(), signal.SIGTERM)
                return


def again(job: str) -> bool:
    """Put this job, which has saved and stopped, back into the queue; not one that Slurm is ending anyway."""
    return queue.state_of(job) == "RUNNING" and queue.requeue(job)
