"""Fault injection: the same command typed again, killed each time, until the table is built; then from the start."""

import json
import math
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attempt import Hit, Line, Outcome, attempt, read_lines
from plan import LOCAL, SLURM, Kill, draw_kills
from tree_at_risk import AtRisk, contents, processes, stage, targets, wipe

# A job that ended so shortly before a kill may not have been noted by Snakemake; on Slurm
_SETTLE_S = (6.0, 40.0)
_MOST = 60  # attempts until a table stands


@dataclass
class Tally:
    """What came of the kills so far.

    Attributes:
        hits: by kind and signal. late: kills that found nothing to hit. rounds: tables built and compared.
        again: jobs that were under way when a kill hit, and were made again. lost: finished jobs made again: none
            should be. resumed: trainings that went on from an iteration above 0.
        refused: attempts refused because jobs, or a Snakemake, still ran.
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


class Injection:
    """One experiment, in a tree of its own."""

    def __init__(self, root: Path, experiment: str, say=print):
        self.experiment, self.say = experiment, say
        self.tree = AtRisk.new(root, False, experiment)
        self.tree.reduce(experiment)
        self.targets = targets(self.tree.root, experiment)
        self.tally = Tally()
        self.expected: dict[str, str] = {}  # what is always there at the end
        self.known: dict[str, str] = {}  # what may be there as well: `dvc repro` makes whole stages
        self.spans: dict[str, float] = {}
        self.hits: list[
            tuple[float, float]
        ] = []  # of this round: when a kill hit, and when all of its attempt had ended
        self.drawn = 0  # kills drawn in this attempt
        self.counted = 0  # lines of this round
        self.taken: set[str] = set()  # outputs of orphans that were put back and not made again

    def run_undisturbed(self) -> None:
        """The undisturbed run: what every file is to be, and how long jobs take."""
        done = attempt(self.tree, self.locally(), lambda: None, {})
        assert done.code == 0, done.said
        self.expected = contents(self.tree.root, self.experiment)
        more = attempt(self.tree, [*self.locally(), stage(self.tree.root, self.experiment)], lambda: None, {})
        assert more.code == 0, more.said
        self.known = contents(self.tree.root, self.experiment)
        self.time(done.lines)
        self.say(
            f"{self.experiment}: undisturbed, {len([line for line in done.lines if line.word == 'start'])} jobs, {len(self.expected)} files"
        )
        wipe(self.tree.root)

    def time(self, lines: list[Line]) -> None:
        """The seconds of each rule's jobs, as they took last: how busy the machine is changes from round to round."""
        starts = {line.pid: line.at for line in lines if line.word == "start"}
        for line in lines:
            if line.word == "end" and line.pid in starts:
                self.spans[line.rule] = line.at - starts[line.pid]

    def locally(self) -> list[str]:
        return ["snakemake", "--cores", "2", "--rerun-incomplete", "--", *self.targets]

    def snakemake(self) -> list[str]:
        """The command a user types."""
        return ["snakemake", "--profile", "slurm", *self.targets] if self.tree.cluster else self.locally()

    def command(self, kill: Kill | None) -> list[str]:
        return ["dvc", "repro", "train"] if kill and kill.kind == "dvc" else self.snakemake()

    def rounds(self, kills: int, seed: int, until: float = math.inf) -> Iterator[int]:
        """Rounds until so many kills have hit, or a time has come; the last one is finished and compared like all.

        Yields the number of kills that have hit, after each round.
        """
        source = draw_kills(seed, SLURM if self.tree.cluster else LOCAL)

        def more() -> Kill | None:
            if self.tally.kills + self.drawn >= kills or time.time() >= until:
                return None
            self.drawn += 1
            return next(source)

        while self.tally.kills < kills and time.time() < until:
            self.round(more)
            yield self.tally.kills

    def round(self, more: Callable[[], Kill | None]) -> None:
        """Build everything once, with a kill at every attempt."""
        self.hits, self.counted, self.taken = [], 0, set()
        begun = len(read_lines(self.tree.folder))
        for _ in range(_MOST):
            self.drawn = 0
            given = [first := more()]

            def source(given: list[Kill | None] = given) -> Kill | None:
                return given.pop() if given else more()

            done = attempt(self.tree, self.command(first), source, self.spans)
            for hit in done.hits:
                self.note(hit, done)
            self.settle(done)
            self.time(done.lines)
            self.hits += [(hit.at, time.time()) for hit in done.hits if hit.what]
            self.taken |= set(re.findall(r"guidelab: (\S+): was finished after Snakemake", done.said))
            lost = len(self.tally.lost)
            self.recount(read_lines(self.tree.folder)[begun:])
            for job in self.tally.lost[lost:]:
                self.say(f"     made again though finished: {job}; {reason(done.said, job.split()[1])}")
            if done.code == 0 and not (first and first.kind == "dvc"):
                break
        else:
            raise AssertionError(f"no table after {_MOST} attempts:\n{done.said[-3000:]}")
        self.compare()
        wipe(self.tree.root)
        (self.tree.root / "dvc.lock").unlink(missing_ok=True)

    def note(self, hit: Hit, done: Outcome) -> None:
        """Print one kill: what, where, what the user saw."""
        if not hit.what:
            self.tally.late += 1
            self.say(f"{hit.kill.number:4} {hit.kill}: too late, nothing hit")
            return
        self.tally.hits[str(hit.kill).split(",")[0]] += 1
        seen = " | ".join(line[:160] for line in done.messages()[:3]) or "nothing"
        self.say(f"{hit.kill.number:4} {hit.kill}: hit {hit.what}; exit {done.code}; seen: {seen}")

    def settle(self, done: Outcome) -> None:
        """Processes outlived the command: type it again, check that it is refused, then do what the refusal says."""
        if not self._left():
            return
        again = attempt(self.tree, self.snakemake(), lambda: None, {}) if self._at_work() else None
        if again is not None and again.code != 0:
            self.tally.refused += 1
            printed = " | ".join(line[:200] for line in again.messages()[:2])
            kill = re.search(r"^\s+((?:kill|scancel) [\d ]+)$", again.said, re.M)
            words = ("of a snakemake that has ended", "another snakemake is running")
            assert any(text in again.said for text in words), f"refused without a word:\n{again.said}"
            running = words[1] in again.said  # whose jobs go on starting
            named = set(map(int, kill[1].split()[1:])) if kill else set()  # may note their start only now
            starts = [line for line in again.lines if line.word == "start" and line.pid not in named]
            assert running or not starts, again.said
            self.say(f"     typed again: {printed}")
            if kill and not (done.hits and done.hits[-1].kill.patient):
                subprocess.run(kill[1].split(), check=False)
                self.say(f"     typed as the refusal says: {kill[1]}")
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
        looked: set[int] = set()  # jobs that looked for a state: one of its own, as it begins
        ended: dict[tuple[str, str], float] = {}
        for number, line in enumerate(lines):
            new = number >= self.counted
            if line.word == "end":
                ended[line.job] = line.at
            elif line.word == "start":
                self.tally.jobs += new
                listed = line.rule == "manifest"  # a list of files, which DVC asks for by force
                if new and line.job in begun and line.output not in self.taken and not listed:
                    if line.job in ended and not self._in_flight(ended[line.job]):
                        self.tally.lost.append(" ".join(line.job))
                    else:
                        self.tally.again[line.rule] += 1
                begun.add(line.job)
            else:
                self.tally.resumed += new and line.word != "at0" and line.pid not in looked
                looked.add(line.pid)
        self.counted = len(lines)

    def _in_flight(self, ended: float) -> bool:
        """A job that ended after a kill of its attempt, or just before it: no Snakemake was there to note it."""
        settle = _SETTLE_S[self.tree.cluster is not None]
        return any(at - settle < ended <= over for at, over in self.hits)

    def compare(self) -> None:
        """Every file is, byte for byte, that of the undisturbed run, and nothing else is there."""
        found = contents(self.tree.root, self.experiment)
        differ = sorted(path for path in found.keys() & self.known.keys() if found[path] != self.known[path])
        absent = sorted(self.expected.keys() - found.keys())
        extra = sorted(path for path in found.keys() - self.known.keys())
        assert not differ, f"differ from the undisturbed run: {differ}"
        assert not absent, f"absent: {absent}"
        assert not extra, f"left behind: {extra}"
        state = self.tree.root / ".state"
        left = sorted(p.relative_to(state).as_posix() for p in state.rglob("*") if p.is_file())
        assert not left, f"states left behind: {left}"
        self.tally.rounds += 1
        self.say(f"     round {self.tally.rounds}: {len(found)} files equal, {self.tally.kills} kills so far")


def reason(said: str, output: str) -> str:
    """Why Snakemake made an output: its own line."""
    found = re.search(rf"    output: {re.escape(output)}.*?\n    reason: ([^\n]*)", said, re.DOTALL)
    return found[1] if found else "no reason printed"


def summary(tally: Tally) -> str:
    """The tally as JSON, one line."""
    return json.dumps(
        {
            "kills": tally.kills, "too_late": tally.late, "rounds": tally.rounds, "jobs": tally.jobs,
            "made_again": dict(tally.again), "finished_and_lost": tally.lost, "trainings_resumed": tally.resumed,
            "refused_beside_orphans": tally.refused, "hits": dict(sorted(tally.hits.items())),
        }
    )  # fmt: skip
