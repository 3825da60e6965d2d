"""Where data come from, which part of it is a fold, and which features images are measured in."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab.spec.base import UNION, Name, Size, Strict


class ToyDataset(Strict):
    """The distribution to learn: a registered name and the classes the main net sees."""

    name: Name
    classes: Literal["A", "B"] = "A"


class ImageDataset(Strict):
    """Images: a registered name, the resolution to work at, the number of classes, and where to look first."""

    name: Name
    resolution_px: Size
    classes: Size
    source: str | None = None  # a folder or ZIP of the user's own; otherwise where the dataset is known to be


class DrawnFold(Strict):
    """One set of real data: how many, and the seed that draws them."""

    n: Size
    seed: int


class SplitFold(Strict):
    """One set of real images: a split of the dataset, or `n` of it drawn by a seed."""

    split: Literal["train", "holdout", "test"]
    n: Size | None = None
    seed: int = 0


class Extractor(Strict):
    """What turns images into features: a registered name, and what it needs."""

    name: Name
    size_px: Size | None = None  # images are resized to this
    disc: Name | None = None  # a discriminator of role `features`, for the extractor `trained`
    path: str | None = None  # weights on disk
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


def _which(key: str, tags: tuple[str, str]) -> Any:
    """Choose between two classes by whether a key is there."""

    def choose(value: Any) -> str:
        held = key in value if isinstance(value, dict) else hasattr(value, key)
        return tags[1] if held else tags[0]

    return Discriminator(choose)


Dataset = Annotated[
    Annotated[ToyDataset, Tag(f"{UNION}toy")] | Annotated[ImageDataset, Tag(f"{UNION}images")],
    _which("resolution_px", (f"{UNION}toy", f"{UNION}images")),
]
Fold = Annotated[
    Annotated[DrawnFold, Tag(f"{UNION}drawn")] | Annotated[SplitFold, Tag(f"{UNION}split")],
    _which("split", (f"{UNION}drawn", f"{UNION}split")),
]
