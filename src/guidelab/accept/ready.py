"""Which jobs can be replayed here: their code is in git, and their inputs are the recorded ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.accept.changes import Change
from guidelab.accept.choice import Group, tried_whole
from guidelab.accept.estimate import Candidate, seconds_of
from guidelab.accept.history import SEARCHED
from guidelab.accept.parts import part, whole
from guidelab.errors import counted
from guidelab.provenance.disk import sha256


class Ready:
    """Looks at inputs, each file once.

    Args:
        root: the project's folder. commits: the old code of each job by the job's name. old: the only commit that was looked at.
    """

    def __init__(self, root: Path, commits: Mapping[str, str], old: str | None):
        self.root, self.commits, self.old = root, commits, old
        self._sha256: dict[str, str] = {}

    def why_not(self, job: Change) -> str:
        """Why a job cannot be replayed; empty when it can."""
        if job.name not in self.commits:
            where = self.old or f"the newest {SEARCHED} commits of code or parameters"
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


def candidates(
    experiment: str, ready: Ready, made: Sequence[Group], ledgers: Sequence[Mapping[str, Any]], known: Mapping[str, float]
) -> tuple[list[Candidate], dict[str, str]]:  # fmt: skip
    """What can be replayed of each kind: one job, twice as many after every refused attempt on its rules.

    Args:
        experiment: its name. ready: of its jobs. made: its kinds. ledgers: its earlier attempts. known: recorded seconds by job.
    Returns:
        one candidate for each kind; the jobs of kinds that cannot be replayed, and why.
    """
    left: dict[str, str] = {}
    found: list[tuple[Group, list[Change], int]] = []
    for group in made:
        refused = sum(bool(set(group.rules) & set(ledger["refused"])) for ledger in ledgers)
        wanted = min(2**refused, len(group.jobs))
        why: list[str] = []
        jobs: list[Change] = []
        for job in group.jobs:
            apart = ready.why_not(job)
            why += [apart] if apart else []
            jobs += [] if apart else [job]
            if len(jobs) == wanted:
                found.append((group, jobs, refused))
                break
        else:
            reason = f"not replayed, of its kind {counted(wanted, 'job')} has to be: {why[0]}"
            left |= {job.name: reason for job in group.jobs}
    full = tried_whole((jobs[0] for _, jobs, _ in found), known)
    made_of = []
    for group, jobs, refused in found:
        here = {job.name: all((ready.root / path).is_file() for path in job.outputs) for job in jobs}
        parts = [part(job) if here[job.name] and job.name not in full else whole(job) for job in jobs]
        alike = [known[job.name] for job in group.jobs if job.name in known]
        seconds = sum(seconds_of(one, known, alike) for one in parts)
        required = refused > 0 or jobs[0].name in full
        made_of.append(Candidate(experiment, group, parts, seconds, required))
    return made_of, left
