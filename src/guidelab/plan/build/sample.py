"""Jobs of samples, log-densities and figures' arrays: rules of workflow/rules/sample.smk."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.plan.build import modules as named
from guidelab.plan.build import slices
from guidelab.plan.job import Job

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run


def generate(e: "PlannedExperiment", disc: str) -> Job:
    """Draw the generated side of a guiding discriminator."""
    return _sampled(e, slices.source(e, disc), _for_discriminator(e, disc))


def sample(e: "PlannedExperiment", variant: str, w: str, part: str) -> Job:
    """Draw every seed block of one point; of points the grader's block too, of images `grading` draws it."""
    run = e.run(variant, w, part)
    drawn = {}
    for name in () if e.images else e.graded(run):  # no metric sees a grader's samples
        seeds = list(e.spec.discriminators[name].drawn.seeds)
        drawn[name] = {"seeds": seeds, "train_seeds": slices.graded_seeds(e, name, run)}
    return _sampled(e, run, {"blocks": slices.blocks(e, run), "grader_blocks": drawn})


def grading(e: "PlannedExperiment", disc: str, variant: str, w: str, part: str) -> Job:
    """Draw the images a grader is trained on, with seeds of their own."""
    return _sampled(e, e.run(variant, w, part), _for_discriminator(e, disc))


def _for_discriminator(e: "PlannedExperiment", disc: str) -> dict[str, Any]:
    """Its own block, rounded like real images: truncation is an offset of half a level that a discriminator learns."""
    return {"blocks": {"generated": list(e.spec.discriminators[disc].drawn.seeds)}, "uint8": "edm"}


def density(e: "PlannedExperiment", variant: str, w: str, part: str) -> Job:
    """Exact log-densities of data and of samples under the sampler's ODE."""
    settings = e.spec.evaluate.density
    assert settings is not None  # only then a density is planned
    spec = {"density": settings.model_dump(), "blocks": slices.blocks(e)}
    return _sampled(e, e.run(variant, w, part), spec, named.of_density(e))


def _sampled(e: "PlannedExperiment", run: "Run", spec: dict[str, Any], modules: Iterable[str] = ()) -> Job:
    reached = named.of_samplers(e, run) | set(modules)
    return Job(slices.net_inputs(e, run), slices.sampler(e, run) | spec, tuple(sorted(reached)))


def field(e: "PlannedExperiment", figure: str) -> Job:
    """What a figure draws: nets and samplers evaluated in a plane, or the stored samples of some points."""
    settings = getattr(e.spec.paper.figures, figure)
    spec: dict[str, Any] = {"figure": figure, "settings": settings.model_dump()}
    module = registry.FIELDS[figure].module
    if "points" in spec["settings"]:
        return Job(_shown(e, spec["settings"]), spec, (module,))
    runs = [e.runs_at(point)[0] for point in getattr(settings, "panels", [])]
    models = (settings.main, settings.cfg, settings.autog) if figure == "fig9" else ()
    inputs: dict[str, tuple[str, ...]] = {}
    for run in runs:
        inputs |= slices.net_inputs(e, run)
        inputs |= {f"samples:{run.point}": e.outputs("sample", *run.names)} if figure == "fig1" else {}
    inputs |= {f"model:{model}": (e.net(model),) for model in models}
    spec |= {
        "dataset": e.spec.dataset.model_dump(),
        "runs": {run.point: slices.sampler(e, run) for run in runs},
    }
    spec |= {"block": slices.report_block(e)} if figure == "fig1" else {}
    modules = {module, *named.of_density(e), *(named.of_model(e, model) for model in models)}
    return Job(inputs, spec, tuple(sorted(modules | named.of_samplers(e, *runs))))


def _shown(e: "PlannedExperiment", settings: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The samples of the points of a figure, of its training seed."""
    found = {}
    for _, point in settings.get("points", []):
        runs = [run for run in e.runs_at(point) if settings["train_seed"] in run.seeds]
        found[f"samples:{point}"] = tuple(e.path("sample", *run.names) for run in runs)
    return found
