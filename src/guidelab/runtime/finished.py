"""Keep outputs that a job completes after its Snakemake was killed, and restore them when the same job runs again.

Snakemake deletes the outputs of such a job before it runs it again, as no record names their inputs. Here
a record is kept: the complete job with its code digest and input hashes. Only the same job restores the outputs.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab.provenance.disk import sha256
from guidelab.runtime import running

_HASHED = 100_000_000  # bytes; the profiles' max-checksum-file-size


def keep(job: Mapping[str, Any], outputs: Sequence[Path]) -> None:
    """Keep the outputs, if the Snakemake that started this job is not known to be running.

    They become further names of the same files, or copies where the states are on another file system. Nothing is
    raised: if the disk is full, the kept copies are dropped with a warning and the job runs again.
    """
    if not running.orphaned() or not all(output.is_file() for output in outputs):
        return
    place = _place(outputs)
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for number, output in enumerate(outputs):
            _link(output, place / str(number))
        about = {"job": dict(job), "inputs": _inputs(job), "outputs": [_mark(output) for output in outputs]}
        about["run"] = running.run_name()
        (place / running.NOTE).write_text(json.dumps(about), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        print(
            f"guidelab: {outputs[0]}: could not be kept for a restart ({error.strerror or error})",
            file=sys.stderr,
        )


def put_back(job: Mapping[str, Any], outputs: Sequence[Path]) -> bool:
    """Restore kept outputs of this same job; returns whether there were any. Other ones are removed.

    Raises:
        UserError: they are kept, but cannot be put there; they stay kept.
    """
    place = _place(outputs)
    if not place.is_dir():
        return False
    found = [place / str(number) for number in range(len(outputs))]
    about = _about(place, job, found)
    if about:
        from guidelab.io import atomic_write  # imports torch, which `--help` must not wait for

        for path, output in zip(found, outputs, strict=True):
            with atomic_write(output) as temporary:
                temporary.unlink(missing_ok=True)
                _link(path, temporary)
    if not (about and _belongs_to(place, about, running.run_name())):
        shutil.rmtree(place, ignore_errors=True)
    return bool(about)


def _belongs_to(place: Path, about: Mapping[str, Any], run: str) -> bool:
    """Mark restored outputs as belonging to the current Snakemake, which deletes the kept copies when it ends."""
    if not run:
        return False
    try:
        (place / running.NOTE).write_text(json.dumps({**about, "run": run}), encoding="utf-8")
    except OSError:
        return False
    return True


def _about(place: Path, job: Mapping[str, Any], found: Sequence[Path]) -> dict[str, Any]:
    """The note of what is kept, if that is of this very job, and whole; else nothing."""
    try:
        about: dict[str, Any] = json.loads((place / running.NOTE).read_text(encoding="utf-8"))
        same = about["job"] == json.loads(json.dumps(dict(job))) and about["inputs"] == _inputs(job)
        return about if same and about["outputs"] == [_mark(path) for path in found] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # the process was killed while it copied: the job runs again


def _link(source: Path, target: Path) -> None:
    """Another name of a file; a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        shutil.copystat(source, target)  # a large file is identified by its time


def _place(outputs: Sequence[Path]) -> Path:
    return running.kept() / running.name_of(outputs)


def _inputs(job: Mapping[str, Any]) -> dict[str, str]:
    return {path: _mark(Path(path)) for paths in job["inputs"].values() for path in paths}


def _mark(path: Path) -> str:
    """An identifier of a file's content: its hash; of a large file its size and time, as in Snakemake."""
    about = path.stat()
    return sha256(path) if about.st_size <= _HASHED else f"{about.st_size} bytes of {about.st_mtime_ns}"
