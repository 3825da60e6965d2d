"""One attempt: a command typed, watched until it ends, and hit once on the way."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plan import Blow
from tree_at_risk import AtRisk, processes

HANGS_S = 600.0
_POLL_S = 0.03
_SPAN_S = 4.0  # of Snakemake's own start
_TELLING = re.compile(
    r"guidelab: |jobs of a snakemake|took away|another snakemake|Error in rule|LockException|cannot be locked|"
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
class Outcome:
    """What came of an attempt.

    Attributes:
        code: the command's exit status. said: what it printed. hit: what was hit, and where; empty for nothing.
        hit_at: when, in seconds since the epoch. lines: what jobs noted during the attempt.
    """

    code: int
    said: str
    hit: str = ""
    hit_at: float = 0.0
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


def attempt(tree: AtRisk, command: Sequence[str], blow: Blow | None, spans: dict[str, float]) -> Outcome:
    """Type a command, hit once if a blow is given, and wait for its end.

    Args:
        tree: where.
        command: what is typed.
        blow: what to hit; None to let it run.
        spans: the usual seconds of each rule's jobs.
    Raises:
        AssertionError: the command does not end.
    """
    before, began = len(read_lines(tree.folder)), time.time()
    said = tree.folder / "said.txt"
    for name in ("fault.json", "fault.taken", "fault.done"):
        (tree.folder / name).unlink(missing_ok=True)
    if blow and blow.victim == "write":
        _lay_fault(tree, blow, before)
    with said.open("w") as out:
        process = subprocess.Popen(
            command, cwd=tree.root, env=tree.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=_hear_interrupts,
        )  # fmt: skip
    found = Outcome(0, "")
    while process.poll() is None:
        assert time.time() - began < HANGS_S, f"{' '.join(command)} hangs:\n{said.read_text()[-2000:]}"
        if blow and not found.hit_at and blow.victim != "write":
            starts = [line for line in read_lines(tree.folder)[before:] if line.word == "start"]
            _maybe_strike(tree, blow, starts, spans, began, process.pid, found)
        time.sleep(_POLL_S)
    done = tree.folder / "fault.done"
    if done.exists():
        found.hit, found.hit_at = done.read_text().split(maxsplit=1)[1], done.stat().st_mtime
    found.code, found.said = process.returncode, said.read_text(errors="replace")
    found.lines = read_lines(tree.folder)[before:]
    return found


def _hear_interrupts() -> None:
    """A terminal's foreground: not what a shell makes of what it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _lay_fault(tree: AtRisk, blow: Blow, before: int) -> None:
    starts = sum(line.word == "start" for line in read_lines(tree.folder)[:before])
    told = {"from_start": starts + blow.start, "write": blow.write, "signal": int(blow.signal)}
    told["when"] = "before" if blow.before else "after"
    (tree.folder / "fault.json").write_text(json.dumps(told))


def _maybe_strike(
    tree: AtRisk,
    blow: Blow,
    starts: list[Line],
    spans: dict[str, float],
    began: float,
    typed: int,
    found: Outcome,
) -> None:
    """Strike when the moment has come."""
    if len(starts) < blow.start:
        return
    line = starts[blow.start - 1] if blow.start else None
    due = line.at + blow.moment * spans.get(line.rule, 2.0) if line else began + blow.moment * _SPAN_S
    if time.time() < due:
        return
    found.hit_at = time.time()
    found.hit = strike(tree, blow, line, typed)


def strike(tree: AtRisk, blow: Blow, line: Line | None, typed: int) -> str:
    """Send the signal; what was hit, or nothing if it had ended."""
    there = {process.pid: process for process in processes(tree.root)}
    if blow.victim == "job":
        pids = [line.pid] if line and line.pid in there else []
    elif blow.victim == "snakemake":
        pids = [p.pid for p in there.values() if re.search(r"/snakemake( |$)", p.command)][:1]
    elif blow.victim == "dvc":
        pids = [typed] if typed in there else []
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
