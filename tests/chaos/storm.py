"""The storm: the same command typed again and again, hit each time, until the table stands; then from the start."""

import json
import math
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from attempt import Hit, Line, Outcome, attempt, read_lines
from plan import LOCAL, SLURM, Blow, blows
from tree_at_risk import AtRisk, contents, processes, stage, targets, wipe

_SETTLE_S = (
    6.0,
    40.0,
)  # a job that ended so shortly before a blow may not have been noted by Snakemake; on Slurm
_MOST = 60  # attempts until a table stands


@dataclass
class Tally:
    """What came of the blows so far.

    Attributes:
        hits: by victim and signal. late: blows that found nothing to hit. rounds: tables built and compared.
        again: jobs that were under way when a blow fell, and were made again. lost: finished jobs made again: none
            should be. resumed: trainings that went on from an iteration above 0.
        refused: attempts that were told to wait for jobs, or for a Snakemake, that still ran.
    """

    hits: Counter[str] = field(default_factory=Counter)
    late: int = 0
    rounds: int = 0
    again: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    resumed: int = 0
    refused: int = 0
    jobs: int = 0

    @property
    def kills(self) -> int:
        return sum(self.hits.values())


class Storm:
    """One experiment, in a tree of its own."""

    def __init__(self, root: Path, experiment: str, say=print):
        self.experiment, self.say = experiment, say
        self.tree = AtRisk.new(root, False, experiment)
        self.tree.reduce(experiment)
        self.targets = targets(self.tree.root, experiment)
        self.tally = Tally()
        self.calm: dict[str, str] = {}  # what is always there at the end
        self.known: dict[str, str] = {}  # what may be there as well: `dvc repro` makes whole stages
        self.spans: dict[str, float] = {}
        self.hit_at: list[float] = []  # when blows of this round fell
        self.drawn = 0  # blows drawn in this attempt
        self.counted = 0  # lines of this round
        self.taken: set[str] = set()  # outputs of orphans that were put back and not made again

    def still(self) -> None:
        """The undisturbed run: what every file is to be, and how long jobs take."""
        done = attempt(self.tree, self.locally(), lambda: None, {})
        assert done.code == 0, done.said
        self.calm = contents(self.tree.root, self.experiment)
        more = attempt(self.tree, [*self.locally(), stage(self.tree.root, self.experiment)], lambda: None, {})
        assert more.code == 0, more.said
        self.known = contents(self.tree.root, self.experiment)
        starts = {line.pid: line for line in done.lines if line.word == "start"}
        for line in done.lines:
            if line.word == "end" and line.pid in starts:
                taken = line.at - starts[line.pid].at
                self.spans[line.rule] = max(taken, self.spans.get(line.rule, 0.0))
        self.say(f"{self.experiment}: undisturbed, {len(starts)} jobs, {len(self.calm)} files")
        wipe(self.tree.root)

    def locally(self) -> list[str]:
        return ["snakemake", "--cores", "2", "--rerun-incomplete", "--", *self.targets]

    def snakemake(self) -> list[str]:
        """The command a user types."""
        return ["snakemake", "--profile", "slurm", *self.targets] if self.tree.cluster else self.locally()

    def command(self, blow: Blow | None) -> list[str]:
        return ["dvc", "repro", "train"] if blow and blow.victim == "dvc" else self.snakemake()

    def rage(self, kills: int, seed: int, until: float = math.inf) -> None:
        """Hit until so many blows have struck, or a time has come; the last round is finished and compared like all."""
        source = blows(seed, SLURM if self.tree.cluster else LOCAL)

        def more() -> Blow | None:
            if self.tally.kills + self.drawn >= kills or time.time() >= until:
                return None
            self.drawn += 1
            return next(source)

        while self.tally.kills < kills and time.time() < until:
            self.round(more)

    def round(self, more: Callable[[], Blow | None]) -> None:
        """Build everything once, hit at every attempt."""
        self.hit_at, self.counted, self.taken = [], 0, set()
        begun = len(read_lines(self.tree.folder))
        for _ in range(_MOST):
            self.drawn = 0
            given = [first := more()]

            def source(given: list[Blow | None] = given) -> Blow | None:
                return given.pop() if given else more()

            done = attempt(self.tree, self.command(first), source, self.spans)
            for hit in done.hits:
                self.note(hit, done)
            self.settle(done)
            self.taken |= set(re.findall(r"guidelab: (\S+): was finished after Snakemake", done.said))
            self.recount(read_lines(self.tree.folder)[begun:])
            if done.code == 0 and not (first and first.victim == "dvc"):
                break
        else:
            raise AssertionError(f"no table after {_MOST} attempts:\n{done.said[-3000:]}")
        self.compare()
        wipe(self.tree.root)
        (self.tree.root / "dvc.lock").unlink(missing_ok=True)

    def note(self, hit: Hit, done: Outcome) -> None:
        """Tell of one blow: what, where, what the user saw."""
        if not hit.what:
            self.tally.late += 1
            self.say(f"{hit.blow.number:4} {hit.blow}: too late, nothing hit")
            return
        self.hit_at.append(hit.at)
        self.tally.hits[str(hit.blow).split(",")[0]] += 1
        seen = " | ".join(line[:160] for line in done.telling()[:3]) or "nothing"
        self.say(f"{hit.blow.number:4} {hit.blow}: hit {hit.what}; exit {done.code}; seen: {seen}")

    def settle(self, done: Outcome) -> None:
        """What outlived the command: type it again, see that it is refused, then do as told."""
        if not self._left():
            return
        again = attempt(self.tree, self.snakemake(), lambda: None, {}) if self._at_work() else None
        if again is not None and again.code != 0:
            self.tally.refused += 1
            told = " | ".join(line[:200] for line in again.telling()[:2])
            kill = re.search(r"^\s+((?:kill|scancel) [\d ]+)$", again.said, re.M)
            words = ("of a snakemake that has ended", "another snakemake is running")
            assert any(text in again.said for text in words), f"refused without a word:\n{again.said}"
            beside = words[1] in again.said  # whose jobs go on starting
            named = set(map(int, kill[1].split()[1:])) if kill else set()  # may note their start only now
            starts = [line for line in again.lines if line.word == "start" and line.pid not in named]
            assert beside or not starts, again.said
            self.say(f"     typed again: {told}")
            if kill and not (done.hits and done.hits[-1].blow.patient):
                subprocess.run(kill[1].split(), check=False)
                self.say(f"     did as told: {kill[1]}")
        self._wait_for_the_rest()

    def _at_work(self) -> bool:
        jobs = self.tree.cluster.jobs(self.tree.root) if self.tree.cluster else []
        return bool(jobs) or any((self.tree.root / ".state/running").glob("*-*"))

    def _left(self) -> list[object]:
        """Processes in the tree, and jobs in the queue."""
        jobs = self.tree.cluster.jobs(self.tree.root) if self.tree.cluster else []
        return [*processes(self.tree.root), *jobs]

    def _wait_for_the_rest(self) -> None:
        end = time.monotonic() + 900
        while left := self._left():
            assert time.monotonic() < end, f"still running: {left}"
            time.sleep(0.1 if not self.tree.cluster else 0.5)

    def recount(self, lines: list[Line]) -> None:
        """Which jobs of this round's last attempt were made again, and whether any of them had been finished."""
        begun: set[tuple[str, str]] = set()
        ended: dict[tuple[str, str], float] = {}
        for number, line in enumerate(lines):
            new = number >= self.counted
            if line.word == "end":
                ended[line.job] = line.at
            elif line.word == "start":
                self.tally.jobs += new
                listed = line.rule == "manifest"  # a list of files, which DVC asks for by force
                if new and line.job in begun and line.output not in self.taken and not listed:
                    if line.job in ended and not self._in_flight(ended[line.job], line.at):
                        self.tally.lost.append(" ".join(line.job))
                    else:
                        self.tally.again[line.rule] += 1
                begun.add(line.job)
            else:
                self.tally.resumed += new and line.word != "at0"
        self.counted = len(lines)

    def _in_flight(self, ended: float, again: float) -> bool:
        """A job that ended after the last blow, or just before it: nobody was there to note it."""
        settle = _SETTLE_S[self.tree.cluster is not None]
        last = max((at for at in self.hit_at if at < again), default=math.inf)
        return ended > last - settle

    def compare(self) -> None:
        """Every file is, byte for byte, that of the undisturbed run, and nothing else is there."""
        found = contents(self.tree.root, self.experiment)
        differ = sorted(path for path in found.keys() & self.known.keys() if found[path] != self.known[path])
        absent = sorted(self.calm.keys() - found.keys())
        extra = sorted(path for path in found.keys() - self.known.keys())
        assert not differ, f"differ from the undisturbed run: {differ}"
        assert not absent, f"absent: {absent}"
        assert not extra, f"left behind: {extra}"
        state = self.tree.root / ".state"
        left = sorted(p.relative_to(state).as_posix() for p in state.rglob("*") if p.is_file())
        assert not left, f"states left behind: {left}"
        self.tally.rounds += 1
        self.say(f"     round {self.tally.rounds}: {len(found)} files equal, {self.tally.kills} blows so far")


def summary(tally: Tally) -> str:
    """The tally as JSON, one line."""
    return json.dumps(
        {
            "kills": tally.kills, "too_late": tally.late, "rounds": tally.rounds, "jobs": tally.jobs,
            "made_again": dict(tally.again), "finished_and_lost": tally.lost, "trainings_resumed": tally.resumed,
            "refused_beside_orphans": tally.refused, "hits": dict(sorted(tally.hits.items())),
        }
    )  # fmt: skip


def end_all(root: Path) -> None:
    """Whatever still works in the tree ends now."""
    for process in processes(root):
        subprocess.run(["kill", "-9", str(process.pid)], check=False, stderr=subprocess.DEVNULL)
    left = processes(root)
    if left:
        print(f"still there: {left}", file=sys.stderr)
