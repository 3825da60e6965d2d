"""The jobs behind targets, each once, and which of them remain to be done by Snakemake's rules."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from guidelab.errors import UserError
from guidelab.nearest import listed
from guidelab.plan.job import Job
from guidelab.plan.plan import Plan
from guidelab.plan.rules import maker
from guidelab.plan.targets import refuse_unknown


@dataclass(frozen=True)
class Node:
    """One job of a plan.

    Attributes:
        experiment: whose job it is.
        job: its inputs, outputs and parameters.
        done: all its outputs are on disk.
        needed: it is not done, and a requested file depends on it.
    """

    experiment: str
    job: Job
    done: bool
    needed: bool


def files_of(plan: Plan, targets: Iterable[str]) -> list[str]:
    """The files of targets: the name of an experiment means all its printed and tracked files.

    Raises:
        UserError: no such experiment, or params.yaml plans no such file; names the closest.
    """
    found: list[str] = []
    for target in targets:
        if "/" not in target:
            found += [path for stage in plan.stages(target) for path in stage.files]
            continue
        refuse_unknown(plan, [target])
        staged = re.fullmatch(r"results/(\w+)/manifests/(\w+)\.json", target)
        if staged:
            found += plan.stage(staged[1], staged[2]).files
        elif maker(target) is None:
            raise UserError(
                f"{target}: is nothing that params.yaml plans; wanted an experiment ({listed(target, plan.spec.experiments)}) "
                "or a file below results/"
            )
        else:
            found.append(target)
    return list(dict.fromkeys(found))


def jobs_for(plan: Plan, targets: Iterable[str], exists: Callable[[str], bool] | None = None) -> list[Node]:
    """Every job between the plan's sources and the targets, each once, makers before users.

    A job whose outputs are there is done, and nothing behind it is needed: as Snakemake sees it when neither
    parameters nor code have changed.

    Args:
        plan: of a params.yaml.
        targets: names of experiments, or paths below `results/`.
        exists: whether an output is there; looks on disk when None.
    Raises:
        UserError: a target is not known.
    """
    there = exists or (lambda path: Path(path).is_file())
    makers, order, wanted = _closure(plan, files_of(plan, targets))
    done = {key: all(there(path) for path in makers[key].outputs) for key in order}
    needed: set[tuple[str, ...]] = set()
    waiting = [key for key in wanted if not done[key]]
    while waiting:
        key = waiting.pop()
        if key in needed:
            continue
        needed.add(key)
        behind = (maker(path) for path in makers[key].files)
        waiting += [k for k in behind if k is not None and not done[k]]
    return [Node(key[1], makers[key], done[key], key in needed) for key in order]


def _closure(
    plan: Plan, files: Iterable[str]
) -> tuple[dict[tuple[str, ...], Job], list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The jobs by their rule and names, their order, and those that make the requested files."""
    jobs: dict[tuple[str, ...], Job] = {}
    order: list[tuple[str, ...]] = []
    wanted = list(dict.fromkeys(key for key in map(maker, files) if key is not None))
    stack: list[tuple[tuple[str, ...], bool]] = [(key, False) for key in reversed(wanted)]
    while (
        stack
    ):  # a plan may be deeper than Python's recursion allows only by mistake, but costs nothing this way
        key, ready = stack.pop()
        if ready:
            order.append(key)
        elif key not in jobs:
            jobs[key] = plan.job(*key)
            stack.append((key, True))
            behind = dict.fromkeys(maker(path) for path in jobs[key].files)
            stack += [(k, False) for k in behind if k is not None and k not in jobs]
    return jobs, order, wanted
