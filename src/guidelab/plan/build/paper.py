"""Jobs of tables, figures and findings: rules of workflow/rules/paper.smk."""

from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.plan.build import modules as named
from guidelab.plan.build import slices
from guidelab.plan.instances import diverging
from guidelab.plan.job import Job
from guidelab.project import resource

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run

PUBLISHED = "workflow/resources/published.csv"


def table(e: "PlannedExperiment") -> Job:
    """The experiment's table, with the published values where there are any."""
    paper, inputs = e.spec.paper, _compared(e)
    # images: a line for each metric that chose a weight; points: the paper's own weights first
    spec = _about(e) | {"headline": [] if e.images else slices.headline(e)}
    if e.images:
        spec |= {"variants": list(e.spec.variants), **_mains(e)}
    if e.published:
        spec |= {
            "published": dict(paper.published),
            "published_experiment": paper.published_experiment or e.name,
        }
        inputs |= {"published": (resource(PUBLISHED),)}
    return Job(inputs, spec)


def story(e: "PlannedExperiment") -> Job:
    """The findings as sentences."""
    return Job(_compared(e), _about(e) | _mains(e))


def figure(e: "PlannedExperiment", figure: str) -> Job:
    """One figure: PDF, PNG and the rows it plots."""
    settings = getattr(e.spec.paper.figures, figure)
    spec = _about(e) | {"figure": figure, "settings": settings.model_dump(), **_mains(e)}
    entry = registry.FIGURES[getattr(settings, "name", figure)]  # a plugin's has a name of its own
    inputs = {"fields": e.outputs("field", figure)} if settings.arrays else slices.printed(e)
    if "divergences" in entry.needs.split():
        measured = slices.printed(e) if figure == "divergence_weight" else {}
        inputs = {**measured, "divergences": e.outputs("divergences")[:1]}
    return Job(inputs, spec, (entry.module,))


def preview(e: "PlannedExperiment", variant: str, w: str, part: str) -> Job:
    """A few samples of a point as one picture."""
    run = e.run(variant, w, part)
    settings = {"train_seed": run.seeds[0], "block": slices.report_block(e)}
    return Job({"samples": e.outputs("sample", *run.names)}, {"settings": settings})


def _compared(e: "PlannedExperiment") -> dict[str, tuple[str, ...]]:
    """What differences between points are made of: the rows, and how their errors go together."""
    return slices.printed(e) | {"errors": e.outputs("collect")[4:]}


def _about(e: "PlannedExperiment") -> dict[str, Any]:
    """Whose results they are, whether they are of images, and what their variants are called."""
    # here: `guidelab --help` reads the table of rules without the specification
    from guidelab.spec import labels

    kind = {"kind": "images"} if e.images else {}
    # a list: canonical JSON sorts keys, and the order of params.yaml is that of legends and tables
    looks = [{"variant": name, **about} for name, about in labels.printed(e.spec).items()]
    return {"experiment": e.name, "scale": e.spec.scale, **kind, "looks": looks} | slices.metrics_of_plugins(
        e
    )


def _mains(e: "PlannedExperiment") -> dict[str, Any]:
    """Variant to `denoiser/model` of what it guides: it is compared with no guidance of the same net."""
    models = e.spec.models
    if not e.published:  # there the variants are compared with one net
        return {}
    return {
        "mains": {n: f"{models[v.main].denoiser}/{v.main}" for n, v in e.spec.variants.items() if not v.real}
    }


# ---- divergences -----------------------------------------------------------------------------------------------------


def divergences(e: "PlannedExperiment") -> Job:
    """Concatenate the rows and print their table."""
    runs = diverging(e)
    inputs = {"rows": tuple(e.path("diverge", *run.names) for run in runs)}
    inputs |= {"null": e.outputs("diverge_null")} if e.planned("diverge_null") else {}
    return Job(inputs, _about(e) | {"points": [run.point for run in runs]})


def theorem(e: "PlannedExperiment") -> Job:
    """The exact table of the SDE and ODE samplers of discriminator guidance on a line."""
    return Job({}, {"weights": slices.divergences(e).theorem})


def evaluations(e: "PlannedExperiment") -> Job:
    """What training scores and training discriminators took, in evaluations of nets, from the runs themselves."""
    grader, discs, variants = slices.divergences(e).grader, e.spec.discriminators, e.spec.variants
    graded = {"/".join(run.names): run for run in diverging(e) if slices.graded_seeds(e, grader, run)}
    used = [variants[run.variant] for run in graded.values()]
    made = [g for g in _guiding(used) if discs[g].role == "guide" and not e.pretrained("discriminators", g)]
    sources = {g: variants[slices.source(e, g).variant] for g in made}
    used += sources.values()
    guiding = _guiding(used)
    models = list(dict.fromkeys(m for variant in used for m in e.models_of(variant)))
    drawn = {name: _drawn_for_grading(e, grader, run) for name, run in graded.items()}
    inputs: dict[str, tuple[str, ...]] = {f"model:{m}": (e.net(m),) for m in models}
    inputs |= {f"disc:{g}": (e.guide(g),) for g in guiding}
    inputs |= {f"generated:{g}": e.outputs("generate", g) for g in sources}
    inputs |= {f"grader:{n}": e.outputs("grade", grader, *run.names) for n, run in graded.items()}
    inputs |= {f"grading:{name}": (path,) for name, (path, _) in drawn.items()}
    mains = {f"generated:{g}": variant.main for g, variant in sources.items()}
    mains |= {f"grading:{name}": variants[run.variant].main for name, run in graded.items()}
    trainings = {f"generated:{g}": discs[g].train.model_dump() for g in sources}
    trainings |= {f"grading:{name}": discs[grader].train.model_dump() for name in graded}
    spec = {
        "experiment": e.name,
        "scale": e.spec.scale,
        "main": used[0].main,
        "nimg": {m: e.spec.models[m].nimg for m in models},
        "denoisers": {m: e.spec.models[m].denoiser for m in models},
        "mains": mains,
        "drawn_as": {"generated": "generated", "grading": next(iter(drawn.values()))[1]},
        "trainings": trainings,
    }
    modules = {named.of_model(e, m) for m in models} | {named.of_disc(e, g) for g in (*guiding, grader)}
    return Job(inputs, spec, tuple(sorted(modules)))


def _guiding(variants: list[Any]) -> list[str]:
    """The discriminators that guide some variants, each once."""
    return list(dict.fromkeys(t.disc for variant in variants for t in variant.guide if t.disc))


def _drawn_for_grading(e: "PlannedExperiment", grader: str, run: "Run") -> tuple[str, str]:
    """The samples a point's grader learnt from: a file, and the block in it."""
    if e.images:
        return e.path("grading", grader, *run.names), "generated"
    return e.path("sample", *run.names), grader
