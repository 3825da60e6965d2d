"""What a job asks its machine for: memory, minutes, threads and GPUs, by rule and by the size of its experiment.

Nothing here decides a number: a job that is tried again is given more, and nothing reruns.
"""

from dataclasses import dataclass

from guidelab.environment import whole
from guidelab.plan import Plan
from guidelab.spec.look import is_large


@dataclass(frozen=True)
class Needs:
    """At the first attempt; memory and minutes grow with every further one."""

    mem_mb: int
    runtime: int  # minutes
    threads: int = 1
    gpu: int = 0


SMALL = {
    "prepare": Needs(1500, 30),
    "train": Needs(4000, 120),
    "reconstruct": Needs(2000, 20),
    "generate": Needs(2000, 60),
    "discriminate": Needs(2000, 60),
    "grade": Needs(2000, 60),
    "sample": Needs(2000, 60),
    "density": Needs(3000, 120),
    "field": Needs(2000, 30),
    "extract": Needs(3000, 60),
    "measure": Needs(2000, 30),
    "grading": Needs(2000, 60),
    "null": Needs(2000, 60),
    "diverge": Needs(2000, 60),
    "diverge_null": Needs(2000, 60),
    "synthesize": Needs(2000, 20),
    "obtain": Needs(2000, 20),
    "encode": Needs(2000, 30),
}
LARGE = SMALL | {  # one job samples three blocks of 50,000 images; a training stops in time and goes on
    "prepare": Needs(8000, 720, threads=8),
    "obtain": Needs(16000, 60),
    "encode": Needs(16000, 720, threads=4, gpu=1),
    "train": Needs(64000, 1440, threads=8, gpu=1),
    "reconstruct": Needs(64000, 240),
    "generate": Needs(16000, 1440, threads=4, gpu=1),
    "discriminate": Needs(64000, 720, threads=8, gpu=1),
    "sample": Needs(16000, 1440, threads=4, gpu=1),
    "field": Needs(16000, 60),
    "extract": Needs(16000, 480, threads=4, gpu=1),
    "measure": Needs(48000, 480, threads=8),
}
SMOKE = {rule: Needs(n.mem_mb, n.runtime, gpu=LARGE[rule].gpu) for rule, n in SMALL.items()}
_SHARED = ("train", "generate", "sample")  # jobs that several GPUs of one node can share


def gpus_of_a_job() -> int:
    """How many GPUs of a node a job that can share them asks for: `GUIDELAB_GPUS`, else 1.

    Raises:
        UserError: the variable holds no such number.
    """
    return whole("GUIDELAB_GPUS", 1)


def needs(plan: Plan, rule: str, experiment: str) -> Needs:
    """What a rule's jobs ask for in an experiment; `GUIDELAB_GPUS` gives those that can share them several GPUs."""
    spec = plan.experiment(experiment).spec
    if not is_large(spec):
        return SMALL[rule]
    found = (SMOKE if spec.scale == "smoke" else LARGE)[rule]
    gpus = gpus_of_a_job()
    if gpus > 1 and rule in _SHARED:
        return Needs(found.mem_mb, found.runtime, found.threads * gpus, gpus)
    return found
