"""What some keys need, and what gives it: one list, one form of message.

An entry with `until_one_path` says only that today's jobs cannot do it for this kind of data. It goes when one path
serves all experiments; the others stay, as no data of that kind can have it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidelab.spec.nets import PluginNet
from guidelab.spec.samplers import ChainSampler

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


@dataclass(frozen=True)
class Capability:
    """Something that keys need.

    Attributes:
        given_by: which experiments have it, in words.
        has: whether an experiment has it.
        keys: the keys of an experiment that need it.
        until_one_path: a limit of the jobs, not of the data.
    """

    given_by: str
    has: Callable[["Experiment"], bool]
    keys: Callable[["Experiment"], Iterator[str]]
    until_one_path: bool = False


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
    yield from (f"variants.{name}.real" for name, variant in e.variants.items() if variant.real)


def _samplers(e: "Experiment") -> Iterator[str]:
    if isinstance(e.sampler, ChainSampler):
        yield "sampler.name"
    yield from (f"variants.{name}.sampler" for name, variant in e.variants.items() if variant.sampler)


def _own_nets(e: "Experiment") -> Iterator[str]:
    for name, denoiser in e.denoisers.items():
        if isinstance(denoiser.net, PluginNet):
            yield f"denoisers.{name}.net.name"


def _steps(e: "Experiment") -> Iterator[str]:
    yield from (f"variants.{name}.steps" for name, variant in e.variants.items() if variant.steps)


def _boosts(e: "Experiment") -> Iterator[str]:
    for name, variant in e.variants.items():
        for i, term in enumerate(variant.guide):
            if term.boost or term.iterations:
                yield f"variants.{name}.guide.{i}.{'boost' if term.boost else 'iterations'}"


CAPABILITIES = {
    "an exact density": Capability("data whose density is known, as toy2d", _coordinates, _density),
    "features of images": Capability("a dataset of images", _images, _features),
    "pretrained weights": Capability("a dataset of images", _images, _released, until_one_path=True),
    "several references": Capability("a dataset of images", _images, _spaces),
    "latents, real samples, or published values": Capability("a dataset of images", _images, _of_images),
    "a sampler of its own": Capability("a dataset of images", _images, _samplers, until_one_path=True),
    "a trainer of nets of plugins": Capability(
        "a dataset of images", _images, _own_nets, until_one_path=True
    ),
    "another number of steps": Capability("a dataset of images", _images, _steps, until_one_path=True),
    "kept or boosted guides": Capability("a dataset of images", _images, _boosts, until_one_path=True),
}
