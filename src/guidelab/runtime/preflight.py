"""Checks before a run of streamed experiments: list all missing files and variables, then print the cost in GPU-hours.

Called when the workflow is read; a run without external inputs returns after one look at the targets.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guidelab.environment import seconds, whole
from guidelab.errors import UserError
from guidelab.plan.absent import absent
from guidelab.plan.build.expected import needed
from guidelab.plan.plan import Plan
from guidelab.plan.resources import gpus_of_a_job
from guidelab.plan.targets import experiment_of

_ELSE = (  # options with which Snakemake runs no job
    "unlock", "lint", "touch", "report", "summary", "detailed_summary", "archive", "dag", "rulegraph", "filegraph", "d3dag",
    "list_rules", "list_target_rules", "list_changes", "list_input_changes", "list_params_changes", "list_untracked",
    "list_conda_envs", "conda_create_envs_only", "conda_cleanup_envs", "cleanup_metadata", "cleanup_shadow",
    "container_cleanup_images", "containerize", "delete_all_output", "delete_temp_output", "generate_unit_tests",
    "print_compilation", "deploy_sources", "edit_notebook",
)  # fmt: skip
_PART = (
    "until",
    "omit_from",
    "allowed_rules",
    "batch",
)  # with which it runs some of the jobs that targets need
_MANY = 3  # targets; more are named by their experiments


@dataclass(frozen=True)
class Invocation:
    """Targets and options of Snakemake's command line.

    Attributes:
        targets: files, and rules by name.
        runs: all jobs the targets need will be run.
        tells: jobs are run, or listed by a dry run.
        forced: jobs whose outputs are there run too.
        acts: some jobs, at least, will be run.
        unlocks: locks are to be taken away, and nothing else.
        touches: results are to be called up to date without their jobs.
    """

    targets: tuple[str, ...]
    runs: bool = True
    tells: bool = True
    forced: bool = False
    acts: bool = False
    unlocks: bool = False
    touches: bool = False


def preflight(plan: Plan, arguments: Sequence[str]) -> None:
    """Refuse a run that lacks inputs; print the remaining cost in GPU-hours.

    A dry run, and a run of some jobs only, prints what is absent and continues.

    Args:
        plan: of a params.yaml.
        arguments: of the Snakemake that reads the workflow, without the program's name.
    Raises:
        UserError: files or variables are absent (names them all, and where they come from) or make no sense.
    """
    given = {experiment_of(argument) for argument in arguments} & set(plan.spec.experiments)
    known = {name: plan.experiment(name) for name in given | set(plan.spec.default)}
    outside = {name for name, e in known.items() if not e.synthetic and (e.streamed or needed(e))}
    if any(known[name].images for name in given or plan.spec.default):
        _numbers()
    invocation = invocation_of(arguments) if outside else Invocation((), tells=False)
    targets = [target for target in _files(plan, invocation.targets) if experiment_of(target) in outside]
    if not invocation.tells or not targets:
        return
    from guidelab.costs.graph import jobs_for

    nodes = jobs_for(plan, targets, (lambda path: False) if invocation.forced else None)
    left = [node for node in nodes if node.needed]
    missing = absent([node.job for node in left], list(dict.fromkeys(node.experiment for node in left)))
    if missing and invocation.runs:
        raise UserError(missing)
    counted = [target for target in targets if known[experiment_of(target)].streamed]
    for text in (missing, _cost(plan, nodes, counted) if counted else ""):
        if text:
            print(text, file=sys.stderr)


def invocation_of(arguments: Sequence[str]) -> Invocation:
    """The command line as Snakemake reads it, its profile included."""
    from snakemake.cli import parse_args  # which Snakemake has loaded; nothing else calls this

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it says once more which profile it uses
            _, found = parse_args(list(arguments))
    except (SystemExit, Exception):  # not started by its command line: what it will do is not known
        return Invocation((), tells=False)
    elsewhere = any(getattr(found, name, None) not in (None, False) for name in _ELSE)
    part = any(getattr(found, name, None) for name in _PART)
    acts = not (elsewhere or found.dryrun)
    return Invocation(
        tuple(found.targets),
        acts and not part,
        not elsewhere,
        bool(found.forceall),
        acts,
        bool(found.unlock),
        bool(found.touch) or found.executor == "touch",
    )


def _numbers() -> None:
    """Read every number that jobs take from the environment: a mistake is reported before the first one starts."""
    gpus_of_a_job()
    whole("GUIDELAB_PROCESSES", 1)
    seconds("GUIDELAB_PATIENCE_S", 3600)
    whole("GUIDELAB_EXTRACT_BATCH", 256)


def _files(plan: Plan, targets: Sequence[str]) -> list[str]:
    """The requested files; without any, and for the rule `all`, those of the default experiments."""
    found = [target.removeprefix("./") for target in targets if experiment_of(target)]
    if not targets or "all" in targets:
        stages = [stage for name in plan.spec.default for stage in plan.stages(name)]
        found += [path for stage in stages for path in stage.files]
    return found


def _cost(plan: Plan, nodes: Sequence[Any], targets: Sequence[str]) -> str:
    """The remaining cost in GPU-hours; where nets cannot be built in Snakemake's process, the command that prints it."""
    experiments = dict.fromkeys(experiment_of(target) for target in targets)
    command = f"guidelab cost {' '.join(targets if len(targets) <= _MANY else experiments)}"
    try:
        from guidelab.costs.brief import brief

        found = brief(plan, nodes)
    except ModuleNotFoundError:
        found = "not counted: torch is not installed where Snakemake runs"
    except UserError as error:
        found = f"not counted: {error}"
    return f"cost: {found}\nmore, and what finished jobs took: {command} --measured" if found else ""
