"""The memory, minutes, threads and GPUs that a job requests: by rule, and by the size of its experiment.

No result depends on these requests: a retried job gets more, and changing them reruns nothing.
"""

from dataclasses import replace

from guidelab.environment import whole
from guidelab.plan.plan import Plan
from guidelab.plan.rule import Needs
from guidelab.plan.rules import RULES


def gpus_of_a_job() -> int:
    """How many GPUs of a node a job that can share them requests: `GUIDELAB_GPUS`, else 1.

    Raises:
        UserError: the variable holds no such number.
    """
    return whole("GUIDELAB_GPUS", 1)


def needs(plan: Plan, rule: str, experiment: str) -> Needs:
    """What a rule's jobs request in an experiment; `GUIDELAB_GPUS` gives those that can share them several GPUs."""
    e, found = plan.experiment(experiment), RULES[rule]
    if not e.streamed:
        return found.needs
    at_full_size = found.streamed or found.needs
    requested = replace(found.needs, gpu=at_full_size.gpu) if e.spec.scale == "smoke" else at_full_size
    gpus = gpus_of_a_job()
    if gpus > 1 and found.shares_gpus:
        return replace(requested, threads=requested.threads * gpus, gpu=gpus)
    return requested
