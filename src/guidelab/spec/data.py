"""Where data come from, which part of it is a fold, and which features images are measured in."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab.spec.base import UNION, Name, Released, Size, Strict


class ToyDataset(Strict):
    """The distribution to learn: a registered name and the classes the main net sees."""

    name: Name
    classes: Literal["A", "B"] = "A"


class Latent(Strict):
    """Where nets work when it is not on pixels: in the latents of a released autoencoder."""

    autoencoder: Released
    encoding: Literal["edm2", "ldm"]  # EDM2's constants, or the factor 0.18215 of latent diffusion
    side_px: Size
    channels: Size = 4


class ImageDataset(Strict):
    """Images: a registered name, the resolution to work at, the number of classes, and where to look first."""

    _later = frozenset({"latent", "subset"})

    name: Name
    resolution_px: Size
    classes: Size
    source: str | None = None  # a folder or ZIP of the user's own; otherwise where the dataset is known to be
    latent: Latent | None = None
    subset: bool = False  # ImageNet: all classes, but not all their images


class DrawnFold(Strict):
    """One set of real data: how many, and the seed that draws them."""

    n: Size
    seed: int


class SplitFold(Strict):
    """One set of real images: a split of the dataset, or `n` of it drawn by a seed."""

    split: Literal["train", "holdout", "test"]
    n: Size | None = None
    seed: int = 0


class ReleasedFold(Strict):
    """Real images published for comparison, with their mean and covariance: a row of checkpoints.csv."""

    checkpoint: Released


class Extractor(Strict):
    """What turns images into features: a registered name, and what it needs.

    With `of` instead of a name: the features of another entry, compared with another fold or by another rule.
    """

    _later = frozenset({"checkpoint", "of", "reference", "neighbours"})

    name: Name | None = None
    size_px: Size | None = None  # images are resized to this
    disc: Name | None = None  # a discriminator of role `features`, for the extractor `trained`
    path: str | None = None  # weights on disk
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    checkpoint: Released | None = None  # released weights: a row of checkpoints.csv, instead of `path`
    of: Name | None = None
    reference: Name = "reference"  # the fold samples are compared with in this space
    neighbours: Size | None = None  # instead of evaluate.neighbours


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
