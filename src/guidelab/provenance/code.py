"""The code a job runs is the code its digest names: what Snakemake planned with and what a job imports are compared.

Snakemake computes digests from the code of its own folder, and jobs are other processes: an activated environment of
another copy, or an edit during a run, may give them other code. So Snakemake puts its own code first on the path of
its jobs, with a list of what each digest covers, and every job computes its digest again before it works.
"""

import json
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import guidelab
from guidelab.digest import code_digest, covered
from guidelab.errors import UserError

PLANNED = "GUIDELAB_CODE"  # in jobs' environment: JSON of `folder` and `digests`, what each covers
_PATH = "PYTHONPATH"


def folder() -> Path:
    """The folder of the package that this process runs."""
    return Path(guidelab.__file__).resolve().parent


def own_code_first(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let the jobs of this process import the package that it runs itself, whatever environment is activated."""
    mine = str(folder().parent)
    others = [path for path in environ.get(_PATH, "").split(os.pathsep) if path not in ("", mine)]
    environ[_PATH] = os.pathsep.join([mine, *others])


def announce(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let jobs know what the digests computed in this process cover."""
    content = {"folder": str(folder()), "digests": {code: list(reach) for code, reach in covered().items()}}
    environ[PLANNED] = json.dumps(content, sort_keys=True, separators=(",", ":"))


def refuse_other_code(rule: str, job: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Compare the digest a job is given with the code that is about to run.

    A job started by hand without a digest has nothing to compare.

    Args:
        rule: its name. job: what it is given. environ: where Snakemake's list is, if it started the job.
    Raises:
        UserError: they differ; names both folders.
    """
    given, planned = job.get("code"), _planned(environ)
    if given is None or planned is None:
        return
    reach = planned["digests"].get(given)
    now = code_digest(reach[0], reach[1:]) if reach else None
    if now == given:
        return
    here, there = folder(), Path(planned["folder"])
    cause = (
        "the code there was changed since Snakemake planned this job. Start Snakemake again"
        if here == there
        else f"`guidelab` of another copy is first on the PATH of this job. Activate the environment of {there.parent.parent}, "
        "or install that copy into this one, and start Snakemake again"
    )
    raise UserError(
        f"{rule}: planned with the code {given} of {there}, but the code that would run, in {here}, is "
        f"{now or 'not that'}: {cause}. Nothing was computed."
    )


def _planned(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Snakemake's list; None for a job that it did not start."""
    try:
        found = json.loads(environ[PLANNED])
        return found if isinstance(found["folder"], str) and isinstance(found["digests"], dict) else None
    except (KeyError, TypeError, ValueError):
        return None
