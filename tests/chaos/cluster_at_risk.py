"""The test cluster under fault injection: its daemons die and come back, its nodes lose their jobs, its jobs are cancelled."""

import os
import re
import signal
import time
from pathlib import Path

from attempt import Line
from slurm_tree import slurm

AWAY_S = 15.0  # a daemon that died is back after so long: Slurm misses a job only 10 s after it was started (BatchStartTimeout)
_AT_WORK = "PENDING,CONFIGURING,RUNNING,COMPLETING,SUSPENDED"


class ClusterAtRisk:
    """The parts of a cluster that kills hit."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.back: dict[str, float] = {}  # daemons that are away, and when they come back

    def send(self, kind: str, line: Line) -> str:
        """Hit the job a line speaks of, its node, or the controller; what was hit, or nothing if the job had ended."""
        variables = _environment(line.pid)
        job, node = variables.get("SLURM_JOB_ID"), variables.get("SLURMD_NODENAME")
        if not job or not node:
            return ""
        at = f"{line.rule} {line.output}"
        if kind == "cancel":
            slurm("scancel", job)
            return f"scancel {job}, {at}"
        if kind == "controller":
            self.away("slurmctld")
            return f"slurmctld, at {at}"
        self.away(node)
        if kind == "power":
            return f"node {node} and {_lose(node)} processes of its jobs, at {at}"
        return f"slurmd of {node}, at {at}"

    def away(self, daemon: str) -> None:
        self.cluster.down(daemon)
        self.back[daemon] = time.time() + AWAY_S

    def mend(self, now: float) -> None:
        """Start the daemons again whose time has come."""
        for daemon in [name for name, at in self.back.items() if at <= now]:
            self.cluster.up(daemon)
            del self.back[daemon]

    def end(self, root: Path) -> None:
        """No job of a tree is left."""
        self.mend(float("inf"))
        if left := self.jobs(root):
            slurm("scancel", "--signal=KILL", "--full", *left)
            slurm("scancel", *left)

    def jobs(self, root: Path) -> list[str]:
        """Numbers of the jobs of a tree that are not over."""
        if self.back:
            self.mend(time.time())
        listed = slurm("squeue", "--noheader", f"--states={_AT_WORK}", "--format=%i|%Z")
        return [line.split("|")[0] for line in listed.splitlines() if line.endswith(f"|{root}")]


def _lose(node: str) -> int:
    """Kill all that runs of a node's jobs, their keepers first: nobody is left to report."""
    held = slurm(
        "squeue", "--noheader", "--states=RUNNING,COMPLETING", f"--nodelist={node}", "--format=%i"
    ).split()
    keepers, workers = [], []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found = re.match(r"slurmstepd: \[(\d+)\.", command)
        if found and found[1] in held:
            keepers.append(int(entry.name))
        elif _environment(int(entry.name)).get("SLURMD_NODENAME") == node:
            workers.append(int(entry.name))
    for pid in keepers + workers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(workers)


def _environment(pid: int) -> dict[str, str]:
    """A process's environment as it was started; empty when it has ended."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(part.split("=", 1) for part in text.split("\0") if "=" in part)
