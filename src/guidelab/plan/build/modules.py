"""The modules that a job's part of the spec names through the registries: what its code digest follows."""

from typing import TYPE_CHECKING

from guidelab import registry
from guidelab.plan.build import slices

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run
    from guidelab.spec import Variant


def of_samplers(e: "PlannedExperiment", *runs: "Run") -> set[str]:
    """The modules that the samplers of some runs name."""
    found = set() if e.images or not runs else {of_dataset(e)}  # images: the nets know their shape
    for run in runs:
        variant = e.spec.variants[run.variant]
        found |= {registry.CODECS[slices.codec(e, run)].module}
        if variant.real:  # no net is called
            found |= {registry.SOURCES["fold"].module} if e.images else set()
            continue
        found |= {registry.SAMPLERS[e.sampler(variant).name].module}
        found |= {registry.METHODS[t.method].module for t in variant.guide}
        found |= {registry.ADDITIONS[name].module for name in _additions(e, variant)}
        found |= {of_model(e, m) for m in e.models_of(variant)}
        found |= {of_disc(e, t.disc) for t in variant.guide if t.disc}
    return found


def _additions(e: "PlannedExperiment", variant: "Variant") -> set[str]:
    """What terms and models of a variant need besides methods and nets."""
    found = {"interval" for t in variant.guide if t.sigma_lo > 0 or t.sigma_hi is not None}
    found |= {"boost" for t in variant.guide if t.boost}
    found |= {"churn"} if getattr(e.sampler(variant), "S_churn", 0) else set()
    degraded = (e.spec.models[m].degrade.model_dump() for m in e.models_of(variant))
    return found | {key for given in degraded for key, value in given.items() if value}


def of_dataset(e: "PlannedExperiment") -> str:
    """The module of the dataset."""
    return registry.DATASETS[e.spec.dataset.name].module


def of_density(e: "PlannedExperiment") -> set[str]:
    """The module of the dataset's exact density; none where it has no density."""
    name = e.spec.dataset.name
    return {registry.DENSITIES[name].module} if name in registry.DENSITIES else set()


def of_model(e: "PlannedExperiment", model: str) -> str:
    """The module of a model's net."""
    return registry.NETS[e.spec.denoisers[e.spec.models[model].denoiser].net.name].module


def of_disc(e: "PlannedExperiment", disc: str) -> str:
    """The module of a discriminator's net."""
    return registry.NETS[e.spec.discriminators[disc].net.name].module


def of_discriminators(e: "PlannedExperiment", *discs: str) -> tuple[str, ...]:
    """The modules that discriminators name, and the one that reads what they are trained on."""
    read = registry.SIDES[slices.examples(e)].module
    return tuple(sorted({read, *(of_disc(e, disc) for disc in discs)}))
