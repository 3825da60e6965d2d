"""One acceptance: jobs chosen, replayed and judged; then the ledger, the records, Snakemake's metadata and dvc.lock together."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guidelab import provenance
from guidelab.accept.changes import Change, changes
from guidelab.accept.choice import Group, Part, cheapest_trainings, groups, part, whole
from guidelab.accept.estimate import Candidate, chosen, recorded_seconds, seconds_of
from guidelab.accept.history import SEARCHED, History
from guidelab.accept.judgement import Shown, judge
from guidelab.accept.ledger import whole_ledger
from guidelab.accept.replay import Replays, copy_of
from guidelab.accept.rules import shell_lines
from guidelab.errors import UserError, counted
from guidelab.plan.plan import Plan
from guidelab.provenance import accepted, notes, records
from guidelab.provenance.disk import Metadata, sha256

Log = Callable[[str], None]
_OTHER = "its parameters differ as well, not only its code; it has to run"


@dataclass(frozen=True)
class Options:
    """What a user declares.

    Attributes:
        params: the parameters file, below the project's folder. old: the commit of the old code; None to search.
        table: renamed and new keys of payloads, see `provenance.accepted.translated`.
        rtol: a tolerance for results of another device or library; None for the same bytes only.
        shell: changed shell lines of rules are accepted as well.
        minutes: for the replays; where those of all kinds take longer, every option in use is replayed, see `estimate`.
    """

    params: str = "params.yaml"
    old: str | None = None
    table: Mapping[str, Any] = field(default_factory=lambda: accepted.NO_TABLE)
    rtol: float | None = None
    shell: bool = False
    minutes: float = 10.0


@dataclass
class Outcome:
    """What came out for one experiment.

    Attributes:
        accepted: jobs that count as up to date now. outdated: jobs that do not, and why.
        replays: what was replayed. ledger: the name of the file that was written; empty for none.
    """

    experiment: str
    accepted: list[Change] = field(default_factory=list)
    outdated: dict[str, str] = field(default_factory=dict)
    replays: list[Shown] = field(default_factory=list)
    ledger: str = ""

    @property
    def differs(self) -> bool:
        """The new code gives another result somewhere."""
        return any(shown.differs for shown in self.replays)


def accept(plan: Plan, experiments: Sequence[str], root: Path, options: Options, log: Log) -> list[Outcome]:
    """Accept the changes of code that leave the results of some experiments as they were.

    Raises:
        UserError: Snakemake runs here, a ledger or provenance file was edited, no such experiment or commit.
    """
    if Metadata(root).is_locked():
        raise UserError(
            "guidelab accept: Snakemake runs in this folder, its results are in motion; wait until it has ended"
        )
    stages = [stage for name in plan.spec.experiments for stage in plan.stages(name)]
    provenance.restore(root, stages, log)
    shell = shell_lines(root) if options.shell else {}
    found = []
    with tempfile.TemporaryDirectory(prefix="guidelab-accept-") as place:
        for name in experiments:
            one = _Acceptance(plan, name, root, options, Path(place) / name, log, shell)
            found.append(one.run())
    if any(outcome.ledger for outcome in found):
        provenance.restore(root, stages, log)
    return found


class _Acceptance:
    def __init__(
        self, plan: Plan, experiment: str, root: Path, options: Options, place: Path, log: Log, shell: Mapping[str, str]
    ):  # fmt: skip
        self.plan, self.experiment, self.root, self.options = plan, experiment, root, options
        self.place, self.log, self.shell = place, log, shell
        self.history = History(root, place / "old", options.params)
        self.outcome = Outcome(experiment)
        self._sha256: dict[str, str] = {}
        self._thinned: list[Group] = []

    def run(self) -> Outcome:
        """Choose, replay, judge, write."""
        ledgers = whole_ledger(self.root, self.experiment)
        found, other = changes(self.plan, self.experiment, self.root, self.options.table, self.shell)
        self.outcome.outdated |= dict.fromkeys(other, _OTHER)
        made = groups(found, self.plan.spec.experiments[self.experiment])
        commits = self.history.of(found, self.options.old) if found else {}
        parts = self._within(self._choose(made, commits, ledgers))
        if parts:
            self._replay(parts, commits)
            self._decide(made)
        if self.outcome.accepted or self.outcome.differs:
            self._write(ledgers)
        return self.outcome

    def _choose(
        self, made: Sequence[Group], commits: Mapping[str, str], ledgers: Sequence[Mapping[str, Any]]
    ) -> list[Candidate]:
        """What can be replayed: of every group as many jobs as its share, of which the code and all inputs are here."""
        found: list[Candidate] = []
        known = recorded_seconds(self.plan, self.experiment, self.root)
        trained_whole = cheapest_trainings(made)
        for group in made:
            refused = sum(bool(set(group.rules) & set(ledger["refused"])) for ledger in ledgers)
            why: list[str] = []
            ready: list[Change] = []
            for job in group.jobs:
                apart = self._unready(job, commits)
                why += [apart] if apart else []
                ready += [] if apart else [job]
                if len(ready) == 2**refused:
                    break
            if len(ready) < min(2**refused, len(group.jobs)):
                wanted = counted(min(2**refused, len(group.jobs)), "job")
                reason = f"not replayed, of its kind {wanted} has to be: {why[0]}"
                self.outcome.outdated |= {job.name: reason for job in group.jobs}
                continue
            parts = [part(job, short_training=job.name not in trained_whole) for job in ready]
            alike = [known[job.name] for job in group.jobs if job.name in known]
            seconds = sum(seconds_of(one, known, alike) for one in parts)
            found.append(Candidate(group, parts, seconds, required=refused > 0))
        return found

    def _within(self, candidates: Sequence[Candidate]) -> list[Part]:
        """The replays that fit into the given minutes; says how long they are expected to take."""
        kept = chosen(candidates, 60 * self.options.minutes)
        self._thinned = [c.group for c in candidates if not any(c is one for one in kept)]
        if kept:
            kinds, minutes = counted(len(candidates), "kind"), sum(c.seconds for c in kept) / 60
            self.log(
                f"{self.experiment}: replays {len(kept)} of {kinds} of jobs, about {minutes:.1f} minutes by the recorded times"
            )
        return [one for candidate in kept for one in candidate.parts]

    def _unready(self, job: Change, commits: Mapping[str, str]) -> str:
        """Why a job cannot be replayed; empty when it can."""
        if job.name not in commits:
            where = self.options.old or f"the newest {SEARCHED} commits of code or parameters"
            return f"the code and parameters that made {job.name} are not those of {where}"
        if job.fed is False:
            return f"{job.name} was made from other inputs than those recorded now"
        for path in job.files:
            if not (self.root / path).is_file():
                return f"its input {path} is not here (dvc pull {path}, or snakemake -c2 {path} with the old code)"
            if path not in self._sha256:
                self._sha256[path] = sha256(self.root / path)
            if self._sha256[path] != job.sources.get(path, self._sha256[path]):
                return f"its input {path} is not what its job wrote"
        return ""

    def _replay(self, chosen: Sequence[Part], commits: Mapping[str, str]) -> None:
        """Run both codes, side by side; a shortened replay that decides nothing is followed by the whole job."""
        new = copy_of(self.root, self.place)
        todo = list(chosen)
        while todo:
            again: list[Part] = []
            for commit in dict.fromkeys(commits[p.change.name] for p in todo):
                these = [p for p in todo if commits[p.change.name] == commit]
                old = Replays(
                    self.history.unpacked(commit), self.place / "of-old", self.root, old=True
                ).start(these)
                now = Replays(new, self.place / "of-new", self.root, old=False).start(these)
                try:
                    results = list(zip(these, old.end(shown=True), now.end(), strict=True))
                finally:
                    old.kill()
                    now.kill()
                for p, first, second in results:
                    renamed = self.options.table != accepted.NO_TABLE
                    shown = judge(p, commit, first, second, self.root, self.options.rtol, renamed)
                    self.log(f"  {p.change.rule} {p.change.name} ({p.kind}): {shown.result}")
                    again += [whole(p.change)] if shown.again else []
                    self.outcome.replays += [] if shown.again else [shown]
            todo = again

    def _decide(self, made: Sequence[Group]) -> None:
        """Accept the groups all of whose replays gave the recorded results."""
        for group in made:
            names = {job.name for job in group.jobs}
            mine = [shown for shown in self.outcome.replays if shown.part.change.name in names]
            if any(
                group is one for one in self._thinned
            ):  # its options occur in others: all of its rules have to agree
                mine = [s for s in self.outcome.replays if s.part.change.rule in group.rules]
            why = next((s.reason for s in mine if s.why), "")
            if mine and not why:
                self.outcome.accepted += group.jobs
            elif mine:
                self.outcome.outdated |= dict.fromkeys(sorted(names), why)

    def _write(self, ledgers: Sequence[Mapping[str, Any]]) -> None:
        """The ledger file first, then the records that refer to it."""
        done = self.outcome
        head = self.history.git("rev-parse", "HEAD").decode().strip()
        edited = bool(self.history.git("status", "--porcelain", "--", "src/guidelab", self.options.params))
        content = {
            "new": {"commit": head, "edited_since": edited},
            "environment": {"machine": notes.machine(), "software": notes.software()},
            "table": dict(self.options.table),
            "shell": {
                job.rule: dict(zip(("ran", "now"), job.shell, strict=True))
                for job in done.accepted
                if job.shell[0] != job.shell[1]
            },
            "tolerance": self.options.rtol,
            "may_differ": [],
            "replays": [shown.line for shown in done.replays],
            "not_replayed": sorted(job.name for group in self._thinned for job in group.jobs),
            "refused": sorted({shown.part.change.rule for shown in done.replays if shown.differs}),
            "outdated": done.outdated,
            "jobs": {job.name: accepted.line(job.ran, job.now, job.outputs) for job in done.accepted},
            "previous": [ledger["name"] for ledger in ledgers],
        }
        done.ledger = accepted.write(self.root, self.experiment, content)
        for stage in self.plan.stages(self.experiment):
            entries, _ = records.read(self.root, stage)
            for job in (job for job in done.accepted if job.stage == stage.name):
                about = {"code": job.codes[1], "ledger": done.ledger}
                for path in job.outputs:
                    entry = entries[path]
                    ran = {key: entry.as_ran[key] for key in ("params", "code")}
                    entries[path] = replace(entry, ran=ran, accepted=about)
            if any(job.stage == stage.name for job in done.accepted):
                records.write(self.root, stage, entries)
