"""Finished jobs that count as outdated only because their code, or a declared key of their payload, changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def changes(
    plan: Plan, experiment: str, root: Path, table: Mapping[str, Any], shell: Mapping[str, str]
) -> tuple[list[Change], list[str]]:
    """The jobs of an experiment that differ from the plan only in their code, and in what a table declares.

    Args:
        plan: of params.yaml. experiment: its name. root: the project's folder.
        table: see `provenance.accepted.translated`.
        shell: the present shell line of every rule, where changed ones are to be accepted; else empty.
    Returns:
        these jobs; the first outputs of jobs whose parameters differ otherwise: no change of code, they have to run.
    Raises:
        UserError: no such experiment, or a provenance file that was edited, or refers to a ledger file that was.
    """
    stages = plan.stages(experiment)
    known: dict[str, tuple[str, Entry]] = {}
    for stage in stages:
        entries, complaint = records.read(root, stage)
        if complaint:
            raise UserError(complaint)
        known |= {path: (stage.name, entry) for path, entry in entries.items()}
    shas = {path: entry.sha256 for path, (_, entry) in known.items()}
    found: list[Change] = []
    other: list[str] = []
    for job in _jobs(known):
        path = min(job)
        stage_name, entry = known[path]
        now = planned(plan, path)
        recorded = accepted.payload_of(entry.record.get("params") or [])
        rule, rule_now = str(entry.record["rule"]), (maker(path) or ("",))[0]
        line = str(entry.record.get("code"))
        if now is None or not recorded or (recorded == now and line == shell.get(rule_now, line)):
            continue
        ran = accepted.payload_of(entry.as_ran.get("params") or [])
        if accepted.translated(ran, table, str(now.get("code")), rule) != now:
            other.append(path)
            continue
        fed = None if entry.inputs_sha256 is None else entry.inputs_sha256 == combined(entry.sources, shas)
        sources = {source: shas[source] for source in entry.sources if source in shas}
        outputs = {out: shas[out] for out in plan.job(*(maker(path) or ())).outputs if out in job}
        lines = str(entry.as_ran.get("code")), shell.get(rule_now, line)
        found.append(Change(stage_name, rule, rule_now, outputs, sources, ran, now, fed, lines))
    return found, other


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
