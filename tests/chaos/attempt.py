"""One attempt: a command typed, and killed on the way, once or on Slurm several times, until it ends."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plan import Kill
from tree_at_risk import AtRisk, processes

_POLL_S = 0.03
_SPAN_S = 4.0  # of Snakemake's own start
_MESSAGES = re.compile(
    r"guidelab: |SLURM status is|in the queue for this folder|Slurm (?:answers|has)|Slurm does not start|of a snakemake that has ended|removed the lock|another snakemake|Error in rule|LockException|cannot be locked|"
    r"Its lock stays|stopped after|Nothing to be done|IncompleteFiles|ERROR: |Terminating|Will exit"
)


@dataclass(frozen=True)
class Line:
    """A line of jobs.log: a job that started, ended, or went on from an iteration."""

    at: float
    word: str
    rule: str
    output: str
    pid: int

    @property
    def job(self) -> tuple[str, str]:
        return self.rule, self.output


@dataclass
class Hit:
    """What a kill hit, and when, in seconds since the epoch; `what` is empty where it came too late."""

    kill: Kill
    what: str = ""
    at: float = 0.0


@dataclass
class Outcome:
    """What came of an attempt.

    Attributes:
        code: the command's exit status. said: what it printed. hits: the kills, in their order.
        lines: what jobs noted during the attempt.
    """

    code: int
    said: str
    hits: list[Hit] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def messages(self) -> list[str]:
        """The lines that say what happened."""
        return [line.strip() for line in self.said.splitlines() if _MESSAGES.search(line)]


def read_lines(folder: Path) -> list[Line]:
    """What the jobs noted so far."""
    try:
        text = (folder / "jobs.log").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    parts = [line.split() for line in text.splitlines()]
    return [Line(float(p[0]), p[1], p[2], p[3], int(p[4])) for p in parts if len(p) == 5]


def attempt(
    tree: AtRisk, command: Sequence[str], source: Callable[[], Kill | None], spans: dict[str, float]
) -> Outcome:
    """Type a command, send the kills, and wait for its end.

    Args:
        tree: where.
        command: what is typed.
        source: the next kill; None to let it run. Called once, on a cluster again after each kill.
        spans: the usual seconds of each rule's jobs.
    Raises:
        AssertionError: the command does not end.
    """
    before, began = len(read_lines(tree.folder)), time.time()
    said = tree.folder / "said.txt"
    found, aim = Outcome(0, ""), Aim(tree, spans)
    aim.take(source())
    with said.open("w") as out:
        process = subprocess.Popen(
            command, cwd=tree.root, env=tree.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=_hear_interrupts,
        )  # fmt: skip
    while process.poll() is None:
        assert time.time() - began < tree.patience_s, (
            f"{' '.join(command)} hangs:\n{said.read_text()[-2000:]}"
        )
        if aim.sends(process.pid):
            found.hits.append(aim.hit)
            aim.take(source() if tree.cluster else None)
        if tree.cluster:
            tree.cluster.mend(time.time())
        time.sleep(_POLL_S)
    aim.look()
    if aim.kill:
        found.hits.append(aim.hit)
    found.code, found.said = process.returncode, said.read_text(errors="replace")
    found.lines = read_lines(tree.folder)[before:]
    return found


class Aim:
    """The next kill."""

    def __init__(self, tree: AtRisk, spans: dict[str, float]):
        self.tree, self.spans = tree, spans
        self.kill: Kill | None = None

    def take(self, kill: Kill | None) -> None:
        """Wait for the moment of a kill from now on."""
        self.kill, self.began = kill, time.time()
        if not kill:
            return
        self.hit = Hit(kill)
        self.before = len(read_lines(self.tree.folder))
        for path in self.tree.folder.glob("fault.*"):
            path.unlink(missing_ok=True)
        if kill.kind == "write":
            _lay_fault(self.tree, kill, self.before)

    def look(self) -> bool:
        """Whether a job that was to die at a write has died."""
        done = self.tree.folder / "fault.done"
        if self.kill and self.kill.kind == "write" and done.exists():
            _, _, place = done.read_text().partition(" ")
            if place:  # else it is being written
                self.hit.what, self.hit.at = place, done.stat().st_mtime
        return bool(self.kill and self.hit.at)

    def sends(self, typed: int) -> bool:
        """Send it if its moment has come; whether it was sent."""
        kill = self.kill
        if not kill or kill.kind == "write":
            return self.look()
        lines = read_lines(self.tree.folder)[self.before :]
        ended = {line.pid for line in lines if line.word == "end"}
        starts = [line for line in lines if line.word == "start"][max(kill.start - 1, 0) :]
        at_work = [line for line in starts if line.pid not in ended]
        if kill.start and not at_work:
            return False
        line = at_work[0] if kill.start else None
        since = line.at if line else self.began
        if time.time() < since + kill.moment * (self.spans.get(line.rule, 2.0) if line else _SPAN_S):
            return False
        self.hit.at = time.time()
        self.hit.what = send(self.tree, kill, line, typed)
        return True


def _hear_interrupts() -> None:
    """A terminal's foreground: not what a shell makes of what it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _lay_fault(tree: AtRisk, kill: Kill, before: int) -> None:
    starts = sum(line.word == "start" for line in read_lines(tree.folder)[:before])
    fault = {"from_start": starts + kill.start, "write": kill.write, "signal": int(kill.signal)}
    fault["when"] = "before" if kill.before else "after"
    (tree.folder / "fault.json").write_text(json.dumps(fault))


def send(tree: AtRisk, kill: Kill, line: Line | None, typed: int) -> str:
    """Send the signal; what was hit, or nothing if it had ended."""
    if tree.cluster and kill.kind not in ("job", "snakemake"):
        return tree.cluster.send(kill.kind, line) if line else ""
    there = {process.pid: process for process in processes(tree.root)}
    if kill.kind == "job":
        pids = [line.pid] if line and line.pid in there else []
    elif kill.kind == "dvc" or (kill.kind == "snakemake" and tree.cluster):
        pids = [typed] if typed in there else []
    elif kill.kind == "snakemake":
        pids = [p.pid for p in there.values() if re.search(r"/snakemake( |$)", p.command)][:1]
    else:
        pids = list(there)
    hit = [pid for pid in pids if _kill(pid, kill.signal)]
    if kill.kind == "all" and kill.signal == signal.SIGKILL:
        for process in processes(tree.root):  # whatever was being started in the meantime
            _kill(process.pid, kill.signal)
    if not hit:
        return ""
    at = f"{line.rule} {line.output}" if line else "its start"
    return f"{len(hit)} processes at {at}" if kill.kind == "all" else f"{kill.kind} at {at}"


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
