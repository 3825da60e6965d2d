"""Names in params.yaml and the modules that carry them: one line per guidance method, net, dataset, metric, figure.

A name is one of the tables here, of an installed package (entry points `guidelab.<kind>`), or of a file in plugins/,
written `plugins.mine:Name` (see `plugins`). What the tables name is not imported to look it up, and the code digest of a
job follows exactly the modules its part of the spec names.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guidelab import plugins
from guidelab.errors import UserError, closest


@dataclass(frozen=True)
class Entry:
    """Where a name is carried: `module:attribute`, and what the spec must give along with it."""

    target: str
    needs: str = ""  # methods: "ref" (a model), "disc" (a discriminator) or nothing; samplers: "chain" of discrete steps; datasets: "stream" when read piece by piece, "cache" when fetched; metrics of images: words of `plugins.PARTS`; figures: see there
    neutral: float = 1.0  # methods: the weight at which nothing is added
    itself: bool = (
        False  # methods: the main net may be its own reference, as it is evaluated with another class
    )
    classes: int | None = None  # datasets: how many there are, where that is fixed
    evaluations: tuple[int, int] = (1, 1)  # samplers of plugins: of the net in a step, and in the last one

    @property
    def module(self) -> str:
        """The module that holds it, for the code digest."""
        return self.target.split(":")[0]


class Table(dict[str, Entry]):
    """The built-in names of a kind; others are looked up among plugins when they are asked for."""

    def __init__(self, kind: str, entries: dict[str, Entry]) -> None:
        super().__init__(entries)
        self.kind = kind

    def __missing__(self, name: str) -> Entry:
        found = _elsewhere(self.kind, name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of a name, plugins included."""
        try:
            return self[name]
        except KeyError:
            return default


