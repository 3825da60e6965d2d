"""Which jobs can be replayed here: their code is in git; their inputs have the recorded hashes or can be rebuilt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.accept.changes import Change
from guidelab.accept.choice import Group, tried_whole
from guidelab.accept.estimate import Candidate, seconds_of
from guidelab.accept.history import SEARCHED, History
from guidelab.accept.parts import part, whole
from guidelab.errors import UserError, counted
from guidelab.provenance.disk import sha256


class Ready:
    """Checks the inputs of jobs, each file once, and finds the old code of jobs.

    Args:
        root: the project's folder. history: of its code. old: the only commit to look at. jobs: every recorded job.
        earlier: commits that earlier acceptances replayed.
    Attributes:
        commits: the old code of each job that was looked for and found, by the job's name.
    """

    def __init__(
        self, root: Path, history: History, old: str | None, jobs: Sequence[Change], earlier: Sequence[str]
    ):
        self.root, self.history, self.old, self.earlier = root, history, old, earlier
        self.commits: dict[str, str] = {}
        self._makers = {path: job for job in jobs for path in job.outputs}
        self._sha256: dict[str, str] = {}

    def look_for(self, jobs: Sequence[Change]) -> None:
        """Find the old code of some jobs, and of those that make their absent inputs."""
        wanted, todo = {job.name: job for job in jobs}, list(jobs)
        while todo:
            makers = {
                self._makers[p].name: self._makers[p] for p in self._absent(todo.pop()) if p in self._makers
            }
            todo += [job for name, job in makers.items() if name not in wanted]
            wanted |= makers
        self.commits |= self.history.of(list(wanted.values()), self.old, self.earlier) if wanted else {}

    def first(self, job: Change) -> list[Change]:
        """The jobs that make a job's absent inputs again, in the order they have to run.

        Raises:
            UserError: why it cannot be replayed.
        """
        if job.name not in self.commits:
            where = self.old or f"earlier acceptances and the newest {SEARCHED} commits of code or parameters"
            raise UserError(f"the code and parameters that made {job.name} are not those of {where}")
        if job.fed is False:
            raise UserError(f"{job.name} was made from other inputs than those recorded now")
        for path in job.files:
            if (self.root / path).is_file() and path not in self._sha256:
                self._sha256[path] = sha256(self.root / path)
            held = self._sha256.get(path)
            if held is not None and held != job.sources.get(path, held):
                raise UserError(f"its input {path} is not what its job wrote")
        found: dict[str, Change] = {}
        for path in self._absent(job):
            maker = self._makers.get(path)
            if maker is not None and maker.was:
                raise UserError(f"its input {path} is not here; files whose names a table changes have to be")
            if maker is None or maker.outputs[path] != job.sources.get(path):
                raise UserError(f"its input {path} is not here, and no record says how it was made")
            try:
                found |= {one.name: one for one in (*self.first(maker), maker)}
            except UserError as error:
                raise UserError(
                    f"its input {path} is not here (dvc pull {path}), and cannot be made again: {error}"
                ) from error
        return list(found.values())

    def _absent(self, job: Change) -> list[str]:
        return [path for path in job.files if not (self.root / path).is_file()]


def candidates(
    experiment: str, ready: Ready, made: Sequence[Group], ledgers: Sequence[Mapping[str, Any]], known: Mapping[str, float]
) -> tuple[list[Candidate], dict[str, str]]:  # fmt: skip
    """The jobs to replay of each kind: one job, twice as many after every refused attempt on its rules.

    Args:
        experiment: its name. ready: of its jobs. made: its kinds. ledgers: its earlier attempts. known: recorded seconds by job.
    Returns:
        one candidate for each kind; the jobs of kinds that cannot be replayed, and why.
    """
    left: dict[str, str] = {}
    found: list[tuple[Group, dict[str, tuple[Change, list[Change]]], int]] = []
    for group in made:
        refused = sum(bool(set(group.rules) & set(ledger["refused"])) for ledger in ledgers)
        wanted = min(2**refused, len(group.jobs))
        why: list[str] = []
        jobs: dict[str, tuple[Change, list[Change]]] = {}
        for job in group.jobs:
            try:
                jobs[job.name] = job, ready.first(job)
            except UserError as error:
                why.append(str(error))
            if sum(not first for _, first in jobs.values()) == wanted:
                break
        jobs = dict(sorted(jobs.items(), key=lambda item: len(item[1][1]))[:wanted])  # with inputs here first
        if len(jobs) < wanted:
            reason = f"not replayed, of its kind {counted(wanted, 'job')} has to be: {why[0]}"
            left |= {job.name: reason for job in group.jobs}
        else:
            found.append((group, jobs, refused))
    full = tried_whole((job for _, jobs, _ in found for job, _ in list(jobs.values())[:1]), known)
    return [_candidate(experiment, ready.root, *one, full, known) for one in found], left


def _candidate(
    experiment: str,
    root: Path,
    group: Group,
    jobs: Mapping[str, tuple[Change, list[Change]]],
    refused: int,
    full: set[str],
    known: Mapping[str, float],
) -> Candidate:
    """A kind with its replays: shortened ones are compared with recorded files, so these have to be here."""
    here = {name: all((root / path).is_file() for path in job.outputs) for name, (job, _) in jobs.items()}
    parts = [part(job) if here[name] and name not in full else whole(job) for name, (job, _) in jobs.items()]
    first = {one.name: one for _, some in jobs.values() for one in some}
    alike = [known[job.name] for job in group.jobs if job.name in known]
    seconds = sum(seconds_of(one, known, alike) for one in parts)
    seconds += sum(seconds_of(whole(one), known, alike) for one in first.values())
    required = not first and (refused > 0 or bool(full & set(jobs)))
    return Candidate(experiment, group, parts, seconds, required, list(first.values()))
