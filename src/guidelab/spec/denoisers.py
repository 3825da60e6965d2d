"""Denoisers, how they are trained, and models: a denoiser at a training length and an EMA length."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from guidelab.spec.base import (
    Batch,
    EmaStd,
    Name,
    Number,
    Positive,
    Released,
    SeedsPerJob,
    Share,
    Size,
    Strict,
    TrainSeed,
)
from guidelab.spec.checkpoints import fits, lengths, row_of_kind
from guidelab.spec.marks import Once, Ref
from guidelab.spec.mistakes import Mistake, shown
from guidelab.spec.nets import DENOISERS, Net, PluginNet, latent_mirrored

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

Precision = Literal["float32", "bfloat16", "float16"]  # of nets on a GPU; on a CPU always float32
TrainSeeds = Annotated[list[TrainSeed], Field(min_length=1, max_length=1000), Once()]
KEPT = (
    24  # averages (snapshots times lengths) a post-hoc EMA needs: from 16 its profile was off by up to 13 %
)
CHAIN_NETS = ("adm", "dit")  # nets of the discrete chain
_SNAPSHOTS = 10_000  # files of averages that one training may keep


class Train(Strict):
    """How a denoiser is trained; `nimg` counts training examples seen."""

    _later = frozenset({"rampup_nimg", "microbatch", "loss", "label_dropout", "flip", "precision"})

    nimg: Size
    batch: Batch
    lr: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    decay_nimg: Size
    p_mean: Annotated[Number, Field(ge=-20, le=20)]
    p_std: Annotated[Positive, Field(le=20)]
    ema_stds: Annotated[list[EmaStd], Field(min_length=1, max_length=20), Once()]
    snapshot_nimg: Size
    seeds: TrainSeeds
    seeds_per_job: SeedsPerJob = 8
    rampup_nimg: Size | None = None  # images over which the learning rate rises from 0
    microbatch: Batch | None = None  # images in memory at once: gradients are accumulated over a batch
    loss: Literal["edm", "edm2", "vp"] | None = (
        None  # the net's own by default; `vp` does not use p_mean, p_std
    )
    label_dropout: Share = 0.0  # share of images whose class the net is not given
    flip: bool = False  # half of the images are mirrored
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _whole_batches(self) -> "Train":
        for key in ("nimg", "snapshot_nimg"):
            if getattr(self, key) % self.batch:
                raise ValueError(
                    f"{key} = {getattr(self, key)} is not a whole number of batches of {self.batch}"
                )
        if self.microbatch and self.batch % self.microbatch:
            raise ValueError(f"microbatch = {self.microbatch} does not divide batch = {self.batch}")
        if self.nimg % self.snapshot_nimg:
            raise ValueError(
                f"nimg = {self.nimg} is not a whole number of snapshots, one every {self.snapshot_nimg}"
            )
        if self.nimg // self.snapshot_nimg * len(self.ema_stds) > _SNAPSHOTS:
            raise ValueError(
                f"snapshot_nimg = {self.snapshot_nimg} keeps {self.nimg // self.snapshot_nimg} snapshots of "
                f"{len(self.ema_stds)} averages, wanted at most {_SNAPSHOTS} in all"
            )
        return self


class Denoiser(Strict):
    """A network to train: on some classes of the 2D data, or on images with or without their labels."""

    net: Net
    classes: Literal["A", "B", "AB"] | None = None
    conditional: bool | None = None
    pixels: bool = False  # works on pixels although the dataset has latents
    train: Train

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A net for other data, or one that has no trainer; mirrored latents."""
        if e.images:
            if self.conditional is None or self.classes is not None:
                yield f"{where}.conditional: wanted true or false, and no `classes`: this dataset has images"
            if self.net.name not in DENOISERS and not isinstance(self.net, PluginNet):
                yield f"{where}.net.name: given {self.net.name!r}, wanted {' or '.join(DENOISERS)}, a denoiser of images"
        elif self.classes is None or self.conditional is not None:
            yield f"{where}.classes: wanted A, B or AB, and no `conditional`: this dataset has no images"
        if not e.images:
            yield from self._points(where)
        if self.train.flip and latent_mirrored(e, where):
            yield f"{where}.train.flip: given for a net on latents; a mirrored latent is not the latent of the mirrored image, wanted none"

    def _points(self, where: str) -> Iterator[str]:
        """A net that is no denoiser of points, and options of trainings on images."""
        if self.net.name != "toy" and not isinstance(self.net, PluginNet):
            yield f"{where}.net.name: given {self.net.name!r}, wanted toy, or a net of plugins/: this dataset has points"
        for key in ("loss", "label_dropout", "flip", "precision"):
            if getattr(self.train, key) != Train.model_fields[key].default:
                yield f"{where}.train.{key}: given {getattr(self.train, key)!r}, wanted it left out: points have no labels and no sides, and are trained on their exact score in float32"


