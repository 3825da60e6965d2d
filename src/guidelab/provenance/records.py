"""A stage's provenance file: for each file its job, inputs, parameters and code digest.

The file is JSON, the same bytes on every machine: no times, no absolute paths. Files of one job share one entry,
and what all jobs of a rule have in common is written once.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.plan.stage import Stage
from guidelab.provenance import accepted
from guidelab.provenance.disk import write_text
from guidelab.provenance.places import back

FORMAT = 1
_ABOUT = (
    "Which job made each file, and from what. Written after every run of snakemake; not meant to be edited."
)
_OF_RULE = ("code", "record_format_version", "conda_env", "container_img_url", "software_stack_hash")


@dataclass(frozen=True)
class Entry:
    """The record of one file."""

    sha256: str
    record: Mapping[str, Any]  # Snakemake's: rule, input, params, input_checksums, log and _OF_RULE
    inputs_sha256: str | None  # of the inputs that are results themselves, when the job ran; None: not known
    # With an accepted change (`guidelab accept`): `params` and `code` of the record as its job ran, then the accepted digest
    # (`code`) and the name of the evidence (`ledger`). `record` has the accepted ones unless the evidence was refused.
    ran: Mapping[str, Any] | None = None
    accepted: Mapping[str, str] | None = None
    refused: str = ""  # why the evidence was ignored; the record is then as its job ran

    @property
    def fingerprint(self) -> str:
        """Changes whenever the entry does."""
        content: list[Any] = [self.sha256, _job(self, str(self.record.get("rule"))), _shared(self)]
        content += [self.record.get("params"), self.record.get("code")] if self.accepted else []
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def sources(self) -> list[str]:
        """The files the job read."""
        return [path for path in self.record.get("input") or [] if isinstance(path, str)]

    @property
    def for_snakemake(self) -> dict[str, Any]:
        """The record as `.snakemake/` holds it: Snakemake ignores the two further keys, `from_snakemake` reads them."""
        extra = {"ran": dict(self.ran or {}), "accepted": dict(self.accepted)} if self.accepted else {}
        return {**self.record, **extra}

    @classmethod
    def from_snakemake(cls, sha256: str, record: Mapping[str, Any], inputs_sha256: str | None) -> "Entry":
        """An entry from a record in `.snakemake/`; one that Snakemake wrote since an acceptance has none."""
        about, ran = record.get("accepted"), record.get("ran")
        if not isinstance(about, dict) or not isinstance(ran, dict):
            return cls(sha256, record, inputs_sha256)
        return cls(sha256, record, inputs_sha256, ran, {key: str(value) for key, value in about.items()})

    @property
    def as_ran(self) -> Mapping[str, Any]:
        """The record without accepted changes."""
        return {**self.record, **(self.ran or {})}


Entries = dict[str, Entry]


def combined(sources: Iterable[str], sha256_of: Mapping[str, str]) -> str:
    """One hash for the content of those inputs that are results themselves."""
    lines = [f"{sha256_of[path]} {path}" for path in sorted(set(sources)) if path in sha256_of]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read(root: Path, stage: Stage) -> tuple[Entries, str | None]:
    """The entries of a stage's provenance file, and a complaint if it, or part of it, had to be ignored.

    Entries for files the stage does not own are ignored too: the file comes from outside.
    """
    path = root / stage.provenance
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return {}, (
                f"{stage.provenance}: has format {content['format']!r}, wanted {FORMAT}; ignored. "
                "Use the version of guidelab that wrote it, or run its jobs again."
            )
        found = _all_entries(content, root, stage.experiment)
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {}, (
            f"{stage.provenance}: is not readable ({type(error).__name__}: {error}); ignored, so changed parameters of "
            f"stage {stage.name} may go unnoticed. Take it back with: {back(root, stage.provenance)}"
        )
    owned = {out: entry for out, entry in found.items() if owns(stage, out)}
    strange = sorted(set(found) - set(owned))
    if strange:
        return (
            owned,
            f"{stage.provenance}: speaks of {strange[0]!r}, which stage {stage.name} does not own; ignored",
        )
    return owned, next((entry.refused for entry in owned.values() if entry.refused), None)


def all_of(root: Path, path: str) -> Entries:
    """The entries of a provenance file, whichever stage owns what they speak of; for looking at, not for restoring.

    Raises:
        UserError: the file cannot be read, or has another format.
    """
    try:
        content = json.loads((root / path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(f"{path}: has format {content['format']!r}, wanted {FORMAT}")
        return _all_entries(content, root, Path(path).parents[1].name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not readable ({type(error).__name__}: {error}). Take it back with: {back(root, path)}"
        ) from error


def owns(stage: Stage, path: str) -> bool:
    """Whether a file lies where the stage writes."""
    plain = not Path(path).is_absolute() and ".." not in Path(path).parts
    return plain and any(path == own or path.startswith(f"{own}/") for own in stage.owned)


def _all_entries(content: Mapping[str, Any], root: Path, experiment: str) -> Entries:
    """All entries of a provenance file, those with an accepted change as it has them."""
    found: Entries = {}
    ledgers: dict[str, Any] = {}
    for job in content["jobs"]:
        record = _record(job, content["rules"])
        outputs = {str(out): str(sha256) for out, sha256 in job["outputs"].items()}
        entry = Entry("", record, job["inputs_sha256"])
        if "accepted" in job:
            about = {key: str(job["accepted"][key]) for key in ("code", "ledger")}
            ran = {key: record[key] for key in ("params", "code")}
            entry = replace(entry, ran=ran, accepted=about)
            try:
                name = about["ledger"]
                if name not in ledgers:
                    ledgers[name] = accepted.read(root, experiment, name)
                now = accepted.accepted_record(ledgers[name], record, about["code"], outputs)
                entry = replace(entry, record=now)
            except UserError as error:  # the record stays as its job ran, so that the job counts as outdated
                entry = replace(
                    entry, refused=f"accepted change {about['ledger']} of {min(outputs)}: {error}"
                )
        found |= {out: replace(entry, sha256=sha256) for out, sha256 in outputs.items()}
    return found


def _record(job: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """Snakemake's record of a job, as it ran."""
    record = {**rules[job["rule"]], "rule": str(job["rule"]).rstrip("'")}
    return record | {
        "input": [str(source[0]) for source in job["input"]],
        "input_checksums": {str(s[0]): str(s[1]) for s in job["input"] if len(s) > 1},
        "params": [str(text) for text in job["params"]],
        "log": [str(path) for path in job["log"]],
    }


