"""Find finished jobs that are outdated only because their code, or a declared key of their payload, changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.rules import maker
from guidelab.provenance import accepted, records
from guidelab.provenance.records import Entry, combined


@dataclass(frozen=True)
class Change:
    """One finished job and what it would be given now.

    Attributes:
        stage: whose provenance file holds it. rule: its name, as recorded. rule_now: its name in the plan.
        outputs: path to recorded sha256, in the order of the plan. sources: inputs that are results themselves, path to recorded sha256.
        ran: its payload as it ran. now: the planned payload.
        fed: whether the recorded inputs are those it read; None when not known.
        shell: the recorded shell line of its rule and the present one.
        was: the old names of its files that a table renames, by the new ones, which all else here has.
    """

    stage: str
    rule: str
    rule_now: str
    outputs: Mapping[str, str]
    sources: Mapping[str, str]
    ran: Mapping[str, Any]
    now: Mapping[str, Any]
    fed: bool | None
    shell: tuple[str, str] = ("", "")
    was: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its first output by name."""
        return min(self.outputs)

    @property
    def codes(self) -> tuple[str, str]:
        """The digest that ran and the planned one."""
        return str(self.ran.get("code")), str(self.now.get("code"))

    @property
    def files(self) -> list[str]:
        """All files it reads, as planned now, each once."""
        given: Mapping[str, Sequence[str]] = self.now.get("inputs") or {}
        return list(dict.fromkeys(path for paths in given.values() for path in paths))


@dataclass(frozen=True)
class Recorded:
    """What the records of an experiment hold.

    Attributes:
        changed: jobs that differ from the plan only in their code, and in what is declared.
        other: the first outputs of jobs that cannot be accepted, and why.
        jobs: all that are planned. entries: the records, with new names of files.
    """

    changed: list[Change]
    other: dict[str, str]
    jobs: list[Change]
    entries: records.Entries


def changes(
    plan: Plan, experiment: str, root: Path, table: Mapping[str, Any], shell: Mapping[str, str], declared: bool
) -> Recorded:  # fmt: skip
    """Compare the recorded jobs of an experiment with its plan.

    Args:
        plan: of params.yaml. experiment: its name. root: the project's folder.
        table: see `provenance.accepted.translated`.
        shell: the present shell line of every rule. declared: changed ones are to be accepted.
    Raises:
        UserError: no such experiment, or a provenance file that was edited, or refers to a ledger file that was.
    """
    known = _entries(plan, experiment, root, table)
    shas = {path: entry.sha256 for path, (_, entry) in known.items()}
    found: list[Change] = []
    other: dict[str, str] = {}
    every: list[Change] = []
    for job in _jobs(known):
        path = min(job)
        stage, entry = known[path]
        change = _change(plan, stage, entry, job, shas, table, shell)
        if change is None:
            continue
        every.append(change)
        line, line_now = str(entry.record.get("code")), change.shell[1]
        new = [path for path in _outputs(plan, path) if path not in known]
        if accepted.payload_of(entry.record.get("params") or []) == change.now and line == line_now:
            continue
        if new:
            other[path] = f"its job makes {new[0]} as well now; it has to run"
        elif line != line_now and not declared:
            other[path] = f"the shell line of rule {change.rule_now} is another now; --shell accepts it"
        elif accepted.translated(change.ran, table, change.codes[1], change.rule) != change.now:
            other[path] = "its parameters differ as well, not only its code; it has to run"
        else:
            found.append(change)
    return Recorded(found, other, every, {path: entry for path, (_, entry) in known.items()})


def _entries(
    plan: Plan, experiment: str, root: Path, table: Mapping[str, Any]
) -> dict[str, tuple[str, Entry]]:
    """Every record of an experiment with the stage that owns the file; files have the names that a table gives them.

    Raises:
        UserError: see `changes`.
    """
    stages = plan.stages(experiment)
    found: records.Entries = {}
    for stage in stages:
        entries, complaint = records.read(root, stage)
        if complaint and not table.get("paths"):
            raise UserError(complaint)
        found |= entries
    if table.get("paths"):
        for file in sorted((root / "results" / experiment / "provenance").glob("*.json")):
            found |= records.all_of(root, file.relative_to(root).as_posix())
        refused = next((entry.refused for entry in found.values() if entry.refused), "")
        if refused:
            raise UserError(refused)
        found = renamed(found, table)
    owners = {path: [stage.name for stage in stages if records.owns(stage, path)] for path in found}
    return {path: (owners[path][0], entry) for path, entry in found.items() if owners[path]}


def renamed(entries: records.Entries, table: Mapping[str, Any]) -> records.Entries:
    """Records with new names of files; the hash of a job's inputs, which holds their names, only where it was right before."""
    before = {path: entry.sha256 for path, entry in entries.items()}
    after = {accepted.moved(path, table): sha for path, sha in before.items()}
    found: records.Entries = {}
    for path, entry in entries.items():
        fed = entry.inputs_sha256 == combined(entry.sources, before)
        sources = [accepted.moved(source, table) for source in entry.sources]
        sums = {accepted.moved(k, table): v for k, v in (entry.record.get("input_checksums") or {}).items()}
        record = {**entry.record, "input": sources, "input_checksums": sums}
        inputs_sha256 = combined(sources, after) if fed else entry.inputs_sha256
        found[accepted.moved(path, table)] = replace(entry, record=record, inputs_sha256=inputs_sha256)
    return found


def _change(
    plan: Plan, stage: str, entry: Entry, job: Sequence[str], shas: Mapping[str, str], table: Mapping[str, Any],
    shell: Mapping[str, str],
) -> Change | None:  # fmt: skip
    """Compare one recorded job with its plan; None for one that is not planned, or has no payload."""
    path = min(job)
    now, ran = planned(plan, path), accepted.payload_of(entry.as_ran.get("params") or [])
    if now is None or not ran:
        return None
    key = maker(path) or ("",)
    line = str(entry.as_ran.get("code"))
    read = [old for paths in (ran.get("inputs") or {}).values() for old in paths]
    back = {"paths": {new: old for old, new in (table.get("paths") or {}).items()}}
    names = {accepted.moved(old, table): old for old in read} | {
        new: accepted.moved(new, back) for new in job
    }
    return Change(
        stage=stage,
        rule=str(entry.record["rule"]),
        rule_now=key[0],
        outputs={out: shas[out] for out in _outputs(plan, path) if out in job},
        sources={source: shas[source] for source in entry.sources if source in shas},
        ran=ran,
        now=now,
        fed=None if entry.inputs_sha256 is None else entry.inputs_sha256 == combined(entry.sources, shas),
        shell=(line, shell.get(key[0], line)),
        was={new: old for new, old in names.items() if new != old},
    )


def _outputs(plan: Plan, path: str) -> tuple[str, ...]:
    """The files that the job of a file makes by the plan."""
    key = maker(path)
    return plan.job(*key).outputs if key else ()


def _jobs(known: Mapping[str, tuple[str, Entry]]) -> list[list[str]]:
    """The files of each job together; those of one job share stage, rule and parameters."""
    jobs: dict[tuple[str, ...], list[str]] = {}
    for path, (stage, entry) in known.items():
        key = (stage, str(entry.record.get("rule")), *map(str, entry.as_ran.get("params") or []))
        jobs.setdefault(key, []).append(path)
    return list(jobs.values())


def planned(plan: Plan, path: str) -> dict[str, Any] | None:
    """The payload a plan has for the job of a file; None for a file that no job with a payload makes."""
    key = maker(path)
    if key is None:
        return None
    try:
        return accepted.payload_of([repr(plan.payload(*key))])
    except UserError:
        return None
