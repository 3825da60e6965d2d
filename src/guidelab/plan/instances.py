"""Which jobs of a rule params.yaml plans: the names of each job without the experiment's, in order."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run

Names = tuple[str, ...]
TRAIN = "train"  # the fold denoisers learn from
REFERENCE = "reference"  # the fold samples are compared with by default
AUTOENCODER = "autoencoder"
_COMPARED = (
    "kid",
    "precision",
    "recall",
)  # metrics that need the reference's images, not only its statistics


def once(e: "PlannedExperiment") -> list[Names]:
    """One job an experiment."""
    return [()]


def folds(e: "PlannedExperiment") -> list[Names]:
    """The folds that are drawn or read; of published statistics only where images are compared too."""
    spaces = {m.partition("@")[2] for m in e.spec.evaluate.metrics if m.partition("@")[0] in _COMPARED}
    compared = {entry.reference for name, entry in e.spec.features.items() if name in spaces}
    return [(fold,) for fold in e.spec.folds if not e.statistics(fold) or fold in compared]


def synthetic(e: "PlannedExperiment") -> list[Names]:
    """One job where pretrained files and images are synthetic."""
    return [()] if e.synthetic else []


def pretrained(e: "PlannedExperiment") -> Iterator[Names]:
    """Every pretrained net, discriminator, autoencoder, and published statistics."""
    yield from (("models", m) for m in e.spec.models if e.pretrained("models", m))
    yield from (("discriminators", d) for d in e.spec.discriminators if e.pretrained("discriminators", d))
    yield from [("autoencoders", AUTOENCODER)] if e.latent else []
    yield from (("references", fold) for fold in e.spec.folds if e.statistics(fold))


def denoisers(e: "PlannedExperiment") -> list[str]:
    """The denoisers trained here: all, or those of a model that has no pretrained net."""
    if e.spec.weights == "trained":
        return [name for name, denoiser in e.spec.denoisers.items() if denoiser.train]
    used = {m.denoiser for name, m in e.spec.models.items() if not e.pretrained("models", name)}
    return [name for name in e.spec.denoisers if name in used]


def trainings(e: "PlannedExperiment") -> list[Names]:
    """Every part of the training seeds of every denoiser trained here."""
    return [(denoiser, part) for denoiser in denoisers(e) for part in e.parts(denoiser)]


def models(e: "PlannedExperiment") -> list[Names]:
    """The models whose nets are trained here."""
    return [(model,) for model in e.spec.models if not e.pretrained("models", model)]


def guides(e: "PlannedExperiment") -> list[Names]:
    """The guiding discriminators trained here, each on samples of its own."""
    return [(disc,) for disc in _trained(e, "guide")]


def discriminators(e: "PlannedExperiment") -> list[Names]:
    """The guiding discriminators and the classifiers trained here."""
    return [(disc,) for disc in _trained(e, "guide", "classifier", "features")]


def _trained(e: "PlannedExperiment", *roles: str) -> list[str]:
    return [disc for disc in e.having(*roles) if not e.pretrained("discriminators", disc)]


def latents(e: "PlannedExperiment") -> list[Names]:
    """What nets trained here see as latents: folds (`data/train`) and samples of guides (`generated/dg`)."""
    sides = [f"data/{TRAIN}" for d in denoisers(e) if e.latent_of(e.spec.denoisers[d])]
    discs = {name: disc for name, disc in e.spec.discriminators.items() if e.latent_of(disc)}
    sides += [f"data/{d.real}" for name, d in discs.items() if not e.pretrained("discriminators", name)]
    sides += [f"generated/{guide}" for guide in _trained(e, "guide") if guide in discs]
    return [(side,) for side in dict.fromkeys(sides)]


def runs(e: "PlannedExperiment") -> list[Names]:
    """Every run."""
    return [run.names for run in e.runs]


def images(e: "PlannedExperiment") -> list[Names]:
    """Every run whose samples are images."""
    return runs(e) if e.images else []


def densities(e: "PlannedExperiment") -> list[Names]:
    """The runs whose log-density is defined, where `evaluate.density` is given."""
    return [run.names for run in e.runs if e.has_density(run.variant)]


def gradings(e: "PlannedExperiment") -> list[Names]:
    """Every run with every grader that grades it."""
    return [(grader, *run.names) for run in e.runs for grader in e.graded(run)]


def drawn_gradings(e: "PlannedExperiment") -> list[Names]:
    """The same of images: the samples a grader learns from are files of their own."""
    return gradings(e) if e.images else []


def features(e: "PlannedExperiment") -> Iterator[Names]:
    """In every feature space the folds that samples are compared with, and every run."""
    read = {fold for (fold,) in folds(e)}
    for name, entry in e.spec.features.items() if e.images else ():
        if entry.of:
            continue
        spaces = (other for key, other in e.spec.features.items() if (other.of or key) == name)
        met = dict.fromkeys(space.reference for space in spaces)
        yield from ((name, f"data/{fold}") for fold in met if fold in read)
        yield from ((name, "/".join(run.names)) for run in e.runs)


def diverging(e: "PlannedExperiment") -> "list[Run]":
    """The runs whose divergences are estimated: those that the grader of `divergences` grades."""
    settings = e.spec.divergences
    return [run for run in e.runs if settings.grader in e.graded(run)] if settings else []


def divergences(e: "PlannedExperiment") -> list[Names]:
    """Their names."""
    return [run.names for run in diverging(e)]


def null(e: "PlannedExperiment") -> list[Names]:
    """One job where real data are graded against real data."""
    return [()] if e.spec.divergences and e.spec.divergences.null_real else []


def theorem(e: "PlannedExperiment") -> list[Names]:
    """One job where the theorem's weights are given."""
    return [()] if e.spec.divergences and e.spec.divergences.theorem else []


def costs(e: "PlannedExperiment") -> list[Names]:
    """One job where samplers are graded for `divergences`."""
    return [()] if e.spec.divergences else []


def divergence_tables(e: "PlannedExperiment") -> list[Names]:
    """One job where there are rows about divergences."""
    return [()] if diverging(e) else []


def figures(e: "PlannedExperiment") -> list[Names]:
    """Every figure."""
    return [(figure,) for figure in e.figures]


def fields(e: "PlannedExperiment") -> list[Names]:
    """The figures that need arrays of their own: all but those made of measurements alone."""
    return [(figure,) for figure in e.figures if getattr(e.spec.paper.figures, figure).arrays]


def previews(e: "PlannedExperiment") -> Iterable[Names]:
    """The runs of the headline, where samples are images."""
    return [run.names for p in e.spec.paper.headline for run in e.runs_at(p)] if e.images else []
