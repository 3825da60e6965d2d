"""One acceptance: jobs are chosen, replayed and compared; ledger, records, Snakemake's metadata and dvc.lock change together."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guidelab import provenance
from guidelab.accept.changes import Change, changes
from guidelab.accept.choice import Group, groups
from guidelab.accept.compare import MAY_DIFFER
from guidelab.accept.estimate import Candidate, recorded_seconds
from guidelab.accept.history import History
from guidelab.accept.judgement import Shown
from guidelab.accept.ledger import whole_ledger
from guidelab.accept.ready import Ready, candidates
from guidelab.accept.selection import within
from guidelab.accept.trials import Trials
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.provenance import accepted, notes, records
from guidelab.provenance.disk import Metadata

Log = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a user declares.

    Attributes:
        params: the parameters file, below the project's folder. old: the commit of the old code; None to search.
        table: renamed and new keys of payloads, see `provenance.accepted.translated`.
        rtol: a tolerance for results of another device or library; None for the same bytes only.
        shell: changed shell lines of rules are accepted as well.
        minutes: for all replays; where those of all kinds take longer, fewer are replayed, see `estimate.chosen`.
    """

    params: str = "params.yaml"
    old: str | None = None
    table: Mapping[str, Any] = field(default_factory=lambda: accepted.NO_TABLE)
    rtol: float | None = None
    shell: bool = False
    minutes: float = 10.0


