"""The typed form of params.yaml: an experiment, and all of them."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from guidelab.spec.base import Name, Strict, format_weight
from guidelab.spec.capabilities import missing
from guidelab.spec.checkpoints import unreadable
from guidelab.spec.data import LEARNT, REFERENCE, Dataset, Extractor, Fold, ImageDataset, same_images
from guidelab.spec.denoisers import Denoiser, Model
from guidelab.spec.discriminators import Discriminator, cycles
from guidelab.spec.divergences import Divergences
from guidelab.spec.evaluate import Evaluate, measured
from guidelab.spec.look import is_streamed, nets_known, seeds_of
from guidelab.spec.mistakes import Mistake, shown
from guidelab.spec.paper import Paper
from guidelab.spec.samplers import AnySampler, Sampling
from guidelab.spec.variants import Variant

Scale = Literal["full", "reduced", "ci", "smoke"]
_TABLES = ("_divergences", "_dg_theorem", "_costs")  # tables that are named behind their experiment
_FOLDERS = ("tables", "figures")  # of results/, where experiments have theirs
_RUNS = 200_000  # points times trainings that one experiment may plan


class Experiment(Strict):
    """One experiment, complete after `extends` has been resolved."""

    scale: Scale  # the paper's sizes, or less; `ci` and `smoke` are for tests, their numbers mean nothing
    dataset: Dataset
    folds: Annotated[dict[Name, Fold], Field(max_length=200)]
    denoisers: Annotated[dict[Name, Denoiser], Field(min_length=1, max_length=500)]
    models: Annotated[dict[Name, Model], Field(min_length=1, max_length=2000)]
    discriminators: Annotated[dict[Name, Discriminator], Field(max_length=200)] = {}
    features: Annotated[dict[Name, Extractor], Field(max_length=50)] = {}
    sampler: AnySampler
    sampling: Sampling = Sampling()
    variants: Annotated[dict[Name, Variant], Field(min_length=1, max_length=5000)]
    evaluate: Evaluate
    divergences: Divergences | None = None
    paper: Paper
    weights: Literal["released", "trained"] = (
        "trained"  # of every model and discriminator that names a checkpoint
    )
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """What params.yaml calls it; empty until the loader has named it."""
        return self._name

    @property
    def images(self) -> bool:
        """Whether it is about images, with features instead of coordinates."""
        return isinstance(self.dataset, ImageDataset)

    @property
    def streamed(self) -> bool:
        """Whether its images are read as a stream."""
        return is_streamed(self)

    @property
    def measured(self) -> list[str]:
        """Everything it measures."""
        return measured(self)

    @cached_property
    def points(self) -> dict[str, None]:
        """Every point of every sweep, as `cfg/w2.00`."""
        found = (f"{n}/{format_weight(w)}" for n, v in self.variants.items() for w in v.weights or [1.0])
        return dict.fromkeys(found)

    def conditional(self, model: str | None) -> bool:
        """Whether the net of a model is conditional; False where there is no such model."""
        found = self.models.get(model or "")
        denoiser = self.denoisers.get(found.denoiser) if found else None
        return bool(denoiser and denoiser.conditional)

    def on_pixels(self, model: str | None) -> bool | None:
        """Whether the net of a model works on pixels although there are latents; None where there is no such model."""
        found = self.models.get(model or "")
        denoiser = self.denoisers.get(found.denoiser) if found else None
        return denoiser.pixels if denoiser else None

    def works(self, pixels: bool) -> str:
        """What a net works on, as text."""
        return "works on pixels" if pixels else "works on latents"

    def seen(self, pixels: bool, classes: Any) -> dict[str, Any]:
        """Side, channels and classes of what a net works on; None where any will do."""
        latent = None if pixels else getattr(self.dataset, "latent", None)
        side = latent.side_px if latent else getattr(self.dataset, "resolution_px", None)
        return {"resolution_px": side, "image_channels": latent.channels if latent else 3, "classes": classes}

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """What concerns several of its entries at once."""
        if self.name.endswith(_TABLES):
            yield f": given {self.name!r}, wanted another name: one that ends in {' or '.join(_TABLES)} is that of a table of another experiment"
        if self.name.lower() in _FOLDERS:
            yield f": given {self.name!r}, wanted another name: results/{self.name.lower()} holds those of all experiments"
        yield from missing(self)
        yield from cycles(self)
        yield from self._folds()
        yield from self._planned()
        named: list[Model | Discriminator] = [*self.models.values(), *self.discriminators.values()]
        if self.images and self.weights == "released" and not any(entry.checkpoint for entry in named):
            yield "weights: given 'released', but no model or discriminator names a `checkpoint`; wanted one that does, or 'trained'"
        if self.streamed and unreadable():
            yield unreadable()

    def _folds(self) -> Iterator[str | Mistake | None]:
        """Folds that are needed, and folds that hold the same data."""
        learns = self.images and (self.discriminators or any(d.train for d in self.denoisers.values()))
        for name in (LEARNT, REFERENCE) if learns else (REFERENCE,):
            if name not in self.folds:
                yield f"folds: has no {name!r}, wanted one (it has {shown(list(self.folds))})"
        if not self.images:
            first: dict[int, str] = {}
            for name, fold in self.folds.items():
                seed = getattr(fold, "seed", -1)
                if seed in first:
                    yield f"folds.{name}.seed: given {seed}, the seed of {first[seed]!r}; folds with one seed hold the same points"
                first.setdefault(seed, name)
            return
        reference = self.folds.get(REFERENCE)
        users = {"folds.train": LEARNT} | {
            f"discriminators.{n}.real": d.real for n, d in self.discriminators.items()
        }
        for where, name in users.items():
            if name in self.folds and same_images(self.folds[name], reference):
                yield (
                    f"{where}: given {name!r}, of the split {getattr(reference, 'split', '')!r} that samples are compared with, "
                    "wanted another: training and evaluation data would overlap"
                )

    def _planned(self) -> Iterator[str]:
        """More runs than a plan can hold."""
        known = (v for v in self.variants.values() if nets_known(self, v))
        runs = sum(len(v.weights or [1.0]) * len(v.train_seeds or seeds_of(self, v)) for v in known)
        if runs > _RUNS:
            yield f"variants: plan {runs} points and trainings, wanted at most {_RUNS}: fewer weights or training seeds"


class Spec(Strict):
    """All of params.yaml."""

    default: Annotated[list[Name], Field(min_length=1, max_length=256)]
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1, max_length=256)]
