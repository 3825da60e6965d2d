"""What a job finished after its Snakemake had been killed: kept until the job is asked for again, then put in its place.

Snakemake deletes the outputs of such a job before it runs it again, for nobody noted from what they were made. Here
it is noted: the whole job with its code and the content of its inputs. Only for the very same job are they put back.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidelab import running
from guidelab.io import sha256

_NOTE = "note.json"


def keep(job: Mapping[str, Any], outputs: Sequence[Path]) -> None:
    """Keep the outputs, as further names of the same files, if the Snakemake that started this job is gone.

    Nothing is raised: a disk that is full, or without hard links, costs no more than the job again.
    """
    if not running.orphaned() or not all(output.is_file() for output in outputs):
        return
    place = _place(outputs)
    with contextlib.suppress(OSError):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for number, output in enumerate(outputs):
            os.link(output, place / str(number))
        about = {"job": dict(job), "inputs": _inputs(job), "outputs": [sha256(output) for output in outputs]}
        (place / _NOTE).write_text(json.dumps(about), encoding="utf-8")


def put_back(job: Mapping[str, Any], outputs: Sequence[Path]) -> bool:
    """Put kept outputs in their place; whether there were some of this very job. Others are removed."""
    place = _place(outputs)
    if not place.is_dir():
        return False
    found = [place / str(number) for number in range(len(outputs))]
    try:
        about = json.loads((place / _NOTE).read_text(encoding="utf-8"))
        same = about["job"] == json.loads(json.dumps(dict(job))) and about["inputs"] == _inputs(job)
        if same and about["outputs"] == [sha256(path) for path in found]:
            for path, output in zip(found, outputs, strict=True):
                output.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, output)
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # killed while it was being kept: the job runs again
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return False


def _place(outputs: Sequence[Path]) -> Path:
    return running.place().parent / "finished" / running.name_of(outputs)


def _inputs(job: Mapping[str, Any]) -> dict[str, str]:
    return {path: sha256(path) for paths in job["inputs"].values() for path in paths}