def write(root: Path, stage: Stage, entries: Entries) -> bool:
    """Write a stage's provenance file if it would change; says whether it did.

    Raises:
        OSError: the file cannot be written; nothing partial is left.
    """
    path = root / stage.provenance
    text = _as_text(entries)
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
        return False
    write_text(path, text)
    return True


def _as_text(entries: Entries) -> str:
    rules: dict[str, dict[str, Any]] = {}
    jobs: dict[str, dict[str, Any]] = {}
    for out in sorted(entries):
        entry = entries[out]
        name, shared = str(entry.record["rule"]), _shared(entry)
        while rules.setdefault(name, shared) != shared:  # jobs of a rule may be older than its present text
            name += "'"  # no rule's name ends so
        job = _job(entry, name)
        key = json.dumps(job, sort_keys=True)
        jobs.setdefault(key, job | {"outputs": {}})["outputs"][out] = entry.sha256
    lines = sorted(json.dumps(job, sort_keys=True, separators=(",", ":")) for job in jobs.values())
    head = json.dumps({"about": _ABOUT, "format": FORMAT, "rules": rules}, sort_keys=True, indent=1)
    return head[: -len("\n}")] + ',\n "jobs": [\n' + ",\n".join(lines) + "\n]}\n"


def _shared(entry: Entry) -> dict[str, Any]:
    return {key: entry.as_ran.get(key) for key in _OF_RULE}


def _job(entry: Entry, rule: str) -> dict[str, Any]:
    checksums = entry.record.get("input_checksums") or {}
    job = {
        "rule": rule,
        "input": [[path, checksums[path]] if path in checksums else [path] for path in entry.sources],
        "params": entry.as_ran.get("params") or [],
        "log": entry.record.get("log") or [],
        "inputs_sha256": entry.inputs_sha256,
    }
    if entry.accepted:
        job |= {"accepted": dict(entry.accepted)}
    return job
