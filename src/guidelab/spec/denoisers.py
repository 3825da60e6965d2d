"""Denoisers, their training, and models: a denoiser at a training length and an EMA length."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from guidelab.spec.base import (
    Batch,
    CheckpointName,
    EmaStd,
    Name,
    Number,
    Positive,
    SeedsPerJob,
    Share,
    Size,
    Strict,
    TrainSeed,
)
from guidelab.spec.checkpoints import fits, lengths, row_of_kind
from guidelab.spec.marks import Once, Ref
from guidelab.spec.mistakes import Mistake, shown
from guidelab.spec.nets import DENOISERS, FileNet, Net, PluginNet, latent_mirrored

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
    train: Train | None = None  # not needed where every model of it is a file or a released checkpoint

    @property
    def seeds(self) -> list[int]:
        """Its training seeds; a pretrained net counts as seed 0."""
        return list(self.train.seeds) if self.train else [0]

    @property
    def file(self) -> str | None:
        """The user's file that holds it; None where it is trained or released."""
        return self.net.file if isinstance(self.net, FileNet) else None

    def _trained(self, e: "Experiment", where: str) -> Iterator[str]:
        """A recipe of training where none is followed, or none where one is needed."""
        if isinstance(self.net, FileNet):
            if self.train:
                yield f"{where}.train: given for the file {self.net.file}, wanted none: it is not trained here"
            if not e.images:
                yield f"{where}.net.file: given, wanted a net of the 2D example: files are nets of images"
            return
        own = [m for m in e.models.values() if m.denoiser == where.rpartition(".")[2]]
        trained = not own or e.weights == "trained" or any(m.checkpoint is None for m in own)
        if self.train is None and trained:
            yield f"{where}.train: is missing; wanted how it is trained (or `net.file`, or weights: released and checkpoints)"

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
        yield from self._trained(e, where)
        if self.train and self.train.flip and latent_mirrored(e, where):
            yield f"{where}.train.flip: given for a net on latents; a mirrored latent is not the latent of the mirrored image, wanted none"

    def _points(self, where: str) -> Iterator[str]:
        """A net that is no denoiser of points, and options of trainings on images."""
        if self.net.name != "toy" and not isinstance(self.net, PluginNet):
            yield f"{where}.net.name: given {self.net.name!r}, wanted toy, or a net of plugins/: this dataset has points"
        for key in ("loss", "label_dropout", "flip", "precision"):
            if self.train and getattr(self.train, key) != Train.model_fields[key].default:
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
    nimg: Size | None = None  # both are needed where the net is trained here
    ema_std: EmaStd | None = None
    degrade: Degrade = Degrade()
    checkpoint: CheckpointName | None = None
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
        yield from self._lengths(e, of, where)
        if self.degrade.dropout and of.net.name in CHAIN_NETS:
            yield f"{where}.degrade.dropout: given {self.degrade.dropout}, which a net {of.net.name} does not take; wanted input_noise, or a net edm or edm2"
        classes = getattr(e.dataset, "classes", None) if of.conditional else 0
        if e.images:
            yield from fits(
                e, f"{where}.checkpoint", self.checkpoint, of.net.name, e.seen(of.pixels, classes)
            )

    def _lengths(self, e: "Experiment", of: Denoiser, where: str) -> Iterator[str]:
        """Lengths that are missing, not kept, or others than those of a released file."""
        if of.file is not None and self.checkpoint:
            yield f"{where}.checkpoint: given together with the file {of.file} of {self.denoiser}, wanted one of them"
        if of.train is not None:
            for key in ("nimg", "ema_std"):
                if getattr(self, key) is None:
                    yield f"{where}.{key}: is missing; wanted that of a snapshot of {self.denoiser}"
        if self.nimg is None or self.ema_std is None:
            return
        if of.train is not None:
            yield from self._kept(of.train, self.nimg, self.ema_std, where)
        if e.images:
            size = getattr(of.net, "size", None)
            yield from lengths(e, where, self.checkpoint, self.nimg, self.ema_std, size)

    def _kept(self, train: Train, nimg: int, ema_std: float, where: str) -> Iterator[str]:
        if nimg > train.nimg or nimg % train.snapshot_nimg:
            yield (
                f"{where}.nimg: given {nimg}, wanted a snapshot of {self.denoiser}: a multiple of "
                f"{train.snapshot_nimg} up to {train.nimg}"
            )
        if any(math.isclose(ema_std, std, abs_tol=1e-9) for std in train.ema_stds):
            return
        if len(train.ema_stds) < 2:
            yield (
                f"{where}.ema_std: given {ema_std}, wanted {train.ema_stds[0]}, the one EMA length kept of "
                f"{self.denoiser} (keep two or more in ema_stds to reconstruct others)"
            )
            return
        kept = nimg // train.snapshot_nimg * len(train.ema_stds)
        if kept < KEPT:
            yield (
                f"{where}.ema_std: given {ema_std}, to be reconstructed from the {kept} averages kept up to nimg "
                f"{nimg}, wanted at least {KEPT}, or one of {shown(train.ema_stds)}: from so few it becomes another length"
            )
