"""Look-ups shared by several checks: the training seeds of a variant, discriminators of a role."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from guidelab import registry
from guidelab.errors import UserError
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment
    from guidelab.spec.variants import Variant


def is_streamed(e: "Experiment") -> bool:
    """Whether an experiment's images are read as a stream, its jobs those of the papers' size."""
    entry = registry.DATASETS.get(e.dataset.name)
    return entry is not None and entry.needs == "stream"


def seeds_of(e: "Experiment", variant: "Variant") -> list[int]:
    """The training seeds a variant can run with: those every net of it was trained with."""
    names = [variant.main, *(t.ref for t in variant.guide if t.ref)]
    seeds = [e.denoisers[e.models[name].denoiser].seeds for name in names]
    for term in variant.guide:
        if term.disc in e.discriminators:
            disc = e.discriminators[term.disc]
            if disc.train_seeds:
                seeds.append(disc.train_seeds)
    return sorted(set.intersection(*(set(s) for s in seeds)))


def nets_known(e: "Experiment", variant: "Variant") -> bool:
    """Whether every model of a variant is defined, with its denoiser: only then has it training seeds."""
    names = (variant.main, *(t.ref for t in variant.guide if t.ref))
    return all(name in e.models and e.models[name].denoiser in e.denoisers for name in names)


def undrawable(e: "Experiment", where: str, models: Iterable[str]) -> Iterator[str]:
    """Models whose nets, of plugins, have no density that a figure can draw."""
    for model in dict.fromkeys(models):
        net = e.denoisers[e.models[model].denoiser].net.name
        try:
            made = None if net in registry.NETS else registry.load("net", net)
        except UserError:
            continue  # it cannot be loaded: its annotation reports that
        if made and not (hasattr(made, "log_density") and hasattr(made, "score")):
            yield f"{where}: draws the density of model {model!r}, whose net {net} lacks log_density(x, sigma) or score(x, sigma); wanted both methods, or null for this figure"


def of_role(e: "Experiment", where: str, given: str, role: str) -> Mistake | None:
    """The mistake unless `given` is a discriminator of a role."""
    known = [name for name, disc in e.discriminators.items() if disc.role == role]
    return unknown(where, given, f"a discriminator of role {role}", known)
