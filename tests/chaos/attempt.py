"""One attempt: a command typed, watched until it ends, and hit on the way: once, or on Slurm again and again."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plan import Blow
from tree_at_risk import AtRisk, processes

_POLL_S = 0.03
_SPAN_S = 4.0  # of Snakemake's own start
_TELLING = re.compile(
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
    """What a blow hit, and when, in seconds since the epoch; `what` is empty where it came too late."""

    blow: Blow
    what: str = ""
    at: float = 0.0


@dataclass
class Outcome:
    """What came of an attempt.

    Attributes:
        code: the command's exit status. said: what it printed. hits: the blows, in their order.
        lines: what jobs noted during the attempt.
    """

    code: int
    said: str
    hits: list[Hit] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def telling(self) -> list[str]:
        """The lines that tell a user what happened."""
        return [line.strip() for line in self.said.splitlines() if _TELLING.search(line)]


def read_lines(folder: Path) -> list[Line]:
    """What the jobs noted so far."""
    try:
        text = (folder / "jobs.log").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    parts = [line.split() for line in text.splitlines()]
    return [Line(float(p[0]), p[1], p[2], p[3], int(p[4])) for p in parts if len(p) == 5]


def attempt(
    tree: AtRisk, command: Sequence[str], source: Callable[[], Blow | None], spans: dict[str, float]
) -> Outcome:
    """Type a command, hit, and wait for its end.

    Args:
        tree: where.
        command: what is typed.
        source: the next blow; None to let it run. Asked once, on a cluster again after each blow.
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
        if aim.strikes(process.pid):
            found.hits.append(aim.hit)
            aim.take(source() if tree.cluster else None)
        if tree.cluster:
            tree.cluster.mend(time.time())
        time.sleep(_POLL_S)
    aim.look()
    if aim.blow:
        found.hits.append(aim.hit)
    found.code, found.said = process.returncode, said.read_text(errors="replace")
    found.lines = read_lines(tree.folder)[before:]
    return found


class Aim:
    """The blow that is to fall next."""

    def __init__(self, tree: AtRisk, spans: dict[str, float]):
        self.tree, self.spans = tree, spans
        self.blow: Blow | None = None

    def take(self, blow: Blow | None) -> None:
        """Wait for the moment of a blow from now on."""
        self.blow, self.began = blow, time.time()
        if not blow:
            return
        self.hit = Hit(blow)
        self.before = len(read_lines(self.tree.folder))
        for name in ("fault.json", "fault.taken", "fault.done"):
            (self.tree.folder / name).unlink(missing_ok=True)
        if blow.victim == "write":
            _lay_fault(self.tree, blow, self.before)

    def look(self) -> bool:
        """Whether a job that was to die at a write has died."""
        done = self.tree.folder / "fault.done"
        if self.blow and self.blow.victim == "write" and done.exists():
            _, _, told = done.read_text().partition(" ")
            if told:  # else it is being written
                self.hit.what, self.hit.at = told, done.stat().st_mtime
        return bool(self.blow and self.hit.at)

    def strikes(self, typed: int) -> bool:
        """Strike if the moment has come; whether the blow has fallen."""
        blow = self.blow
        if not blow or blow.victim == "write":
            return self.look()
        lines = read_lines(self.tree.folder)[self.before :]
        starts = [line for line in lines if line.word == "start"]
        if len(starts) < blow.start:
            return False
        line = starts[blow.start - 1] if blow.start else None
        since = line.at if line else self.began
        if time.time() < since + blow.moment * (self.spans.get(line.rule, 2.0) if line else _SPAN_S):
            return False
        self.hit.at = time.time()
        self.hit.what = strike(self.tree, blow, line, typed)
        return True


def _hear_interrupts() -> None:
    """A terminal's foreground: not what a shell makes of what it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _lay_fault(tree: AtRisk, blow: Blow, before: int) -> None:
    starts = sum(line.word == "start" for line in read_lines(tree.folder)[:before])
    told = {"from_start": starts + blow.start, "write": blow.write, "signal": int(blow.signal)}
    told["when"] = "before" if blow.before else "after"
    (tree.folder / "fault.json").write_text(json.dumps(told))


def strike(tree: AtRisk, blow: Blow, line: Line | None, typed: int) -> str:
    """Send the signal; what was hit, or nothing if it had ended."""
    if tree.cluster and blow.victim not in ("job", "snakemake"):
        return tree.cluster.strike(blow.victim, line) if line else ""
    there = {process.pid: process for process in processes(tree.root)}
    if blow.victim == "job":
        pids = [line.pid] if line and line.pid in there else []
    elif blow.victim == "dvc" or (blow.victim == "snakemake" and tree.cluster):
        pids = [typed] if typed in there else []
    elif blow.victim == "snakemake":
        pids = [p.pid for p in there.values() if re.search(r"/snakemake( |$)", p.command)][:1]
    else:
        pids = list(there)
    hit = [pid for pid in pids if _kill(pid, blow.signal)]
    if blow.victim == "all" and blow.signal == signal.SIGKILL:
        for process in processes(tree.root):  # whatever was being started in the meantime
            _kill(process.pid, blow.signal)
    if not hit:
        return ""
    at = f"{line.rule} {line.output}" if line else "its start"
    return f"{len(hit)} processes at {at}" if blow.victim == "all" else f"{blow.victim} at {at}"


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
