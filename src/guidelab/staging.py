"""The one list of stages: which part of an experiment's files DVC tracks together, and what each stage reads."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from guidelab.layout import part_name
from guidelab.stages import Stage

if TYPE_CHECKING:
    from guidelab.experiment import ExperimentPlan

METRICS_INFO = "workflow/resources/metrics.csv"  # direction, unit, digits and definition of every metric
SHARDED = ("generate", "sample", "grade")  # their .json files are manifests of shards
_SAMPLING = ("dataset", "denoisers", "models", "discriminators", "sampler", "variants")


def stages_of(plan: "ExperimentPlan") -> list[Stage]:
    """The stages of an experiment in the order they are made; those without a file are left out."""
    e, root = plan.spec, plan.root
    guides = [g for g in plan.having("guide") if not plan.released("discriminators", g)]
    measured = ("evaluate", *_SAMPLING)
    previews = [f"{root}/previews"] if plan.previewed else []
    found = [
        _stage(plan, "synthetic", [f"{root}/synthetic"], [plan.synthetic], ("dataset", "models", "discriminators")),
        _stage(plan, "data", [f"{root}/data"], (plan.prepare(f).outputs for f in plan.prepared), ("dataset", "folds"), ("synthetic",)),
        _stage(
            plan,
            "obtain",
            [f"{root}/obtained"],
            [[path] for path in plan.obtains],
            ("dataset", "models", "discriminators", "folds"),
            ("synthetic",),
        ),
        _stage(
            plan,
            "encode",
            [f"{root}/latents/data"],
            [[plan.latents(f"data/{fold}")] for fold in plan.encoded],
            ("dataset", "folds"),
            ("data", "obtain"),
        ),
        _stage(
            plan,
            "train",
            [f"{root}/checkpoints", f"{root}/models"],
            [
                *(plan.train(d, part_name(p)).outputs for d in plan.trained for p in plan.parts(d)),
                *((plan.model(m),) for m in e.models if not plan.released("models", m)),
            ],
            ("dataset", "denoisers", "models"),
            plan.learnt_from,
        ),
        _stage(
            plan,
            "generate",
            [f"{root}/generated", *([f"{root}/latents/generated"] if plan.reencoded else [])],
            [*(plan.generate(g).outputs for g in guides), *([plan.latents(f"generated/{g}")] for g in plan.reencoded)],
            _SAMPLING,
            ("train", "obtain"),
        ),
        _stage(
            plan,
            "discriminate",
            [f"{root}/discriminators"],
            ((plan.guide(g),) for g in plan.having("guide", "classifier", "features") if not plan.released("discriminators", g)),
            (*_SAMPLING, "folds"),
            ("data", "obtain", "encode", "generate"),
        ),
        _stage(plan, "sample", [f"{root}/samples"], ([plan.samples(run)] for run in plan.runs), measured, ("train", "obtain", "discriminate")),
        _stage(
            plan,
            "features",
            [f"{root}/features"],
            [plan.extract(f, of).outputs for f in e.features for of in plan.measured_in(f)],
            (*measured, "folds", "features"),
            ("synthetic", "data", "sample", "discriminate"),
        ),
        _stage(
            plan,
            "density",
            [f"{root}/density"],
            ([plan.at("density", run)] for run in plan.runs if plan.has_density(run.variant)),
            measured,
            ("train", "discriminate"),
        ),
        _stage(
            plan,
            "grade",
            [f"{root}/graders", *([f"{root}/grading"] if e.images else [])],
            [
                *([plan.at(f"graders/{g}", run)] for run in plan.runs for g in plan.graded(run)),
                *([plan.graded_samples(g, run)] for run in plan.runs for g in plan.graded(run) if e.images),
            ],
            (*measured, "folds"),
            ("data", "train", "obtain", "discriminate") if e.images else ("data", "sample"),
        ),
        _stage(
            plan,
            "field",
            [f"{root}/fields"],
            ((plan.fields(f),) for f in plan.drawn),
            (*measured, "paper"),
            ("train", "discriminate", "sample"),
        ),
        _stage(
            plan,
            "measure",
            [f"{root}/measurements", *plan.collected],
            [*([plan.at("measurements", run, "csv")] for run in plan.runs), plan.collected],
            (*measured, "folds", "paper", "scale"),
            ("data", "obtain", "discriminate", "sample", "features", "density", *(() if e.images else ("grade",))),
            in_git=plan.collected,
            metrics=(plan.collected[2],),
            deps=(METRICS_INFO,),
        ),
        _stage(
            plan,
            "diverge",
            [
                f"{root}/divergences",
                *([f"{root}/nulls"] if plan.null_grader else []),
                *plan.divergences,
                *plan.theorem_table,
                *plan.costs_table,
            ],
            [
                *([plan.at("divergences", run, "csv")] for run in plan.diverging),
                plan.null_grader,
                plan.null_rows,
                plan.divergences if plan.diverging else (),
                plan.theorem_table,
                plan.costs_table,
            ],
            (*measured, "folds", "divergences", "scale"),
            ("data", "obtain", "train", "generate", "discriminate", "sample", "features", "density", "grade"),
            in_git=(*plan.divergences, *plan.theorem_table, *plan.costs_table),
        ),
        _stage(
            plan,
            "paper",
            [*plan.table, plan.story, f"results/figures/{plan.name}", *previews],
            [plan.table, (plan.story,), *(plan.figure(f) for f in plan.figures), [plan.preview(r) for r in plan.previewed]],
            ("paper", "evaluate", "scale"),
            ("sample", "measure", "diverge", "field") if previews else ("measure", "diverge", "field"),
            in_git=(*plan.table, plan.story, f"results/figures/{plan.name}", *previews),
            plots=tuple(plan.figure(f)[2] for f in plan.figures if f == "sweep"),
            deps=(METRICS_INFO,),
        ),
    ]  # fmt: skip
    kept = [stage for stage in found if stage.files]
    names = {stage.name for stage in kept}
    return [_without(stage, names) for stage in kept]


def _stage(
    plan: "ExperimentPlan",
    name: str,
    outs: list[str],
    files: Iterable[Iterable[str]],
    params: tuple[str, ...],
    after: tuple[str, ...] = (),
    *,
    in_git: tuple[str, ...] = (),
    metrics: tuple[str, ...] = (),
    plots: tuple[str, ...] = (),
    deps: tuple[str, ...] = (),
) -> Stage:
    found = tuple(path for group in files for path in group)
    return Stage(
        name=name,
        experiment=plan.name,
        outs=tuple(outs),
        files=found,
        folders=tuple(
            f"{path.removesuffix('.json')}/" for path in found if path.endswith(".json") and name in SHARDED
        ),
        manifest=f"{plan.root}/manifests/{name}.json",
        provenance=f"{plan.root}/provenance/{name}.json",
        params=params,
        after=after,
        in_git=in_git,
        metrics=metrics,
        plots=plots,
        deps=deps,
    )


def _without(stage: Stage, names: set[str]) -> Stage:
    """The stage without the predecessors that were left out."""
    return Stage(**{**stage.__dict__, "after": tuple(a for a in stage.after if a in names)})
