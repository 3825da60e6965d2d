"""Read the records of every result: its job, inputs, parameters and machine."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guidelab.errors import UserError
from guidelab.lineage.trail.inside import inside
from guidelab.lineage.trail.rows import Row, read_rows
from guidelab.provenance import records, runs
from guidelab.provenance.places import back
from guidelab.provenance.records import Entry, combined
from guidelab.provenance.runs import Run

Follow = Callable[
    ["Step", str], bool
]  # whether the trace follows an input, by the step and the input's label


@dataclass(frozen=True)
class Step:
    """One job of a trail.

    Attributes:
        rule: its name. stage: whose provenance file speaks of it.
        outputs: path to sha256, as the job wrote them.
        inputs: label to paths, as in the job's payload. told: all other parameters, without the digest of its code.
        code: that digest.
        log: where it wrote its messages; empty when not recorded.
        run: what it took and ran on; None when not recorded.
        fed: whether the recorded inputs are those it read: True, False, or None when not known.
        accepted: `code`, a digest that was shown to give the same result, and `ledger`, the file that shows it; or nothing.
        refused: why the evidence of an accepted change is ignored.
    """

    rule: str
    stage: str
    outputs: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    told: Mapping[str, Any]
    code: str
    log: str = ""
    run: Run | None = None
    fed: bool | None = None
    accepted: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def name(self) -> str:
        """Its first output."""
        return next(iter(self.outputs))

    @property
    def files(self) -> list[str]:
        """All inputs, each once."""
        return list(dict.fromkeys(path for paths in self.inputs.values() for path in paths))


class Book:
    """The provenance of all experiments below a folder, read on demand."""

    def __init__(self, root: Path = Path()):
        self.root = root
        self._known: dict[str, _Known] = {}  # by experiment
        self._steps: dict[str, Step] = {}  # by path
        self._rows: dict[str, list[Row]] = {}

    def step(self, path: str) -> Step | None:
        """The job that made a file; None for a file no job is known to have made."""
        name = experiment_of(path)
        known = self._of(name) if name else _NOTHING
        if path not in known.entries:
            return None
        if path not in self._steps:
            self._steps[path] = _step(self.root, path, known)
        return self._steps[path]

    def needed(self, path: str) -> Step:
        """The job that made a file.

        Raises:
            UserError: nothing is recorded of it.
        """
        found = self.step(path)
        if found is None:
            name = experiment_of(path) or "<experiment>"
            raise UserError(
                f"{path}: no job is recorded that made it; wanted one in results/{name}/provenance/*.json. They are written at "
                f"the end of a run: snakemake -c2 {path}"
            )
        return found

    def rows(self, path: str) -> list[Row]:
        """All rows of a CSV, read once.

        Raises:
            UserError: it is not there, is no table, or is no file of this project.
        """
        if path not in self._rows:
            with contextlib.suppress(OSError):  # `read_rows` says so
                inside(self.root, path)
            self._rows[path] = read_rows(self.root / path)
        return self._rows[path]

    def recorded(self, name: str) -> list[str]:
        """All files that jobs of an experiment are known to have made, by name."""
        return sorted(self._of(name).entries)

    def stages(self, name: str) -> list[str]:
        """The stages of an experiment of which something is recorded."""
        return sorted({stage for _, stage in self._of(name).entries.values()})

    def sha256(self, path: str) -> str | None:
        """What a file's content was when its job wrote it."""
        name = experiment_of(path)
        return self._of(name).shas.get(path) if name else None

    def _of(self, name: str) -> "_Known":
        if name not in self._known:
            found = _Known()
            for path in sorted((self.root / "results" / name / "provenance").glob("*.json")):
                own = path.relative_to(self.root).as_posix()
                with contextlib.suppress(OSError):  # `all_of` says so
                    inside(self.root, own)
                for out, entry in records.all_of(self.root, own).items():
                    found.entries[out] = (entry, path.stem)
                    found.shas[out] = entry.sha256
                    found.jobs.setdefault(_job(entry, path.stem), {})[out] = entry.sha256
                found.runs.update(runs.read(self.root, runs.path_of(name, path.stem)))
            self._known[name] = found
        return self._known[name]


