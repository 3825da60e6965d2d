"""Registered networks and their sizes."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from guidelab.spec.base import UNION, Name, Positive, Size, Strict


class ToyNet(Strict):
    """A network of the 2D example and its size."""

    name: Name
    width: Size
    layers: Size


class Edm2Net(Strict):
    """The EDM2 U-Net: a named size, or channels and the rest."""

    name: Literal["edm2"]
    size: Literal["XXS", "XS", "S", "M", "L", "XL", "XXL"] | None = None
    channels: Size | None = None
    channel_mult: Annotated[list[Positive], Field(min_length=1)] | None = None
    blocks: Size = 3
    attention_px: tuple[Size, ...] = (16, 8)
    patch_px: Size = 1
    lean: bool = False  # fewer blocks: for small nets
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class EdmNet(Strict):
    """The U-Nets of EDM (2022) and their preconditioning."""

    name: Literal["edm"]
    architecture: Literal["ddpmpp", "ncsnpp", "adm"]
    precond: Literal["edm", "vp", "ve", "iddpm"] = "edm"
    channels: Size
    channel_mult: Annotated[list[Size], Field(min_length=1)]
    blocks: Size
    attention_px: tuple[Size, ...] = (16,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment_dim: Annotated[int, Field(ge=0)] = 0


class AdmNet(Strict):
    """ADM's U-Net, with a learned variance."""

    name: Literal["adm"]
    channels: Size
    channel_mult: Annotated[list[Size], Field(min_length=1)]
    blocks: Size
    attention_px: tuple[Size, ...] = (32, 16, 8)
    head_channels: Size = 64
    schedule: Literal["linear", "cosine"] = "linear"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DitNet(Strict):
    """DiT: a transformer on patches of latents, with a learned variance."""

    name: Literal["dit"]
    width: Size
    depth: Size
    heads: Size
    patch_px: Size = 2


class ImageNet(Strict):
    """A classifier or discriminator of images."""

    _later = frozenset({"schedule"})

    name: Literal["small_classifier", "small_discriminator", "adm_classifier", "adm_discriminator"]
    channels: Size
    conditional: bool | None = None
    channel_mult: Annotated[list[Size], Field(min_length=1)] | None = None
    blocks: Size | None = None
    attention_px: tuple[Size, ...] | None = None
    schedule: Literal["linear", "cosine", "discrete"] | None = (
        None  # which time steps its noise levels become
    )


DENOISERS = ("edm2", "edm", "adm", "dit")  # of images
_IMAGE_NETS = {name: f"{UNION}{name}" for name in DENOISERS} | dict.fromkeys(
    ("small_classifier", "small_discriminator", "adm_classifier", "adm_discriminator"), f"{UNION}image"
)


def _by_name(value: Any) -> str | None:
    """Which class a net is of; None, which is refused, for a name that is not known."""
    name = str(value.get("name") if isinstance(value, dict) else getattr(value, "name", None))
    return _IMAGE_NETS.get(name, f"{UNION}toy" if name.startswith("toy") else None)


Net = Annotated[
    Annotated[ToyNet, Tag(f"{UNION}toy")]
    | Annotated[Edm2Net, Tag(f"{UNION}edm2")]
    | Annotated[EdmNet, Tag(f"{UNION}edm")]
    | Annotated[AdmNet, Tag(f"{UNION}adm")]
    | Annotated[DitNet, Tag(f"{UNION}dit")]
    | Annotated[ImageNet, Tag(f"{UNION}image")],
    Discriminator(_by_name),
]
