"""Check that a job imports the code whose digest it was planned with.

Snakemake computes digests from the code of its own folder, and jobs are other processes: an activated environment of
another copy, or an edit during a run, may give them other code. So Snakemake puts its own code first on the path of
its jobs, with a list of what each digest covers and the hash of all its files. A job whose files have that hash runs the
code of its digest; any other computes its digest again before it works.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import guidelab
from guidelab.digest import PACKAGE, code_digest, content, covered
from guidelab.errors import UserError

PLANNED = (
    "GUIDELAB_CODE"  # in jobs' environment: JSON of `folder`, its `content`, and `digests`, what each covers
)
_PATH = "PYTHONPATH"
_announced: dict[str, int] = {}  # how many digests the list holds


def folder() -> Path:
    """The folder of the package that this process runs."""
    return Path(guidelab.__file__).resolve().parent


def own_code_first(environ: MutableMapping[str, str] = os.environ) -> None:
    """Make jobs of this process import the same copy of the package, in any activated environment."""
    mine = str(folder().parent)
    others = [path for path in environ.get(_PATH, "").split(os.pathsep) if path not in ("", mine)]
    environ[_PATH] = os.pathsep.join([mine, *others])


def announce(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let jobs know what the digests computed in this process cover; for every job that is planned."""
    digests = covered()
    if len(digests) != _announced.get(PLANNED):
        _announced[PLANNED] = len(digests)
        mine = {"folder": str(folder()), "content": content(), "digests": digests}
        environ[PLANNED] = json.dumps(mine, sort_keys=True, separators=(",", ":"))


def refuse_other_code(
    rule: str,
    job: Mapping[str, Any],
    of_plan: Callable[[], str | None],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Compare the digest a job is given with the code that is about to run.

    A job without a digest has nothing to compare.

    Args:
        rule: its name. job: what it is given.
        of_plan: the digest that params.yaml and this code plan for its outputs, or None; for a job started by hand.
        environ: where Snakemake's list is, if it started the job.
    Raises:
        UserError: they differ; names both folders.
    """
    given = job.get("code")
    if given is None:
        return
    planned = _planned(environ)
    if planned is None:
        _compare_by_hand(rule, str(given), of_plan())
        return
    reach = planned["digests"].get(given)
    of_package = reach and all(module.split(".")[0] == PACKAGE for module in reach[1:])
    if of_package and planned.get("content") == content():
        return
    now = code_digest(reach[0], reach[1:]) if reach else "another"
    if now == given:
        return
    here, there = folder(), Path(planned["folder"])
    cause = (
        "The code was changed since Snakemake planned this job: start Snakemake again"
        if here == there
        else f"The command `guidelab` of this job belongs to another copy: activate the environment of {there.parent.parent}, or "
        f"install that copy with: pip install -e {there.parent.parent}"
    )
    raise UserError(
        f"{rule}: planned with code {given} of {there}; the code that would run, {here}, is {now}. {cause}. Nothing was computed."
    )


def _compare_by_hand(rule: str, given: str, now: str | None) -> None:
    if now is None:
        print(
            f"guidelab: {rule}: code {given} was not compared: params.yaml plans no such output",
            file=sys.stderr,
        )
    elif now != given:
        raise UserError(
            f"{rule}: --job has code {given}; wanted {now}, the code of {folder()}. Print the job again with: guidelab job {rule} ..., "
            "or leave `code` out. Nothing was computed."
        )


def _planned(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Snakemake's list; None for a job that it did not start."""
    try:
        found = json.loads(environ[PLANNED])
        return found if isinstance(found["folder"], str) and isinstance(found["digests"], dict) else None
    except (KeyError, TypeError, ValueError):
        return None