METHODS = Table(
    "guidance",
    {
        "reference": Entry("guidelab.core.guidance.reference:Reference", needs="ref", neutral=1.0),
        "truncation": Entry("guidelab.core.guidance.reference:truncation", needs="", neutral=1.0),
        "discriminator": Entry("guidelab.core.guidance.potential:Potential", needs="disc", neutral=0.0),
        "classifier": Entry("guidelab.core.guidance.classifier:classifier", needs="disc", neutral=0.0),
        "projected": Entry("guidelab.core.guidance.projected:Projected", needs="ref", neutral=1.0),
        "independent": Entry(
            "guidelab.core.guidance.independent:Independent", needs="ref", neutral=1.0, itself=True
        ),
    },
)
NETS = Table(
    "net",
    {
        "toy": Entry("guidelab.nets.toy:ToyDenoiser"),
        "toy_discriminator": Entry("guidelab.nets.toy_discriminator:ToyDiscriminator"),
        "edm2": Entry("guidelab.nets.edm2:Edm2"),
        "edm": Entry("guidelab.nets.edm:Edm"),
        "adm": Entry("guidelab.nets.adm:Adm"),
        "dit": Entry("guidelab.nets.dit:Dit"),
        "small_classifier": Entry("guidelab.nets.small_discriminator:SmallClassifier"),
        "small_discriminator": Entry("guidelab.nets.small_discriminator:SmallDiscriminator"),
        "adm_classifier": Entry("guidelab.nets.image_discriminator:AdmClassifier"),
        "adm_discriminator": Entry("guidelab.nets.image_discriminator:AdmDiscriminator"),
    },
)
TRAINERS = {  # what denoisers are trained on
    "points": Entry("guidelab.jobs.point_learner:learner"),
    "images": Entry("guidelab.jobs.image_learner:learner"),
}
DATASETS = Table(
    "dataset",
    {
        "toy2d": Entry("guidelab.data.toy2d:fractal"),
        "fashion_mnist": Entry("guidelab.data.fashion_mnist:prepare", needs="cache", classes=10),
        "image_zip": Entry("guidelab.data.image_zip:prepare"),
        "image_folder": Entry("guidelab.data.image_folder:prepare"),
        "imagenet": Entry("guidelab.data.imagenet:prepare", needs="stream", classes=1000),
        "cifar10": Entry("guidelab.data.cifar10:prepare", needs="stream", classes=10),
    },
)
EXTRACTORS = Table(
    "extractor",
    {
        "efficientnet_lite0": Entry("guidelab.features.efficientnet_lite0:EfficientNetLite0"),
        "trained": Entry("guidelab.features.trained:Trained"),
        "inception": Entry("guidelab.features.inception:Inception"),
        "dinov2": Entry("guidelab.features.dinov2:Dinov2"),
        "tiny": Entry("guidelab.features.tiny:Tiny"),
    },
)
IMAGE_METRICS = Table("metric", {
    name: Entry("guidelab.metrics.images:measure_images", needs=needs)
    for name, needs in (
        ("fid", "statistics"), ("sfid", "spatial"), ("kid", "real"), ("precision", "real"), ("recall", "real"),
        ("inception_score", "logits"), ("accuracy", "logits labels"),
    )
})  # fmt: skip
REPRESENTATIONS = {  # what samples are measured as
    "coordinates": Entry("guidelab.jobs.coordinates:spaces"),
    "features": Entry("guidelab.jobs.feature_spaces:spaces"),
}
SIDES = {  # what discriminators are trained on
    "points": Entry("guidelab.jobs.point_sides:Points"),
    "images": Entry("guidelab.jobs.image_sides:Images"),
}
TRUTHS = {"toy2d": Entry("guidelab.data.toy2d_truth:truth_at")}  # datasets whose density is known
FACTS = {
    "toy2d": Entry("guidelab.data.toy2d_truth:facts")
}  # constants of the exact density, kept with the data
SAMPLERS = Table(
    "sampler",
    {
        "heun": Entry("guidelab.sampling.continuous:Continuous"),
        "ddpm": Entry("guidelab.sampling.discrete:Ddpm", needs="chain"),
        "ddim": Entry("guidelab.sampling.discrete:Ddim", needs="chain"),
    },
)
CODECS = {  # how samples are stored
    "points": Entry("guidelab.sampling.codecs:Points"),
    "pixels": Entry("guidelab.sampling.pixels:Pixels"),
    "latents": Entry("guidelab.sampling.latents:Latents"),
}
SOURCES = {"fold": Entry("guidelab.sampling.real:shown")}  # of samples that no net draws
METRICS = Table("metric", {
    name: Entry("guidelab.metrics.measure_toy:measure_points")
    for name in (
        "frechet", "precision", "recall", "mean_log_p", "mean_log_p_clipped", "median_log_p",
        "outliers_contour", "outliers_99", "runaways", "mass_covered", "branches_empty", "branch_tv",
        "leaf_mass", "class_wrong",
    )
})  # fmt: skip
DIVERGENCES = {
    name: Entry("guidelab.metrics.divergence:divergences")
    for name in ("kl", "kl_reverse", "js", "chi2", "hellinger2")
}
FIGURES = Table(
    "figure",
    {  # needs: "density" (exact), "images", "divergences" (rows of `guidelab diverge`)
        "fig1": Entry("guidelab.paper.figures.fig1:make", needs="density"),
        "fig2": Entry("guidelab.paper.figures.fig2:make", needs="density"),
        "fig9": Entry("guidelab.paper.figures.fig9:make", needs="density"),
        "sweep": Entry("guidelab.paper.figures.sweep:make", needs="density"),
        "sweep_guides": Entry("guidelab.paper.figures.sweep:make", needs="density"),
        "sweep_degraded": Entry("guidelab.paper.figures.sweep:make", needs="density"),
        "sweep_planes": Entry("guidelab.paper.figures.planes:make", needs="density"),
        "divergence_sigma": Entry("guidelab.paper.figures.along:make", needs="divergences"),
        "divergence_calibration": Entry(
            "guidelab.paper.figures.calibration:make", needs="divergences density"
        ),
        "divergence_weight": Entry("guidelab.paper.figures.divergence_weight:make", needs="divergences"),
        "weights": Entry("guidelab.paper.figures.weights:make", needs="images"),
        "precision_recall": Entry("guidelab.paper.figures.planes:make", needs="images"),
        "ema": Entry("guidelab.paper.figures.lines:make", needs="images"),
        "guides": Entry("guidelab.paper.figures.lines:make", needs="images"),
        "disc_training": Entry("guidelab.paper.figures.lines:make", needs="images"),
        "nfe": Entry("guidelab.paper.figures.lines:make", needs="images"),
        "grid": Entry("guidelab.paper.figures.grid:make", needs="images"),
        "variety": Entry("guidelab.paper.figures.grid:make", needs="images"),
    },
)