@dataclass(frozen=True)
class _Known:
    """All that is recorded of an experiment: entries with their stage, hashes, the files of each job, runs."""

    entries: dict[str, tuple[Entry, str]] = field(default_factory=dict)
    shas: dict[str, str] = field(default_factory=dict)
    jobs: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)


_NOTHING = _Known()


def _job(entry: Entry, stage: str) -> tuple[str, ...]:
    """The same for the files of one job."""
    return stage, _rule(entry), *map(str, entry.record.get("params") or [])


def _step(root: Path, path: str, known: _Known) -> Step:
    entry, stage = known.entries[path]
    record, mine = entry.record, known.jobs[_job(entry, stage)]
    told, ran = runs.payload_of(record), runs.payload_of(entry.as_ran)
    ledger = f"results/{experiment_of(path)}/accepted/{(entry.accepted or {}).get('ledger')}.json"
    run = known.runs.get(min(mine))
    inputs = _inputs(told.get("inputs") or {}, path, root, stage)
    fed = None if entry.inputs_sha256 is None else entry.inputs_sha256 == combined(entry.sources, known.shas)
    return Step(
        rule=_rule(entry),
        stage=f"results/{experiment_of(path)}/provenance/{stage}.json",
        outputs=dict(sorted(mine.items(), key=lambda item: item[0] != path)),
        inputs=inputs or {"": tuple(entry.sources)},
        told={k: v for k, v in told.items() if k not in ("inputs", "code")},
        code=str(ran.get("code", "")),
        log=next(iter(map(str, record.get("log") or [])), ""),
        run=run if run and run.sha256 == mine[min(mine)] else None,
        fed=fed,
        accepted={"code": str(told.get("code")), "ledger": ledger}
        if entry.accepted and not entry.refused
        else {},
        refused=entry.refused,
    )


def _inputs(given: Any, path: str, root: Path, stage: str) -> dict[str, tuple[str, ...]]:
    """Labels with their files, from a job's payload.

    Raises:
        UserError: the record is malformed (it may come with a clone).
    """
    lists = isinstance(given, dict) and all(isinstance(paths, list) for paths in given.values())
    if not lists or not all(isinstance(source, str) for paths in given.values() for source in paths):
        where = f"results/{experiment_of(path)}/provenance/{stage}.json"
        raise UserError(
            f"{where}: the inputs of {path} are {str(given)[:80]!r}, wanted labels with lists of paths. Take the record back with: "
            f"{back(root, where)}"
        )
    return {str(label): tuple(paths) for label, paths in given.items()}


def _rule(entry: Entry) -> str:
    return str(entry.record.get("rule"))


def experiment_of(path: str) -> str:
    """The experiment a file below `results/` was made for; empty for anything else.

    Tables named behind their experiment (`toy2d_divergences.csv`) are found by the experiment's name.
    """
    parts = path.split("/")
    if parts[0] != "results" or len(parts) < 3:
        return ""
    if parts[1] not in ("tables", "figures"):
        return parts[1]
    name = parts[2].split(".")[0]
    for ending in ("_divergences", "_dg_theorem", "_costs"):
        name = name.removesuffix(ending)
    return name


def walk(book: Book, starts: Iterable[str], follow: Follow = lambda step, label: True) -> list[Step]:
    """The jobs behind some files, users before makers, each once.

    Args:
        book: the records.
        starts: files to begin with.
        follow: which inputs to go on through.
    """
    steps: dict[str, Step] = {}
    order: list[str] = []
    stack: list[tuple[str, bool]] = [(path, False) for path in starts]
    while stack:
        path, done = stack.pop()
        step = steps.get(path) or book.step(path)
        if step is None:
            continue
        key = min(step.outputs)
        if done:
            order.append(key)
        elif key not in steps:
            steps[key] = steps[path] = step
            stack.append((path, True))
            sources = [p for label, paths in step.inputs.items() if follow(step, label) for p in paths]
            stack += [(p, False) for p in sources]  # the last is looked at first, so named last
    return [steps[key] for key in reversed(order)]
