"""Datasets, folds (splits) and feature spaces in params.yaml."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab import registry
from guidelab.spec.base import UNION, CheckpointName, Few, Many, Name, Pixels, Plug, Seed, Source, Strict
from guidelab.spec.checkpoints import fits, row_of_kind
from guidelab.spec.look import of_role
from guidelab.spec.marks import Ref, Registered
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

OWN = ("image_folder", "image_zip")  # a user's own images
LEARNT, REFERENCE = "train", "reference"  # what denoisers learn from, and what samples are compared with
Classes = Annotated[int, Field(gt=0, le=100_000)]


class ToyDataset(Strict):
    """The distribution to learn: a registered name and the classes the main net sees."""

    name: Annotated[Name, Registered("dataset")]
    classes: Literal["A", "B"] = "A"


class Latent(Strict):
    """Where nets work when it is not on pixels: in the latents of a released autoencoder."""

    autoencoder: CheckpointName
    encoding: Literal["edm2", "ldm"]  # EDM2's constants, or the factor 0.18215 of latent diffusion
    side_px: Pixels
    channels: Annotated[int, Field(gt=0, le=64)] = 4

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A row of checkpoints.csv that is none, or no autoencoder."""
        yield from row_of_kind(f"{where}.autoencoder", self.autoencoder, ("autoencoder",))


class ImageDataset(Strict):
    """Images: a registered name, the resolution to work at, the number of classes, and where to look first."""

    _later = frozenset({"latent", "subset"})

    name: Annotated[Plug, Registered("dataset")]
    resolution_px: Pixels
    classes: Classes
    source: Source | None = (
        None  # a folder or ZIP of the user's own; otherwise where the dataset is known to be
    )
    latent: Latent | None = None
    subset: bool = False  # ImageNet: all classes, but not all their images

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """A number of classes the data have not, a source that is missing, a subset of what is not counted."""
        entry = registry.DATASETS.get(self.name)
        has = entry.classes if entry else None
        if (
            has is not None and self.classes != has and e.scale != "smoke"
        ):  # a smoke copy has synthetic images
            yield f"{where}.classes: given {self.classes}, wanted {has}, the classes of {self.name}"
        if self.name in OWN and self.source is None:
            yield f"{where}.source: is missing; wanted the ZIP or folder of {self.name}"
        if self.subset and self.name != "imagenet":
            yield f"{where}.subset: given for {self.name}, wanted none: only ImageNet's images are counted"


class DrawnFold(Strict):
    """One set of real data: how many, and the seed that draws them."""

    n: Many
    seed: Seed

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Drawn points where data are images."""
        if e.images:
            yield f"{where}: given `n` and `seed`, wanted `split` (train, holdout or test): images are not drawn"


class SplitFold(Strict):
    """One set of real images: a split of the dataset, or `n` of it drawn by a seed."""

    split: Literal["train", "holdout", "test", "all"]
    n: Many | None = None
    seed: Seed = 0

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Splits where data are drawn."""
        if not e.images:
            yield f"{where}: given split, wanted `n` and `seed`: this dataset is drawn, not split"
        elif self.split == "all" and e.dataset.name not in OWN:
            yield f"{where}.split: given 'all', wanted train, holdout or test; all is of {' and '.join(OWN)}"


class ReleasedFold(Strict):
    """Real images published for comparison, with their mean and covariance: a row of checkpoints.csv."""

    checkpoint: CheckpointName

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Statistics instead of images, of other data, or where data are drawn."""
        if not e.images:
            yield f"{where}: given checkpoint, wanted `n` and `seed`: this dataset is drawn, not split"
            return
        if where.split(".")[-1] in (LEARNT, REFERENCE):
            yield f"{where}: given a checkpoint, wanted a split of the dataset"
        yield from row_of_kind(f"{where}.checkpoint", self.checkpoint, ("reference",))
        seen = {"resolution_px": getattr(e.dataset, "resolution_px", None), "image_channels": 3}
        yield from fits(e, f"{where}.checkpoint", self.checkpoint, None, seen)


def same_images(a: Any, b: Any) -> bool:
    """Whether two folds hold common data, by their content, not by their names.

    One seed draws the same points. Two parts of one split overlap unless a part is empty: each is drawn from all of it.
    """
    if isinstance(a, DrawnFold) and isinstance(b, DrawnFold):
        return a.seed == b.seed
    splits = {fold.split for fold in (a, b) if isinstance(fold, SplitFold)}
    return isinstance(a, SplitFold) and isinstance(b, SplitFold) and (len(splits) == 1 or "all" in splits)


class Extractor(Strict):
    """What turns images into features: a registered name, and what it needs.

    With `of` instead of a name: the features of another entry, compared with another fold or by another rule.
    """

    _later = frozenset({"checkpoint", "of", "reference", "neighbours"})

    name: Annotated[Plug, Registered("extractor")] | None = None
    size_px: Pixels | None = None  # images are resized to this
    disc: Name | None = None  # a discriminator of role `features`, for the extractor `trained`
    path: Source | None = None  # weights on disk
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    checkpoint: CheckpointName | None = None  # released weights: a row of checkpoints.csv, instead of `path`
    of: Name | None = None
    reference: Annotated[Name, Ref("folds")] = "reference"  # the fold samples are compared with in this space
    neighbours: Few | None = None  # instead of evaluate.neighbours

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """An extractor without weights, with those of another, or a space of nothing."""
        if self.name is None:
            yield from self._space(e, where)
            return
        if self.name in ("inception", "dinov2") and (self.path or self.checkpoint) is None:
            yield f"{where}.path: is missing; wanted the file with the weights of {self.name}, which no package ships"
        if self.size_px is not None and self.name != "efficientnet_lite0":
            yield f"{where}.size_px: given {self.size_px}; {self.name} has a size of its own"
        if (self.name == "trained") != (self.disc is not None):
            yield f"{where}.disc: given {self.disc!r}; only the extractor `trained` takes one, and needs it"
        if self.disc is not None:
            yield of_role(e, f"{where}.disc", self.disc, "features")
        yield from row_of_kind(f"{where}.checkpoint", self.checkpoint, ("features",), extractor=self.name)

    def _space(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Features that are another entry's, compared by another rule."""
        if self.of is None:
            yield f"{where}.name: is missing; wanted an extractor ({', '.join(registry.EXTRACTORS)})"
        elif self.of not in e.features or e.features[self.of].name is None:
            known = [name for name, entry in e.features.items() if entry.name]
            yield unknown(f"{where}.of", self.of, "features with an extractor", known)


def _which(tags: dict[str, str], otherwise: str) -> Any:
    """Choose among classes by which key is there."""

    def choose(value: Any) -> str:
        held = (
            tag
            for key, tag in tags.items()
            if (key in value if isinstance(value, dict) else hasattr(value, key))
        )
        return next(held, otherwise)

    return Discriminator(choose)


Dataset = Annotated[
    Annotated[ToyDataset, Tag(f"{UNION}toy")] | Annotated[ImageDataset, Tag(f"{UNION}images")],
    _which({"resolution_px": f"{UNION}images"}, f"{UNION}toy"),
]
Fold = Annotated[
    Annotated[DrawnFold, Tag(f"{UNION}drawn")]
    | Annotated[SplitFold, Tag(f"{UNION}split")]
    | Annotated[ReleasedFold, Tag(f"{UNION}released")],
    _which({"checkpoint": f"{UNION}released", "split": f"{UNION}split"}, f"{UNION}drawn"),
]
