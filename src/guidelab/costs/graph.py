"""From targets back to the jobs that make them, each job once, with Snakemake's own notion of what is left to do."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from guidelab.errors import UserError
from guidelab.jobs import Job
from guidelab.nearest import listed
from guidelab.plan import Plan
from guidelab.targets import refuse_unknown

_E, _POINT = r"results/(\w+)/", r"(\w+)/(w\d+\.\d\d)/(seeds?[\d_-]+)"
_RULES = tuple(  # the rule that makes a path, and the names it is asked for; the rules' own output patterns
    (rule, re.compile(pattern))
    for rule, pattern in (
        ("divergences", r"results/tables/(\w+)_divergences\.(?:csv|md|tex)"),
        ("divergences", _E + r"divergences\.csv"),
        ("evaluations", r"results/tables/(\w+)_costs\.csv"),
        ("theorem", r"results/tables/(\w+)_dg_theorem\.csv"),
        ("table", r"results/tables/(\w+)\.(?:csv|md|tex)"),
        ("story", r"results/tables/(\w+)\.story\.md"),
        ("figure", r"results/figures/(\w+)/(\w+)\.(?:pdf|png|csv)"),
        ("synthesize", _E + r"synthetic/files\.json"),
        ("obtain", _E + r"obtained/(\w+)/(\w+)\.safetensors"),
        ("prepare", _E + r"data/(\w+)\.(?:safetensors|zip)"),
        ("encode", _E + r"latents/((?:data|generated)/\w+)\.zip"),
        ("train", _E + r"checkpoints/(\w+)/(seeds?[\d_-]+)\.(?:safetensors|csv)"),
        ("reconstruct", _E + r"models/(\w+)\.safetensors"),
        ("generate", _E + r"generated/(\w+)\.(?:safetensors|json)"),
        ("discriminate", _E + r"discriminators/(\w+)\.safetensors"),
        ("sample", _E + "samples/" + _POINT + r"\.(?:safetensors|json)"),
        ("density", _E + "density/" + _POINT + r"\.safetensors"),
        ("grade", _E + r"graders/(\w+)/" + _POINT + r"\.safetensors"),
        ("extract", _E + r"features/(\w+)/(.+)\.safetensors"),
        ("measure", _E + "measurements/" + _POINT + r"\.csv"),
        ("collect", _E + r"(?:measurements\.csv|selected\.csv|metrics\.json|discriminators\.csv)"),
        ("grading", _E + r"grading/(\w+)/" + _POINT + r"\.json"),
        ("null", _E + r"nulls/\w+\.safetensors"),
        ("diverge_null", _E + r"divergences/null\.csv"),
        ("diverge", _E + "divergences/" + _POINT + r"\.csv"),
        ("field", _E + r"fields/(\w+)\.safetensors"),
        ("preview", _E + "previews/" + _POINT + r"\.png"),
    )
)


@dataclass(frozen=True)
class Node:
    """One job of a plan.

    Attributes:
        experiment: whose job it is.
        job: what it reads, writes and is told.
        done: all its outputs are on disk.
        needed: it is not done, and something asked for waits for it.
    """

    experiment: str
    job: Job
    done: bool
    needed: bool


def maker(path: str) -> tuple[str, ...] | None:
    """The rule that makes a file and the names it is asked for; None for a file no rule makes."""
    for rule, pattern in _RULES:
        found = pattern.fullmatch(path)
        if found:
            return rule, *found.groups()
    return None


def files_of(plan: Plan, targets: Iterable[str]) -> list[str]:
    """The files that targets stand for: an experiment's name stands for all it prints and keeps.

    Raises:
        UserError: no such experiment, or params.yaml plans no such file; names the closest.
    """
    found: list[str] = []
    for target in targets:
        if "/" not in target:
            found += [path for stage in plan.experiment(target).stages() for path in stage.files]
            continue
        refuse_unknown(plan, [target])
        staged = re.fullmatch(r"results/(\w+)/manifests/(\w+)\.json", target)
        if staged:
            found += plan.experiment(staged[1]).stage(staged[2]).files
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
    """The jobs by their rule and names, their order, and those that make the files asked for."""
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
