"""Run times, hosts and versions of a stage's jobs: `results/<experiment>/runs/<stage>.json`, in git, outside DVC.

Apart from the records of results, because those are the same bytes on every machine and these are not: nothing depends
on these files, no table is made from them, and `dvc status` does not see them. Times come from the note a job left
(`notes`), without one from Snakemake's own record, which on a cluster includes the time in the queue.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import Any

from guidelab.plan.stage import Stage
from guidelab.provenance import accepted, notes
from guidelab.provenance.disk import Metadata, write_text
from guidelab.provenance.records import Entries, Entry

FORMAT = 1
BY_JOB, BY_SNAKEMAKE = "job", "snakemake"
_ALWAYS = ("sha256", "seconds", "clock")
_ABOUT = "What jobs took and ran on, for `guidelab trace`. No result depends on it; outside DVC on purpose."


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes:
        sha256: of the job's first output, as this run made it.
        seconds: by the clock on the wall; `earlier_seconds`, of earlier attempts that stopped in time.
        clock: whose: `job`, or `snakemake`, with queueing and start-up.
        started: UTC; empty when not known. machine, software: empty when not known.
    """

    sha256: str
    seconds: float
    clock: str
    earlier_seconds: float = 0.0
    started: str = ""
    machine: Mapping[str, Any] | None = None
    software: Mapping[str, str] | None = None


Runs = dict[str, Run]  # by the job's first output, by name


def path_of(experiment: str, stage: str) -> str:
    """Where a stage's runs are kept."""
    return f"results/{experiment}/runs/{stage}.json"


def payload_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A job's parameters from Snakemake's record; empty where the record has none."""
    return accepted.payload_of(record.get("params") or [])


def first_outputs(entries: Entries) -> list[str]:
    """The first output of every job by name, as its note has it: the files of one job share their record."""
    seen: dict[str, str] = {}
    for path in sorted(entries):
        record = entries[path].record
        key = [record.get("rule"), record.get("params"), record.get("log")]
        seen.setdefault(json.dumps(key), path)
    return list(seen.values())


def gather(root: Path, stage: Stage, entries: Entries, metadata: Metadata) -> bool:
    """Bring a stage's runs up to date from notes and Snakemake's records; says whether the file changed.

    Raises:
        OSError: the file cannot be written.
    """
    before, now = read(root, path_of(stage.experiment, stage.name)), {}
    for path in first_outputs(entries):
        if str(entries[path].record.get("rule")) == "manifest":
            continue  # a list of files: no number comes from it
        found = _made_here(root, path, entries[path], metadata)
        old = before.get(path)
        kept = found or (old if old and old.sha256 == entries[path].sha256 else None)
        if kept:
            now[path] = kept
    if now == before:
        return False
    write_text(root / path_of(stage.experiment, stage.name), _as_text(now))
    return True


def _made_here(root: Path, path: str, entry: Entry, metadata: Metadata) -> Run | None:
    """The run of a job on this machine, or None: records that came with a clone hold no times."""
    record = metadata.read(path)
    if record is None:
        return None
    start, end = record.get("starttime"), record.get("endtime")
    if not isinstance(start, int | float) or not isinstance(end, int | float) or end <= start:
        return None
    if Entry(entry.sha256, record, entry.inputs_sha256).fingerprint != entry.fingerprint:
        return None  # other parameters, or another file
    payload = payload_of(record)
    note = notes.read(root, path)
    if note is None or not note["finished"] or note["job"] != notes.key_of(payload):
        return Run(entry.sha256, round(end - start, 3), BY_SNAKEMAKE)
    return Run(
        entry.sha256,
        note["seconds"],
        BY_JOB,
        note["earlier_seconds"],
        str(note["started"]),
        note["machine"],
        note["software"],
    )


def read(root: Path, path: str) -> Runs:
    """A stage's runs; none where the file is absent or makes no sense: what is lost is a time, no result.

    The file comes with a clone: a line whose numbers, date, machine or versions are not what they should be is left out.
    """
    found: Runs = {}
    try:
        if not (root / path).is_file():  # a link to a device has no end
            return {}
        content = json.loads((root / path).read_text(encoding="utf-8"))
        lines = list(content["jobs"]) if content["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
            found[str(line["output"])] = _run(line, content)
    return found


def _run(line: dict[str, Any], content: dict[str, Any]) -> Run:
    """One line as a run.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError: it makes no sense.
    """
    seconds, earlier = _seconds(line["seconds"]), _seconds(line.get("earlier_seconds", 0.0))
    started = line.get("started", "")
    if started:  # and a date for the end as well
        datetime.fromisoformat(started) + timedelta(seconds=seconds)
    return Run(
        str(line["sha256"]),
        seconds,
        str(line["clock"]),
        earlier,
        str(started),
        _facts(content["machines"][line["machine"]]) if "machine" in line else None,
        {k: str(v) for k, v in _facts(content["software"][line["software"]]).items()}
        if "software" in line
        else None,
    )


def _seconds(given: Any) -> float:
    if not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise ValueError(f"{given!r} are no seconds")
    return float(given)


def _facts(given: Any) -> dict[str, Any]:
    """Names with words, numbers, or lists of these."""
    plain = (str, int, float, NoneType)
    for value in given.values():
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, plain) for part in parts):
            raise TypeError(f"{value!r} is no word, no number and no list of them")
    if not isinstance(given.get("gpus", []), list):
        raise TypeError(f"gpus: {given['gpus']!r} is no list")
    return {str(k): v for k, v in given.items()}


def _as_text(runs: Runs) -> str:
    """One line a job; machines and versions, which many jobs share, stand once."""
    tables: dict[str, dict[str, Any]] = {"machines": {}, "software": {}}
    lines = []
    for path in sorted(runs):
        fields = asdict(runs[path]).items()
        line = {"output": path} | {k: v for k, v in fields if k in _ALWAYS or v not in (None, "", 0.0)}
        for one, many in (("machine", "machines"), ("software", "software")):
            if one in line:
                line[one] = _name(tables[many], line[one], one[0])
        lines.append(json.dumps(line, separators=(",", ":")))
    head = json.dumps({"about": _ABOUT, "format": FORMAT, **tables}, indent=1, sort_keys=True)
    return head[: -len("\n}")] + ',\n "jobs": [\n' + ",\n".join(lines) + "\n]}\n"


def _name(table: dict[str, Any], content: Any, letter: str) -> str:
    for name, known in table.items():
        if known == content:
            return str(name)
    table[f"{letter}{len(table)}"] = content
    return f"{letter}{len(table) - 1}"
