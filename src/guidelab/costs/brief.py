"""A two-line summary of the remaining cost, printed at the start of a run: GPU-hours by rule and in total, disk."""

from collections.abc import Iterable

from guidelab.costs.estimate import MFU_RANGE, gpu_seconds, on_gpu
from guidelab.costs.gpus import gpu as gpu_named
from guidelab.costs.graph import Node
from guidelab.costs.report import number, short
from guidelab.costs.work import work_of
from guidelab.plan.plan import Plan

GPU, MFU = "H100", 0.40  # the defaults of `guidelab cost`


def brief(plan: Plan, nodes: Iterable[Node]) -> str:
    """What jobs that are still to be run take of a GPU; empty where none of them needs one.

    Args:
        plan: of a params.yaml.
        nodes: jobs of a target, done ones too.
    Raises:
        UserError: a net cannot be built, or the list of GPUs cannot be read.
    """
    gpu, left = gpu_named(GPU), [node for node in nodes if node.needed]
    hours: dict[str, float] = {}
    disk = 0.0
    for node in left:
        e = plan.spec.experiments[node.experiment]
        work = work_of(e, node.job)
        disk += work.disk_bytes
        if on_gpu(e, node.job):
            hours[node.job.rule] = hours.get(node.job.rule, 0.0) + gpu_seconds(work, gpu, MFU) / 3600
    if not hours:
        return ""
    total = sum(hours.values())
    low, high = (number(total * MFU / share) for share in reversed(MFU_RANGE))
    rules = ", ".join(f"{rule} {number(h)}" for rule, h in sorted(hours.items(), key=lambda item: -item[1]))
    return (
        f"{len(left):,} jobs to run, about {number(total)} {gpu.name}-hours ({low} to {high}), "
        f"{short(disk, 'B')} of disk\n{gpu.name}-hours by rule: {rules}"
    )
