"""One acceptance: jobs chosen, replayed and judged; then the ledger, the records, Snakemake's metadata and dvc.lock together."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guidelab import provenance
from guidelab.accept.changes import Change, changes
from guidelab.accept.choice import Group, groups
from guidelab.accept.compare import MAY_DIFFER
from guidelab.accept.estimate import Candidate, chosen, pairs_left_out, recorded_seconds
from guidelab.accept.history import History
from guidelab.accept.judgement import Shown
from guidelab.accept.ledger import whole_ledger
from guidelab.accept.ready import Ready, candidates
from guidelab.accept.rules import shell_lines
from guidelab.accept.trials import Trials
from guidelab.errors import UserError, counted
from guidelab.plan.plan import Plan
from guidelab.provenance import accepted, notes, records
from guidelab.provenance.disk import Metadata

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
    with tempfile.TemporaryDirectory(prefix="guidelab-accept-") as place:
        trials = Trials(root, Path(place), History(root, Path(place) / "old", options.params))
        every = [_Acceptance(plan, name, root, options, trials.history, shell) for name in experiments]
        kept = _within([candidate for one in every for candidate in one.candidates()], options.minutes, log)
        renamed = options.table != accepted.NO_TABLE
        commits = {name: commit for one in every for name, commit in one.commits.items()}
        for shown in trials.run(
            [part for c in kept for part in c.parts], commits, options.rtol, renamed, log
        ):
            next(one for one in every if shown.part.change.name in one.commits).outcome.replays.append(shown)
    found = [one.finish(kept) for one in every]
    if any(outcome.ledger for outcome in found):
        provenance.restore(root, stages, log)
    return found


def _within(candidates: Sequence[Candidate], minutes: float, log: Log) -> list[Candidate]:
    """The kinds that are replayed in the given minutes; says how long that is expected to take, and what is left out."""
    kept = chosen(candidates, 60 * minutes)
    if kept:
        kinds, expected = counted(len(candidates), "kind"), sum(c.seconds for c in kept) / 60
        left, pairs = pairs_left_out(kept, candidates)
        thin = (
            f"; {left} of {pairs} pairs of options are in none of them" if len(kept) < len(candidates) else ""
        )
        log(
            f"replays {len(kept)} of {kinds} of jobs, about {expected:.1f} minutes by the recorded times{thin}"
        )
    return kept


class _Acceptance:
    def __init__(
        self, plan: Plan, experiment: str, root: Path, options: Options, history: History, shell: Mapping[str, str]
    ):  # fmt: skip
        self.plan, self.experiment, self.root, self.options, self.history = (
            plan,
            experiment,
            root,
            options,
            history,
        )
        self.outcome = Outcome(experiment)
        self.ledgers = whole_ledger(root, experiment)
        found, other = changes(plan, experiment, root, options.table, shell)
        self.outcome.outdated |= dict.fromkeys(other, _OTHER)
        self.known = recorded_seconds(plan, experiment, root)
        self.made = groups(found, plan.spec.experiments[experiment], self.known)
        self.commits = history.of(found, options.old) if found else {}
        self.thinned: list[Group] = []

    def candidates(self) -> list[Candidate]:
        """What can be replayed here; the jobs of other kinds stay outdated, with the reason."""
        ready = Ready(self.root, self.commits, self.options.old)
        found, left = candidates(self.experiment, ready, self.made, self.ledgers, self.known)
        self.outcome.outdated |= left
        self.thinned = [candidate.group for candidate in found]
        return found

    def finish(self, kept: Sequence[Candidate]) -> Outcome:
        """Judge what was replayed, and write."""
        self.thinned = [group for group in self.thinned if not any(group is c.group for c in kept)]
        self._decide(self.made)
        if self.outcome.accepted or self.outcome.differs:
            self._write(self.ledgers)
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
            "may_differ": list(MAY_DIFFER),
            "replays": [shown.line for shown in done.replays],
            "not_replayed": sorted(job.name for group in self.thinned for job in group.jobs),
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
