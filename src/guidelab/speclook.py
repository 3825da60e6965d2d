"""Look-ups that all checks of params.yaml share: is a name known, which training seeds can a variant have."""

from collections.abc import Iterable

from guidelab import registry
from guidelab.errors import UserError, closest
from guidelab.nearest import listed
from guidelab.spec import Experiment, Variant


def unknown(where: str, given: str, wanted: str, known: Iterable[str]) -> str:
    """A message when `given` is not among `known`, else an empty string."""
    names = list(known)
    if given in names:
        return ""
    return f"{where}: given {given!r}, wanted {wanted} ({listed(given, names)}){closest(given, names)}"


def registered(where: str, kind: str, name: str) -> str:
    """A message when no such name is registered, else an empty string."""
    try:
        registry.entry(kind, name, where)
    except UserError as error:
        return str(error)
    return ""


def is_large(e: Experiment) -> bool:
    """Whether an experiment's images are read as a stream, its jobs those of the papers' size."""
    entry = registry.DATASETS.get(e.dataset.name)
    return entry is not None and entry.needs == "stream"


def seeds_of(e: Experiment, variant: Variant) -> list[int]:
    """The training seeds a variant can run with: those every net of it was trained with."""
    names = [variant.main, *(t.ref for t in variant.guide if t.ref)]
    seeds = [e.denoisers[e.models[name].denoiser].train.seeds for name in names]
    for term in variant.guide:
        if term.disc in e.discriminators:
            disc = e.discriminators[term.disc]
            if disc.train_seeds:
                seeds.append(disc.train_seeds)
    return sorted(set.intersection(*(set(s) for s in seeds)))


def nets_known(e: Experiment, variant: Variant) -> bool:
    """Whether every model of a variant is defined, with its denoiser: `seeds_of` may then be asked."""
    names = (variant.main, *(t.ref for t in variant.guide if t.ref))
    return all(name in e.models and e.models[name].denoiser in e.denoisers for name in names)
