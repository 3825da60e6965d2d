"""Which capabilities (exact density, features, ...) keys of params.yaml require, and what provides them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


@dataclass(frozen=True)
class Capability:
    """Something that keys need.

    Attributes:
        given_by: which experiments have it, in words.
        has: whether an experiment has it.
        keys: the keys of an experiment that need it.
    """

    given_by: str
    has: Callable[["Experiment"], bool]
    keys: Callable[["Experiment"], Iterator[str]]


def missing(e: "Experiment") -> Iterator[str]:
    """A message for every key that needs what the experiment has not."""
    for name, capability in CAPABILITIES.items():
        if not capability.has(e):
            for key in capability.keys(e):
                yield f"{key}: given, but needs {name}; wanted it only with {capability.given_by}"


def _coordinates(e: "Experiment") -> bool:
    return not e.images


def _images(e: "Experiment") -> bool:
    return e.images


def _density(e: "Experiment") -> Iterator[str]:
    if e.evaluate.density:
        yield "evaluate.density"
    for key in ("coverage", "theorem"):
        if e.divergences and getattr(e.divergences, key):
            yield f"divergences.{key}"


def _features(e: "Experiment") -> Iterator[str]:
    if e.divergences and e.divergences.probe:
        yield "divergences.probe"
    yield from (f"features.{name}" for name in e.features)


def _released(e: "Experiment") -> Iterator[str]:
    if e.weights == "released":
        yield "weights"
    for kind in ("models", "features", "folds", "discriminators"):
        entries = getattr(e, kind).items()
        yield from (
            f"{kind}.{name}.checkpoint" for name, entry in entries if getattr(entry, "checkpoint", None)
        )


def _spaces(e: "Experiment") -> Iterator[str]:
    for name, space in e.features.items():
        if space.of or space.reference != "reference":
            yield f"features.{name}.{'of' if space.of else 'reference'}"


def _of_images(e: "Experiment") -> Iterator[str]:
    if getattr(e.dataset, "latent", None):
        yield "dataset.latent"
    if e.paper.published:
        yield "paper.published"
    yield from (f"models.{name}.unlabelled" for name, model in e.models.items() if model.unlabelled)


def _samplers(e: "Experiment") -> Iterator[str]:
    for name, variant in e.variants.items():
        yield from (f"variants.{name}.{key}" for key in ("sampler", "steps") if getattr(variant, key))


def _kept(e: "Experiment") -> Iterator[str]:
    for name, variant in e.variants.items():
        yield from (
            f"variants.{name}.guide.{i}.iterations" for i, term in enumerate(variant.guide) if term.iterations
        )


CAPABILITIES = {
    "an exact density": Capability("data whose density is known, as toy2d", _coordinates, _density),
    "features of images": Capability("a dataset of images", _images, _features),
    "pretrained weights": Capability(
        "a dataset of images: no published format holds a net of points", _images, _released
    ),
    "several references": Capability("a dataset of images", _images, _spaces),
    "latents, or published values": Capability("a dataset of images", _images, _of_images),
    "a table that keeps samplers apart": Capability("a dataset of images", _images, _samplers),
    "guides that are kept as they train": Capability("a dataset of images", _images, _kept),
}
