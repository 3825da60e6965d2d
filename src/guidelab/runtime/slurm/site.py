"""Site-specific Slurm settings for workflow/profiles/slurm, from environment variables, so no tracked file changes."""

import os
import sys
from collections.abc import Mapping

from guidelab.environment import whole
from guidelab.errors import UserError
from guidelab.runtime.slurm.queue import ask, config

RESOURCES = {  # variable -> the executor's name for it
    "GUIDELAB_SLURM_PARTITION": "slurm_partition",
    "GUIDELAB_SLURM_ACCOUNT": "slurm_account",
    "GUIDELAB_SLURM_CONSTRAINT": "constraint",
    "GUIDELAB_SLURM_QOS": "qos",
    "GUIDELAB_SLURM_EXTRA": "slurm_extra",
}
FORGETS_S = 120  # a cluster that forgets finished jobs sooner cannot be followed by squeue


def resources(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Resources that every job requests in addition to its rule's, quoted: Snakemake evaluates what a profile gives."""
    return {name: repr(environ[variable]) for variable, name in RESOURCES.items() if environ.get(variable)}


def partition(gpu: int, environ: Mapping[str, str] = os.environ) -> str | None:
    """The partition of a job that requests so many GPUs; None for the cluster's default."""
    wanted = environ.get("GUIDELAB_SLURM_GPU_PARTITION") if gpu else None
    return wanted or environ.get("GUIDELAB_SLURM_PARTITION") or None


def number(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """A whole number from the environment; a mistake ends the program, as a profile is read where no error handler is active."""
    try:
        return whole(name, default, environ=environ)
    except UserError as error:
        sys.exit(f"guidelab: {error}")


def status_command(environ: Mapping[str, str] = os.environ) -> str:
    """How jobs are followed: `GUIDELAB_SLURM_STATUS`; else squeue, or sacct where it answers and squeue forgets too soon."""
    given = environ.get("GUIDELAB_SLURM_STATUS")
    if given:
        if given not in ("squeue", "sacct"):
            sys.exit(
                f"guidelab: GUIDELAB_SLURM_STATUS={given}: wanted squeue or sacct; unset it for the default"
            )
        return given
    age = (config("MinJobAge") or "").split()
    forgets = bool(age) and age[0].isdigit() and int(age[0]) < FORGETS_S
    return "sacct" if forgets and ask("sacct", "-X", "--noheader", "--endtime=now") is not None else "squeue"
