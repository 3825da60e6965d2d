"""Write the DVC pipelines from the plan: each coarse stage builds its manifest with Snakemake.

Snakemake decides job by job what has to run; DVC records the outputs. The default experiments are the
pipeline of the project's folder; every other one has its own, in workflow/dvc/<experiment>/.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.stage import Stage

HEADER = (
    "# Generated from params.yaml: guidelab pipeline. Edits are lost; stages are listed in src/guidelab/plan/rules.py.\n"
    "# persist: DVC may not delete what Snakemake resumes from. cache: false: small results, kept in git.\n"
)
# --force: the manifest alone is written again, so Snakemake looks for every file it lists, also for deleted ones.
COMMAND = "snakemake --profile \\${{SNAKEMAKE_PROFILE:-workflow/profiles/local}} --force {manifest}"
CODE = ("src/guidelab", "Snakefile", "workflow/rules")
STUDY = ("Snakefile",)  # of a study: its code is an installed package; Snakemake compares that
_PLOT = {
    "x": "offset",
    "y": "value",
    "template": "sweep",
}  # .dvc/plots/sweep.json, which a study does not have


def pipelines(plan: Plan, params: Mapping[str, Any]) -> dict[str, str]:
    """Every pipeline file and its text.

    Experiments of scale `ci` or `smoke` have none: they are for tests, which make their own.

    Args:
        plan: the plan of params.yaml.
        params: the content of params.yaml as written, before `extends` is resolved.
    """
    others = [
        n
        for n, e in plan.spec.experiments.items()
        if n not in plan.spec.default and e.scale not in ("ci", "smoke")
    ]
    study = not Path(CODE[0]).is_dir()
    files = {"dvc.yaml": dvc_yaml(plan, params, plan.spec.default, study=study)}
    return files | {
        f"workflow/dvc/{name}/dvc.yaml": dvc_yaml(plan, params, [name], depth=3, study=study)
        for name in others
    }


def stage_names(plan: Plan, experiment: str) -> list[str]:
    """What DVC calls the stages of an experiment, for `dvc push`, `dvc pull` and `dvc repro` of that experiment alone.

    Raises:
        UserError: no such experiment, or one for tests, which has no pipeline.
    """
    scale = plan.experiment(experiment).spec.scale
    stages, default = plan.stages(experiment), plan.spec.default
    if experiment in default:
        return [_name(stage, len(default) > 1) for stage in stages]
    if scale in ("ci", "smoke"):
        raise UserError(
            f"{experiment}: is of scale {scale}, for tests; DVC keeps none of it. Make it with: snakemake -c2 "
            f"{plan.experiment(experiment).path('table')}"
        )
    return [f"workflow/dvc/{experiment}/dvc.yaml:{stage.name}" for stage in stages]


def shipped(plan: Plan) -> list[str]:
    """List the files shipped with the project, for `dvc push -r shipped` and `dvc pull -r shipped`: enough to sample and measure without training.

    Of every default experiment the nets, the folders that hold what its rows are collected from, and the files that all its
    measurements read: with one of these absent, a new variant makes Snakemake compute every point anew. Large files of single
    points and snapshots of trainings are not among them.
    """
    found = []
    for name in plan.spec.default:
        outs = [out for stage in plan.stages(name) for out in stage.outs]
        rows = plan.job("collect", name).files
        found += [
            o for o in outs if o == f"results/{name}/models" or any(p.startswith(f"{o}/") for p in rows)
        ]
        jobs = [
            set(plan.job("measure", name, *key).files) for key in plan.experiment(name).planned("measure")
        ]
        found += sorted(set.intersection(*jobs)) if jobs else []
    return found


def dvc_yaml(
    plan: Plan, params: Mapping[str, Any], experiments: Sequence[str], depth: int = 0, study: bool = False
) -> str:
    """The text of one pipeline file.

    Args:
        plan: the plan of params.yaml.
        params: the content of params.yaml as written.
        experiments: whose stages; with several, stages are named `<experiment>-<stage>`.
        depth: how many folders below the project's folder the file lies.
        study: the folder is one of `guidelab init`: the code and what it reads lie outside, where DVC does not look.
    Raises:
        UserError: two stages own the same file, which DVC refuses.
    """
    up = "/".join([".."] * depth)
    stages = [stage for name in experiments for stage in plan.stages(name)]
    refuse_overlaps(stages)
    several = len(experiments) > 1
    content: dict[str, Any] = {
        "stages": {_name(stage, several): _stage(stage, stages, params, up, study) for stage in stages}
    }
    metrics = [_from(up, path) for stage in stages for path in stage.metrics]
    plot = {key: value for key, value in _PLOT.items() if key != "template" or not study}
    plots = [{_from(up, path): plot} for stage in stages for path in stage.plots]
    content |= {"metrics": metrics} if metrics else {}
    content |= {"plots": plots} if plots else {}
    return HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=200)


def refuse_overlaps(stages: Iterable[Stage]) -> None:
    """DVC tracks every file by at most one output.

    Raises:
        UserError: names both stages.
    """
    owners = [(own, stage) for stage in stages for own in (*stage.owned, stage.provenance)]
    for own, stage in owners:
        for other, second in owners:
            if (own == other and stage is not second) or other.startswith(f"{own}/"):
                raise UserError(
                    f"stages {stage.experiment}/{stage.name} and {second.experiment}/{second.name} overlap: {own} holds {other}"
                )


def _stage(
    stage: Stage, stages: Sequence[Stage], params: Mapping[str, Any], up: str, study: bool
) -> dict[str, Any]:
    before = [s for s in stages if s.experiment == stage.experiment and s.name in stage.after]
    code = STUDY if study else (*CODE, *stage.deps)
    cached = [path for path in stage.outs if path not in stage.in_git]
    in_git = [*stage.in_git, stage.manifest, stage.provenance]
    content: dict[str, Any] = {"cmd": COMMAND.format(manifest=stage.manifest)}
    content |= {"wdir": up} if up else {}
    content["deps"] = [*code, *(out for s in before for out in s.outs)]
    content["params"] = _params(stage, params)
    content["outs"] = [{path: {"persist": True}} for path in cached]
    content["outs"] += [{path: {"cache": False, "persist": True}} for path in in_git]
    return content


def _params(stage: Stage, params: Mapping[str, Any]) -> list[str]:
    """The parts of params.yaml a stage reads, in its own experiment and in those it extends."""
    experiments, found = params["experiments"], []
    name: str | None = stage.experiment
    while name is not None:
        written = experiments[name] or {}
        keys = ("extends", *stage.params) if "extends" in written else stage.params
        found += [f"experiments.{name}.{key}" for key in keys if key in written]
        name = written.get("extends")
    return found


def _name(stage: Stage, several: bool) -> str:
    return f"{stage.experiment}-{stage.name}" if several else stage.name


def _from(up: str, path: str) -> str:
    return f"{up}/{path}" if up else path


class _Dumper(yaml.SafeDumper):
    """Writes repeated values out: DVC needs no anchors, and neither does a reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
