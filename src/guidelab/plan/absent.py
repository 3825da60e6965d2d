"""Find missing external inputs of jobs: pretrained files, and environment variables with dataset paths."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guidelab.errors import home_path
from guidelab.plan.job import Job
from guidelab.registry import entry
from guidelab.released import FOLDER_VARIABLE, Row, folder_of, size_of

_HOLDS = {  # what a data variable must lead to
    "imagenet": "the folder of ILSVRC 2012 with train/<class>/*.JPEG and val/<class>/*.JPEG",
    "cifar10": "cifar-10-binary.tar.gz, or the folder unpacked from it",
}


def absent(jobs: Iterable[Job], experiments: Sequence[str], environ: Mapping[str, str] = os.environ) -> str:
    """One message about all missing inputs; empty if none is missing.

    Args:
        jobs: that are still to be run; the synthetic files of a smoke experiment are not checked.
        experiments: theirs, for the commands that help.
        environ: the environment.
    """
    rows: dict[str, Row] = {}
    data: dict[str, str] = {}
    for job in jobs:
        for row in _rows(job.spec):
            rows[row.file] = row
        if job.rule == "prepare" and _is_streamed(job) and "synthetic" not in job.inputs:
            data |= _data(job.spec["dataset"], environ)
    place = folder_of(environ.get(FOLDER_VARIABLE))
    lacking = [row for row in rows.values() if not (place / row.file).exists()]
    if not lacking and not data:
        return ""
    named = " ".join(experiments)
    lines = [f"{named}: {_counted(len(lacking), len(data))} not here; nothing is downloaded by itself."]
    if lacking:
        lines += [f"Put these files into {place.absolute()} ({FOLDER_VARIABLE} names another folder):"]
        lines += [f"  {_described(row)}" for row in lacking]
        lines += [
            f"`guidelab released {named}` lists them again. For a cluster without internet: `guidelab bundle {named} -o "
            "weights.tar` where there is one, `guidelab unbundle weights.tar` here."
        ]
    return "\n".join([*lines, *data.values()])


def _is_streamed(job: Job) -> bool:
    """Whether a fold is read from a dataset that only the user has."""
    return "split" in job.spec and entry("dataset", job.spec["dataset"]["name"]).needs == "stream"


def _rows(spec: Any) -> Iterator[Row]:
    """The rows of checkpoints.csv a job looks for in the user's folder."""
    if not isinstance(spec, Mapping) or spec.get("folder"):
        return
    if set(Row.__annotations__) <= set(spec):
        yield Row(**{key: spec[key] for key in Row.__annotations__})
    for value in spec.values():
        yield from _rows(value)


def _data(dataset: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The message about a dataset whose files are not found, by the dataset's name."""
    name = dataset["name"]
    variable = f"GUIDELAB_{name.upper()}"
    source, holds = dataset.get("source") or environ.get(variable), _HOLDS.get(name, f"the images of {name}")
    if not source:
        return {name: f"{variable} is not set; wanted {holds}."}
    if not home_path(source).exists():
        whose = "dataset.source" if dataset.get("source") else variable
        return {name: f"{whose}={source}: is not there; wanted {holds}."}
    return {}


def _described(row: Row) -> str:
    size = f"{size_of(row)}, " if size_of(row) else ""
    note = f" ({row.note})" if row.note else ""
    where = row.url or "its publisher"
    return f"{row.file} ({row.name}; {size}licence {row.licence or 'not known'}): {where}{note}"


def _counted(files: int, data: int) -> str:
    parts = [f"{files} published file{'s' * (files > 1)}"] if files else []
    parts += [f"{data} dataset{'s' * (data > 1)}"] if data else []
    return f"{' and '.join(parts)} needed and"