class Degrade(Strict):
    """A degradation at sampling time: dropout probability, or relative extra input noise."""

    dropout: Share = 0.0
    input_noise: Annotated[Number, Field(ge=0, le=100)] = 0.0


class Model(Strict):
    """A denoiser at a training length and an EMA length, degraded at sampling time where that is wanted.

    With `weights: released` the net is the released checkpoint; the rest says what it is, and how it is trained here.
    """

    denoiser: Annotated[Name, Ref("denoisers")]
    nimg: Size
    ema_std: EmaStd
    degrade: Degrade = Degrade()
    checkpoint: Released | None = None
    unlabelled: bool = False  # evaluated without a class, as the null class of DiT

    def content(self, e: "Experiment") -> Any:
        """What decides its numbers: two models of equal content are one net."""
        own = (self.nimg, self.ema_std, self.degrade, self.unlabelled)
        if self.checkpoint and e.weights == "released":
            return self.checkpoint, self.degrade, self.unlabelled
        denoiser = e.denoisers.get(self.denoiser)
        return denoiser.model_dump_json() if denoiser else self.denoiser, own

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Lengths that are not kept, degradations the net does not have, a checkpoint of something else."""
        yield from row_of_kind(f"{where}.checkpoint", self.checkpoint, ("net",))
        of = e.denoisers.get(self.denoiser)
        if of is None:
            return
        yield from self._kept(of.train, where)
        if self.degrade.dropout and of.net.name in CHAIN_NETS:
            yield f"{where}.degrade.dropout: given {self.degrade.dropout}, which a net {of.net.name} does not take; wanted input_noise, or a net edm or edm2"
        classes = getattr(e.dataset, "classes", None) if of.conditional else 0
        if e.images:
            yield from fits(
                e, f"{where}.checkpoint", self.checkpoint, of.net.name, e.seen(of.pixels, classes)
            )
            yield from lengths(
                e, where, self.checkpoint, self.nimg, self.ema_std, getattr(of.net, "size", None)
            )

    def _kept(self, train: Train, where: str) -> Iterator[str]:
        if self.nimg > train.nimg or self.nimg % train.snapshot_nimg:
            yield (
                f"{where}.nimg: given {self.nimg}, wanted a snapshot of {self.denoiser}: a multiple of "
                f"{train.snapshot_nimg} up to {train.nimg}"
            )
        if any(math.isclose(self.ema_std, std, abs_tol=1e-9) for std in train.ema_stds):
            return
        if len(train.ema_stds) < 2:
            yield (
                f"{where}.ema_std: given {self.ema_std}, wanted {train.ema_stds[0]}, the one EMA length kept of "
                f"{self.denoiser} (keep two or more in ema_stds to reconstruct others)"
            )
            return
        kept = self.nimg // train.snapshot_nimg * len(train.ema_stds)
        if kept < KEPT:
            yield (
                f"{where}.ema_std: given {self.ema_std}, to be reconstructed from the {kept} averages kept up to nimg "
                f"{self.nimg}, wanted at least {KEPT}, or one of {shown(train.ema_stds)}: from so few it becomes another length"
            )
