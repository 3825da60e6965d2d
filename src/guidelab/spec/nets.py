"""Registered networks, their sizes, and the images and channels they can work on."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from guidelab import registry
from guidelab.errors import UserError
from guidelab.registry import plugins
from guidelab.spec.base import (
    UNION,
    Channels,
    Few,
    Name,
    Pixels,
    Plug,
    Positive,
    Share,
    Source,
    Strict,
    listed,
)
from guidelab.spec.marks import Registered

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

Mult = Annotated[list[Annotated[int, Field(gt=0, le=64)]], Field(min_length=1, max_length=10)]
Sides = Annotated[tuple[Pixels, ...], BeforeValidator(listed), Field(max_length=10)]
Augment = Annotated[int, Field(ge=0, le=100)]
_GROUPS = 32  # of ADM's group normalisation
_EDM2_HEAD = 64  # channels of an attention head


def side_of(e: "Experiment", where: str) -> int:
    """The side in pixels of what the net at a place works on: of latents where the dataset has some, else of images."""
    kind, name = where.split(".")[:2]
    latent = getattr(e.dataset, "latent", None)
    pixels = getattr(e, kind)[name].pixels
    return int(latent.side_px if latent and not pixels else getattr(e.dataset, "resolution_px", 1))


def _levels(where: str, side: int, patch: int, levels: int, attention: Sequence[int]) -> Iterator[str]:
    """Patches that do not fit, sides that cannot be halved, attention where there is no level."""
    if side == 1:
        return  # points have no sides: the net is refused for its kind
    if side % patch:
        yield f"{where}.patch_px: given {patch}, wanted a divisor of {side}, the resolution"
    elif (side // patch) % 2 ** (levels - 1):
        yield (
            f"{where}.channel_mult: given {levels} levels, wanted fewer: {side} px in patches of {patch} "
            f"cannot be halved {levels - 1} times"
        )
    else:
        sides = [side // patch // 2**level for level in range(levels)]
        for px in attention:
            if px not in sides:
                yield f"{where}.attention_px: given {px}, wanted sides of its levels: {sides}"


class ToyNet(Strict):
    """A network of the 2D example and its size."""

    name: Annotated[Name, Registered("net")]
    width: Channels
    layers: Annotated[int, Field(gt=0, le=64)]


class _Levelled(Strict):
    """A U-Net: sides that are halved from level to level."""

    def _explicit(self) -> Sequence[int]:
        """The sides with attention, where they are given."""
        return getattr(self, "attention_px", None) or () if "attention_px" in self.model_fields_set else ()


class Edm2Net(_Levelled):
    """The EDM2 U-Net: a named size, or channels and the rest."""

    name: Literal["edm2"]
    size: Literal["XXS", "XS", "S", "M", "L", "XL", "XXL"] | None = None
    channels: Channels | None = None
    channel_mult: Annotated[list[Positive], Field(min_length=1, max_length=10)] | None = None
    blocks: Few = 3
    attention_px: Sides = (16, 8)
    patch_px: Pixels = 1
    lean: bool = False  # fewer blocks: for small nets
    dropout: Share = 0.0

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Size and channels both, or a shape that images do not have."""
        if (self.size is None) == (self.channels is None):
            yield f"{where}: given size {self.size!r} and channels {self.channels!r}, wanted one of them"
        mult = self.channel_mult or [1.0, 2.0, 3.0, 4.0]
        yield from _levels(where, side_of(e, where), self.patch_px, len(mult), self._explicit())
        for m in mult if self.channels else ():
            width = round((self.channels or 1) * m)
            if width < 1 or width > 65536 or width % max(width // _EDM2_HEAD, 1):
                yield f"{where}.channel_mult: given {m:g}, which makes {width} channels, wanted fewer than 64 or a multiple of 64"


class EdmNet(_Levelled):
    """The U-Nets of EDM (2022) and their preconditioning."""

    name: Literal["edm"]
    architecture: Literal["ddpmpp", "ncsnpp", "adm"]
    precond: Literal["edm", "vp", "ve", "iddpm"] = "edm"
    channels: Channels
    channel_mult: Mult
    blocks: Few
    attention_px: Sides = (16,)
    dropout: Share = 0.0
    augment_dim: Augment = 0

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """A shape that images do not have, or channels that its normalisation cannot group."""
        yield from _levels(where, side_of(e, where), 1, len(self.channel_mult), self._explicit())
        for m in self.channel_mult:
            groups = min(32, self.channels * m // 4)
            if groups == 0 or self.channels * m % groups:
                yield f"{where}.channels: given {self.channels} with channel_mult {m}, wanted multiples of 4, and of 32 above 128"
        if latent_mirrored(e, where) and self.augment_dim:
            yield f"{where}.augment_dim: given for a net on latents; a mirrored latent is not the latent of the mirrored image, wanted 0"


class AdmNet(_Levelled):
    """ADM's U-Net, with a learned variance."""

    name: Literal["adm"]
    channels: Channels
    channel_mult: Mult
    blocks: Few
    attention_px: Sides = (32, 16, 8)
    head_channels: Channels = 64
    schedule: Literal["linear", "cosine"] = "linear"
    dropout: Share = 0.0

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """A shape that images do not have, or channels that heads or groups do not divide."""
        side = side_of(e, where)
        yield from _levels(where, side, 1, len(self.channel_mult), self._explicit())
        yield from _adm_widths(where, self.channels, self.channel_mult, self.head_channels)


def _adm_widths(where: str, channels: int, mult: Sequence[int], head: int) -> Iterator[str]:
    for m in mult:
        width = channels * m
        if width % _GROUPS or width % max(width // head, 1):
            yield f"{where}.channels: given {channels} with channel_mult {m}, wanted a multiple of {_GROUPS} and of its heads' {head} channels"


class DitNet(Strict):
    """DiT: a transformer on patches of latents, with a learned variance."""

    name: Literal["dit"]
    width: Channels
    depth: Few
    heads: Few
    patch_px: Pixels = 2

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Patches that do not fit, and widths that heads or the position code do not divide."""
        side = side_of(e, where)
        if side > 1 and side % self.patch_px:
            yield f"{where}.patch_px: given {self.patch_px}, wanted a divisor of {side}, the resolution"
        if self.width % self.heads or self.width % 4:
            yield f"{where}.width: given {self.width} with {self.heads} heads, wanted a multiple of the heads and of 4"


class ClassifierNet(_Levelled):
    """A classifier or discriminator of images."""

    _later = frozenset({"schedule"})

    name: Literal["small_classifier", "small_discriminator", "adm_classifier", "adm_discriminator"]
    channels: Channels
    conditional: bool | None = None
    channel_mult: Mult | None = None
    blocks: Few | None = None
    attention_px: Sides | None = None
    schedule: Literal["linear", "cosine", "discrete"] | None = (
        None  # which time steps its noise levels become
    )

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """A shape that images do not have."""
        if self.name == "adm_discriminator":
            yield from _adm_widths(where, self.channels, self.channel_mult or [1], 64)
            return  # it works on the maps of its extractor
        small = self.name.startswith("small")
        mult = self.channel_mult or [1, 2]
        if small:  # its first level has half of the side
            side = side_of(e, where)
            if side > 1 and side % 2 ** len(mult):
                yield f"{where}.channel_mult: given {len(mult)} levels, wanted fewer: {side} px cannot be halved {len(mult)} times"
        elif self.channel_mult:
            yield from _levels(where, side_of(e, where), 1, len(mult), self._explicit())
            yield from _adm_widths(where, self.channels, mult, 64)


class FileNet(Strict):
    """A denoiser of images in a file of the user's: the file contains its architecture, and nothing is trained."""

    name: Literal["edm2", "edm", "adm", "dit"]
    file: Source


_PLUGIN_NAME = {
    "type": "string",
    "maxLength": 160,
    "not": {"enum": sorted(registry.NETS)},
}  # one of the other classes


class PluginNet(Strict):
    """A net of a user's own, with the options of its class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Annotated[Plug, Registered("net"), WithJsonSchema(_PLUGIN_NAME)]

    def problems(self, e: "Experiment", where: str) -> Iterator[str]:
        """Options that its class does not take."""
        try:
            registry.entry("net", self.name)
        except UserError:
            return  # it cannot be loaded: its annotation reports that
        of_images = {"resolution_px": 1, "image_channels": 1, "classes": 0} if e.images else {}
        wrong = registry.options_mistake(
            "net", self.name, self.model_extra or {}, **of_images, generator=None
        )
        if wrong:
            yield f"{where}: {self.name}: {wrong}"


def latent_mirrored(e: "Experiment", where: str) -> bool:
    """Whether the net at a place learns from latents, which cannot be mirrored."""
    kind, name = where.split(".")[:2]
    return getattr(e.dataset, "latent", None) is not None and not getattr(e, kind)[name].pixels


DENOISERS = ("edm2", "edm", "adm", "dit")  # of images
_IMAGE_NETS = {name: f"{UNION}{name}" for name in DENOISERS} | dict.fromkeys(
    ("small_classifier", "small_discriminator", "adm_classifier", "adm_discriminator"), f"{UNION}image"
)


def _by_name(value: Any) -> str | None:
    """Which class a net is of; None, which is refused, for a name that is not known."""
    if isinstance(value, FileNet) or (isinstance(value, dict) and "file" in value):
        return f"{UNION}file"
    name = str(value.get("name") if isinstance(value, dict) else getattr(value, "name", None))
    if name not in _IMAGE_NETS and (plugins.is_plugin(name) or name in plugins.installed("net")):
        return f"{UNION}plugin"
    return _IMAGE_NETS.get(name, f"{UNION}toy" if name.startswith("toy") else None)


Net = Annotated[
    Annotated[ToyNet, Tag(f"{UNION}toy")]
    | Annotated[Edm2Net, Tag(f"{UNION}edm2")]
    | Annotated[EdmNet, Tag(f"{UNION}edm")]
    | Annotated[AdmNet, Tag(f"{UNION}adm")]
    | Annotated[DitNet, Tag(f"{UNION}dit")]
    | Annotated[ClassifierNet, Tag(f"{UNION}image")]
    | Annotated[FileNet, Tag(f"{UNION}file")]
    | Annotated[PluginNet, Tag(f"{UNION}plugin")],
    Discriminator(_by_name),
]