@dataclass
class Outcome:
    """The result of an acceptance for one experiment.

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
        """Whether the new code gives another result for some job."""
        return any(shown.differs for shown in self.replays)


def accept(
    plan: Plan, experiments: Sequence[str], root: Path, options: Options, shell: Mapping[str, str], log: Log
) -> list[Outcome]:
    """Accept the changes of code that leave the results of some experiments as they were.

    Args:
        plan: of params.yaml. experiments: their names. root: the project's folder. options: what a user declares.
        shell: the present shell line of every rule. log: receives lines about replays and verdicts.
    Raises:
        UserError: Snakemake runs here, a ledger or provenance file was edited, no such experiment or commit.
    """
    if Metadata(root).is_locked():
        raise UserError(
            "guidelab accept: Snakemake runs in this folder, its results may change; wait until it has ended"
        )
    stages = [stage for name in plan.spec.experiments for stage in plan.stages(name)]
    provenance.restore(root, stages, log)
    with tempfile.TemporaryDirectory(prefix="guidelab-accept-") as place:
        trials = Trials(root, Path(place), History(root, Path(place) / "old", options.params), log)
        every = [_Acceptance(plan, name, root, options, trials.history, shell) for name in experiments]
        commits = {name: commit for one in every for name, commit in one.ready.commits.items()}
        kept, late = within(
            [candidate for one in every for candidate in one.candidates()], options.minutes, log
        )
        bad = trials.make(list({job.name: job for c in kept for job in c.first}.values()), commits)
        lost = {id(c): bad[job.name] for c in kept for job in c.first if job.name in bad}
        parts = [part for c in kept if id(c) not in lost for part in c.parts]
        shown = list(trials.run(parts, commits, options.rtol, options.table != accepted.NO_TABLE))
    found = [one.finish(kept, {**late, **lost}, shown) for one in every]
    if any(outcome.ledger for outcome in found) or options.table.get("paths"):
        provenance.restore(root, stages, log)
    return found


class _Acceptance:
    def __init__(
        self, plan: Plan, experiment: str, root: Path, options: Options, history: History, shell: Mapping[str, str]
    ):  # fmt: skip
        self.plan, self.experiment, self.root, self.options = plan, experiment, root, options
        self.history, self.outcome = history, Outcome(experiment)
        self.ledgers = whole_ledger(root, experiment)
        self.recorded = changes(plan, experiment, root, options.table, shell, options.shell)
        self.outcome.outdated |= self.recorded.other
        self.known = recorded_seconds(plan, experiment, root)
        self.made = groups(self.recorded.changed, plan.spec.experiments[experiment], self.known)
        earlier = dict.fromkeys(replay["commit"] for ledger in self.ledgers for replay in ledger["replays"])
        self.ready = Ready(root, history, options.old, self.recorded.jobs, list(earlier))
        self.ready.look_for(self.recorded.changed)
        self.thinned: list[Group] = []
        self._found: list[Candidate] = []

    def candidates(self) -> list[Candidate]:
        """What can be replayed here; the jobs of other kinds stay outdated, with the reason."""
        self._found, left = candidates(self.experiment, self.ready, self.made, self.ledgers, self.known)
        self.outcome.outdated |= left
        return self._found

    def finish(self, kept: Sequence[Candidate], lost: Mapping[int, str], shown: Sequence[Shown]) -> Outcome:
        """Compare the replays with the records, and write the acceptance.

        Args:
            kept: the kinds that were chosen. lost: by `id`, kinds whose inputs are not here, and why. shown: all replays.
        """
        mine = {job.name for group in self.made for job in group.jobs}
        self.outcome.replays = [one for one in shown if one.part.change.name in mine]
        for candidate in self._found:
            if id(candidate) in lost:
                self.outcome.outdated |= {job.name: lost[id(candidate)] for job in candidate.group.jobs}
            elif not any(candidate is one for one in kept):
                self.thinned.append(candidate.group)
        self._decide([c.group for c in self._found if id(c) not in lost])
        if self.outcome.accepted or self.outcome.differs:
            self._write(self.ledgers)
        if self.outcome.accepted or self.options.table.get("paths"):
            self._write_records()  # without a record, Snakemake would take a renamed file for up to date
        return self.outcome

    def _decide(self, made: Sequence[Group]) -> None:
        """Accept the groups all of whose replays gave the recorded results."""
        for group in made:
            names = {job.name for job in group.jobs}
            mine = [shown for shown in self.outcome.replays if shown.part.change.name in names]
            if any(
                group is one for one in self.thinned
            ):  # its options occur in others: all of its rules have to agree
                mine = [s for s in self.outcome.replays if s.part.change.rule in group.rules]
            why = next((s.reason for s in mine if s.why), "")
            if mine and not why:
                self.outcome.accepted += group.jobs
            elif mine:
                self.outcome.outdated |= dict.fromkeys(sorted(names), why)

    def _write(self, ledgers: Sequence[Mapping[str, Any]]) -> None:
        """The ledger file; records refer to it."""
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
            "may_differ": list(MAY_DIFFER),
            "replays": [shown.line for shown in done.replays],
            "not_replayed": sorted(job.name for group in self.thinned for job in group.jobs),
            "refused": sorted({shown.part.change.rule for shown in done.replays if shown.differs}),
            "outdated": done.outdated,
            "jobs": {job.name: accepted.line(job.ran, job.now, job.outputs) for job in done.accepted},
            "previous": [ledger["name"] for ledger in ledgers],
        }
        done.ledger = accepted.write(self.root, self.experiment, content)

    def _write_records(self) -> None:
        """The records of accepted jobs with the accepted digest and the ledger's name; those of renamed files all under the new name."""
        every = {path: job for job in self.outcome.accepted for path in job.outputs}
        for stage in self.plan.stages(self.experiment):
            entries = {p: e for p, e in self.recorded.entries.items() if records.owns(stage, p)}
            if entries and (self.options.table.get("paths") or set(entries) & set(every)):
                mine = {path: self._accepted(every[path], entries[path]) for path in entries if path in every}
                records.write(self.root, stage, entries | mine)

    def _accepted(self, job: Change, entry: records.Entry) -> records.Entry:
        """The record of a file as its job ran, with the accepted digest added."""
        ran = {key: entry.as_ran[key] for key in ("params", "code")}
        return replace(entry, ran=ran, accepted={"code": job.codes[1], "ledger": self.outcome.ledger})
