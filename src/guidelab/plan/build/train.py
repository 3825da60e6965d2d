"""Jobs of denoisers, models, discriminators and graders: rules of workflow/rules/train.smk."""

from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.plan.build import modules as named
from guidelab.plan.build import slices
from guidelab.plan.instances import TRAIN
from guidelab.plan.job import Job

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment


def train(e: "PlannedExperiment", denoiser: str, part: str) -> Job:
    """Train one denoiser with some of its seeds, keeping snapshots."""
    d = e.spec.denoisers[denoiser]
    assert d.train is not None  # only then it is trained here
    spec: dict[str, Any] = {
        "examples": slices.examples(e),
        "net": d.net.model_dump(),
        "train": {k: v for k, v in d.train.model_dump().items() if k not in ("seeds", "seeds_per_job")},
        "seeds": list(e.parts(denoiser)[part]),
    }
    modules = [registry.NETS[d.net.name].module, registry.TRAINERS[spec["examples"]].module]
    if not e.images:  # points are drawn as the training goes
        spec |= {"dataset": {"name": e.spec.dataset.name, "classes": d.classes}}
        return Job({}, spec, (*modules, *named.of_density(e)))
    spec |= {"conditional": bool(d.conditional), "dataset": {"classes": e.classes}, **slices.latent(e, d)}
    return Job({"data": slices.learnt(e, d, TRAIN)}, spec, tuple(modules))


def reconstruct(e: "PlannedExperiment", model: str) -> Job:
    """Take a model's nets from the snapshots, at its training length and EMA length."""
    m = e.spec.models[model]
    snapshots = tuple(e.path("train", m.denoiser, part) for part in e.parts(m.denoiser))
    return Job({"checkpoints": snapshots}, {"model": model, "nimg": m.nimg, "ema_std": m.ema_std})


def discriminate(e: "PlannedExperiment", disc: str) -> Job:
    """Train a guiding discriminator for each training seed of the sampler it corrects, or a classifier."""
    d = e.spec.discriminators[disc]
    inputs = {"real": slices.learnt(e, d, d.real)}
    if d.role == "guide":
        latents = e.latent_of(d) is not None
        inputs["generated"] = (
            e.outputs("encode", f"generated/{disc}") if latents else e.outputs("generate", disc)
        )
    if d.extractor:
        inputs["extractor"] = (e.guide(d.extractor),)
    seeds = slices.source(e, disc).seeds if d.role == "guide" else [d.train.seed]
    spec = slices.discriminator(e, disc) | {"train_seeds": list(seeds), **slices.latent(e, d)}
    modules = named.of_discriminators(e, *filter(None, (disc, d.extractor)))
    return Job(inputs, spec, modules)


def grade(e: "PlannedExperiment", disc: str, variant: str, w: str, part: str) -> Job:
    """Train the discriminator that grades one point, on samples and real data of its own."""
    run, d = e.run(variant, w, part), e.spec.discriminators[disc]
    generated = e.outputs("grading", disc, *run.names) if e.images else e.outputs("sample", *run.names)
    inputs = {"real": e.outputs("prepare", d.real), "generated": generated}
    spec = slices.discriminator(e, disc) | {"train_seeds": slices.graded_seeds(e, disc, run)}
    spec |= slices.latent(e, d)
    return Job(inputs, spec, named.of_discriminators(e, disc))


def null(e: "PlannedExperiment") -> Job:
    """Train the null discriminator: points of a fold of their own, images of the graders' fold, against real data."""
    settings = slices.divergences(e)
    d = e.spec.discriminators[settings.grader]
    spec = slices.discriminator(e, settings.grader) | {"train_seeds": [0]}
    modules = named.of_discriminators(e, settings.grader)
    inputs = {"real": e.outputs("prepare", d.real)}
    if not e.images:
        assert settings.null_real is not None  # only then the null is planned
        return Job(inputs | {"other": e.outputs("prepare", settings.null_real)}, spec, modules)
    first, last = d.drawn.seeds
    return Job(inputs, spec | {"apart": last - first + 1}, modules)
