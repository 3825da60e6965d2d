"""Which count belongs to which rule. A rule that computes next to nothing has none.

Small things are left out: noise, resizing, reading and writing, start-up. A training that stops early is counted to
its end.
"""

from collections.abc import Callable

from guidelab.costs import diverging, samples, training
from guidelab.costs.work import Work
from guidelab.jobs import Job
from guidelab.spec import Experiment

_COUNTED: dict[str, Callable[[Experiment, Job], Work]] = {
    "prepare": training.prepare,
    "encode": training.encode,
    "train": training.train,
    "reconstruct": training.reconstruct,
    "obtain": training.obtain,
    "generate": samples.sample,
    "sample": samples.sample,
    "grading": samples.sample,
    "discriminate": training.discriminate,
    "grade": training.discriminate,
    "density": samples.density,
    "extract": samples.extract,
    "measure": samples.measure,
    "null": diverging.null,
    "diverge": diverging.diverge,
    "diverge_null": diverging.diverge,
}


def work_of(e: Experiment, job: Job) -> Work:
    """Count one job of an experiment."""
    found = _COUNTED.get(job.rule)
    return found(e, job) if found else Work()