KINDS: dict[str, dict[str, Entry]] = {
    "method": METHODS,
    "net": NETS,
    "trainer": TRAINERS,
    "dataset": DATASETS,
    "truth": TRUTHS,
    "facts": FACTS,
    "sampler": SAMPLERS,
    "codec": CODECS,
    "source": SOURCES,
    "metric": METRICS,
    "divergence": DIVERGENCES,
    "extractor": EXTRACTORS,
    "image metric": IMAGE_METRICS,
    "representation": REPRESENTATIONS,
    "sides": SIDES,
    "figure": FIGURES,
}


def entry(kind: str, name: str, where: str = "params.yaml") -> Entry:
    """The entry of a registered name.

    Raises:
        UserError: no such name; says what is known and which is closest. Or a plugin that cannot be used.
    """
    known = KINDS[kind]
    if name in known:
        if isinstance(known, Table) and name in plugins.installed(known.kind):
            raise UserError(
                f"{where}: {kind} {name!r} is built in, and an installed package gives its entry point guidelab.{known.kind} "
                "the same name; wanted another name there, or the package uninstalled"
            )
        return known[name]
    found = _elsewhere(known.kind, name, where) if isinstance(known, Table) else None
    if found is None:
        raise UserError(
            f"{where}: {kind} {name!r} is not known; wanted one of {', '.join(sorted(known))}{closest(name, list(known))}"
        )
    return found


def load(kind: str, name: str) -> Any:
    """Import what a registered name stands for."""
    target = entry(kind, name).target
    if plugins.is_plugin(target):
        return plugins.load(target)
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def module(kind: str, name: str) -> Any:
    """Import the module that carries a registered name: figures are the functions `rows` and `make` of one."""
    found = entry(kind, name)
    if plugins.is_plugin(found.target):
        plugins.load(found.target)
    return importlib.import_module(found.module)


def described(name: str) -> dict[str, Any] | None:
    """Label, direction, unit, digits, definition and group of a metric of a plugin; None of one that is built in."""
    if name in METRICS or name in IMAGE_METRICS:
        return None
    return plugins.described(load("metric", name))


def evaluations(sampler: Mapping[str, Any]) -> tuple[int, int]:
    """Evaluations of the main net in every step but the last, and in the last one.

    Heun's method evaluates twice, and once in the step to 0; a discrete chain once; samplers of plugins say it themselves.

    Args:
        sampler: its `name`, and `evaluations` where a job has them.
    """
    name = sampler["name"]
    if "evaluations" in sampler:
        each, last = sampler["evaluations"]
        return int(each), int(last)
    if name not in SAMPLERS:
        return entry("sampler", name).evaluations
    return (1, 1) if SAMPLERS[name].needs == "chain" else (2, 1)


def options_mistake(kind: str, name: str, options: Mapping[str, Any], own: int = 0, **project: Any) -> str:
    """Why options do not fit what a name stands for; empty where they do. `own`, `project`: see `plugins.mistakes`."""
    if name in KINDS[kind]:
        return "is built in and takes no options here"
    return plugins.mistakes(load(kind, name), options, own, project)


def _elsewhere(kind: str, name: str, where: str = "params.yaml") -> Entry | None:
    """The entry of a plugin, read from the attributes of its class; None for a name that is none."""
    if plugins.is_plugin(name):
        made, target = plugins.load(name, where), name
    elif "." in name or ":" in name:
        return None  # no other dotted name is ever imported
    else:
        target = plugins.installed(kind).get(name, "")
        if not target:
            return None
        module, _, attribute = target.partition(":")
        made = getattr(importlib.import_module(module), attribute)
    wrong = plugins.shape_mistake(kind, made)
    if wrong:
        raise UserError(f"{where}: {name}: {wrong}")
    given = {
        key: getattr(made, key) for key in ("needs", "neutral", "itself", "evaluations") if hasattr(made, key)
    }
    return Entry(target, **given)
