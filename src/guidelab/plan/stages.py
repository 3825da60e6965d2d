"""The stages: which part of an experiment's files DVC tracks together, and what each stage reads."""

from collections.abc import Iterable
from dataclasses import replace

from guidelab.plan.build.slices import METRICS_INFO
from guidelab.plan.instances import Names
from guidelab.plan.rule import Rule
from guidelab.plan.rules import RULES
from guidelab.plan.runs import PlannedExperiment
from guidelab.plan.stage import Stage

_SAMPLING = ("dataset", "denoisers", "models", "discriminators", "sampler", "sampling", "variants")
_MEASURED = ("evaluate", *_SAMPLING)


def stages_of(e: PlannedExperiment) -> list[Stage]:
    """The stages of an experiment in the order they are made; those without a file are left out."""
    learnt = (
        ("data", "encode") if e.streamed or e.latent else ()
    )  # otherwise a training reads its data through its manifest alone
    graded = ("data", "train", "obtain", "discriminate") if e.images else ("data", "sample")
    shown = ("sample",) if e.planned("preview") else ()
    found = [
        _stage(e, "synthetic", ("dataset", "models", "discriminators")),
        _stage(e, "data", ("dataset", "folds"), ("synthetic",)),
        _stage(e, "obtain", ("dataset", "models", "discriminators", "folds"), ("synthetic",)),
        _stage(e, "encode", ("dataset", "folds"), ("data", "obtain")),
        _stage(e, "train", ("dataset", "denoisers", "models"), learnt),
        _stage(e, "generate", _SAMPLING, ("train", "obtain")),
        _stage(e, "discriminate", (*_SAMPLING, "folds"), ("data", "obtain", "encode", "generate")),
        _stage(e, "sample", _MEASURED, ("train", "obtain", "discriminate")),
        _stage(
            e, "features", (*_MEASURED, "folds", "features"), ("synthetic", "data", "sample", "discriminate")
        ),
        _stage(e, "density", _MEASURED, ("train", "discriminate")),
        _stage(e, "grade", (*_MEASURED, "folds"), graded),
        _stage(e, "field", (*_MEASURED, "paper"), ("train", "discriminate", "sample")),
        _stage(
            e,
            "measure",
            (*_MEASURED, "folds", "paper", "scale"),
            (
                "data",
                "obtain",
                "discriminate",
                "sample",
                "features",
                "density",
                *(() if e.images else ("grade",)),
            ),
            metrics=tuple(path for path in e.outputs("collect") if path.endswith(".json")),
            deps=(METRICS_INFO,),
        ),
        _stage(
            e,
            "diverge",
            (*_MEASURED, "folds", "divergences", "scale"),
            ("data", "obtain", "train", "generate", "discriminate", "sample", "features", "density", "grade"),
        ),
        _stage(
            e,
            "paper",
            ("paper", "evaluate", "scale"),
            (*shown, "measure", "diverge", "field"),
            plots=tuple(e.outputs("figure", f)[2] for f in e.figures if f == "sweep"),
            deps=(METRICS_INFO,),
        ),
    ]
    kept = [stage for stage in found if stage.files]
    names = {stage.name for stage in kept}
    return [replace(stage, after=tuple(a for a in stage.after if a in names)) for stage in kept]


def _stage(
    e: PlannedExperiment,
    name: str,
    params: tuple[str, ...],
    after: tuple[str, ...] = (),
    *,
    metrics: tuple[str, ...] = (),
    plots: tuple[str, ...] = (),
    deps: tuple[str, ...] = (),
) -> Stage:
    """A stage with the files of the jobs that the table of rules gives it."""
    jobs = [(rule, names) for rule in RULES.values() for names in _of_stage(e, rule, name)]
    files: dict[str, list[str]] = {rule.name: [] for rule, _ in jobs}
    for rule, names in jobs:
        files[rule.name] += e.outputs(rule.name, *names)
    outs = {rule: _owned(e, RULES[rule], paths) for rule, paths in files.items()}
    folders = {path for paths in outs.values() for path in paths}
    apart = {rule: [p for p in paths if not _within(p, folders)] for rule, paths in outs.items()}
    return Stage(
        name=name,
        experiment=e.name,
        outs=_once(apart.values()),
        files=tuple(path for paths in files.values() for path in paths),
        folders=tuple(
            f"{path.removesuffix('.json')}/"
            for rule, paths in files.items()
            for path in paths
            if RULES[rule].shards and path.endswith(".json")
        ),
        manifest=f"{e.root}/manifests/{name}.json",
        provenance=f"{e.root}/provenance/{name}.json",
        params=params,
        after=after,
        in_git=_once(paths for rule, paths in apart.items() if RULES[rule].local),
        metrics=metrics,
        plots=plots,
        deps=deps,
    )


def _of_stage(e: PlannedExperiment, rule: Rule, stage: str) -> Iterable[Names]:
    if isinstance(rule.stage, str):
        return e.planned(rule.name) if rule.stage == stage else ()
    return [names for names in e.planned(rule.name) if rule.stage_of(names) == stage]


def _owned(e: PlannedExperiment, rule: Rule, paths: list[str]) -> list[str]:
    """What DVC tracks of a rule's files in a stage: the folder before the first wildcard; without one the files."""
    if rule.owns:
        return [rule.owns.format(experiment=e.name)]
    parts = rule.outputs[0].replace("{experiment}", e.name).split("/")
    fixed = next((i for i, part in enumerate(parts) if "{" in part), None)
    if fixed is None:
        return paths
    # a `side` (data/train, generated/dg) is a folder of the stage and a name in it
    depth = fixed + ("{side}" in rule.outputs[0])
    return list(dict.fromkeys("/".join(path.split("/")[:depth]) for path in paths))


def _within(path: str, folders: set[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:i]) in folders for i in range(1, len(parts)))


def _once(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for group in groups for path in group))
