"""The typed form of params.yaml: every key, its type and its meaning. No logic beyond one key's own sense."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from guidelab.spec.base import (
    Metric,
    Name,
    Point,
    Positive,
    Released,
    Seeds,
    Size,
    Strict,
    TrainSeeds,
    Weight,
)
from guidelab.spec.data import Dataset, Extractor, Fold, ImageDataset
from guidelab.spec.divergences import Divergences
from guidelab.spec.figures import Figures
from guidelab.spec.nets import Net
from guidelab.spec.samplers import AnySampler, Sampling

Precision = Literal["float32", "bfloat16", "float16"]  # of nets on a GPU; on a CPU always float32
Scale = Literal["full", "reduced", "ci", "smoke"]


class Train(Strict):
    """How a denoiser is trained; `nimg` counts training examples seen."""

    _later = frozenset({"rampup_nimg", "microbatch", "loss", "label_dropout", "flip", "precision"})

    nimg: Size
    batch: Size
    lr: Positive
    decay_nimg: Size
    p_mean: float
    p_std: Positive
    ema_stds: Annotated[list[Annotated[float, Field(gt=0, lt=0.2886)]], Field(min_length=1)]
    snapshot_nimg: Size
    seeds: TrainSeeds
    seeds_per_job: Size = 8
    rampup_nimg: Size | None = None  # images over which the learning rate rises from 0
    microbatch: Size | None = None  # images in memory at once: gradients are accumulated over a batch
    loss: Literal["edm", "edm2", "vp"] | None = (
        None  # the net's own by default; `vp` does not use p_mean, p_std
    )
    label_dropout: Annotated[float, Field(ge=0, lt=1)] = (
        0.0  # share of images whose class the net is not told
    )
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
        return self


class Denoiser(Strict):
    """A network to train: on some classes of the 2D data, or on images with or without their labels."""

    net: Net
    classes: Literal["A", "B", "AB"] | None = None
    conditional: bool | None = None
    pixels: bool = False  # works on pixels although the dataset has latents
    train: Train


class Degrade(Strict):
    """A degradation at sampling time: dropout probability, or relative extra input noise."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_noise: Annotated[float, Field(ge=0)] = 0.0


class Model(Strict):
    """A denoiser at a training length and an EMA length, degraded at sampling time if asked.

    With `weights: released` the net is the released checkpoint; the rest says what it is, and how it is trained here.
    """

    denoiser: Name
    nimg: Size
    ema_std: Annotated[float, Field(gt=0, lt=0.2886)]
    degrade: Degrade = Degrade()
    checkpoint: Released | None = None
    unlabelled: bool = False  # asked without a class, as the null class of DiT


class Generated(Strict):
    """The generated side of a discriminator: which sampler (none for graders: each has its own), which seeds."""

    variant: Point | None = None
    seeds: Seeds


class DiscriminatorTrain(Strict):
    """How a discriminator is trained; `validation` and `test` are shares held out of both sides."""

    _later = frozenset({"cached_draws", "weight_decay", "precision"})

    lr: Positive
    batch: Size
    iterations: Size
    evaluate_every: Size
    patience: Size
    sigma_min: Positive
    sigma_max: Annotated[float, Field(ge=0, allow_inf_nan=False)]  # 0: no noise, a classifier of clean images
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    seed: int
    cached_draws: Size | None = None  # noisy features kept of each image, where the extractor is frozen
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _is_evaluated(self) -> "DiscriminatorTrain":
        if self.evaluate_every > self.iterations:
            raise ValueError(
                f"evaluate_every = {self.evaluate_every} is more than iterations = {self.iterations}"
            )
        return self


class Discriminator(Strict):
    """A discriminator that guides, a family of them that grade one sampler each, or a classifier of images.

    Roles: `guide` and `grade` tell real from generated; `classifier` knows classes at every noise level (a frozen
    feature extractor for guides, and classifier guidance); `features` is a classifier of clean images, for metrics.
    """

    role: Literal["guide", "grade", "classifier", "features"]
    net: Net
    real: Name
    generated: Generated | None = None
    extractor: Name | None = None  # the classifier whose frozen features it sees
    train: DiscriminatorTrain
    points: list[Point] = []
    train_seeds: TrainSeeds | None = None
    checkpoint: Released | None = None
    pixels: bool = False  # works on pixels although the dataset has latents

    @model_validator(mode="after")
    def _has_both_sides(self) -> "Discriminator":
        if self.role in ("guide", "grade") and self.generated is None:
            raise ValueError(f"generated: is missing; wanted a value, as its role is to {self.role}")
        if self.role in ("classifier", "features") and self.generated is not None:
            raise ValueError(
                f"generated: given for the role {self.role!r}, which learns classes of real images"
            )
        return self

    @property
    def drawn(self) -> Generated:
        """The generated side of a guide or grader."""
        assert self.generated is not None  # checked on construction
        return self.generated


class Term(Strict):
    """One guidance term; `weight` fixes it, otherwise the variant's `weights` sweep it."""

    _later = frozenset({"iterations", "boost"})

    method: Name
    ref: Name | None = None
    disc: Name | None = None
    weight: Weight | None = None
    sigma_lo: Annotated[float, Field(ge=0)] = 0.0
    sigma_hi: Positive | None = None
    stages: Literal["both", "first"] = "both"
    iterations: Size | None = None  # the guide after so many iterations, instead of at its best held-out loss
    boost: bool = False  # the discriminator-guidance paper's boosting


def _listed(value: Any) -> Any:
    """One term may be written without the list."""
    return [value] if isinstance(value, dict) else value


class Variant(Strict):
    """A main model, its guidance and the weights to sweep."""

    main: Name
    guide: Annotated[list[Term], BeforeValidator(_listed, json_schema_input_type=Term | list[Term])] = []
    weights: Annotated[list[Weight], Field(min_length=1)] | None = None
    train_seeds: TrainSeeds | None = None
    steps: Annotated[int, Field(ge=2)] | None = None  # instead of sampler.steps; never compared across
    sampler: AnySampler | None = None  # instead of the experiment's
    real: Name | None = None  # a fold's images in the place of samples: what perfect samples would get


class Density(Strict):
    """Exact log-density by the probability-flow ODE: points per block and side, ODE steps."""

    n: Size
    steps: Annotated[int, Field(ge=2)]


class Evaluate(Strict):
    """Which seeds, which numbers, and which block chooses the weight."""

    blocks: Annotated[dict[Name, Seeds], Field(min_length=2)]
    select_block: Name
    select_metric: Annotated[list[Metric], Field(min_length=1)]
    metrics: Annotated[list[Metric], Field(min_length=1)]
    neighbours: Size
    counts: Literal["equal", "all"] = (
        "equal"  # real images in precision, recall, KID: as many as generated, or all
    )
    density: Density | None = None
    seeds_per_job: Size = 8
    shard: Size = 1000  # images in a file
    label_policy: Literal["random"] = "random"


class Paper(Strict):
    """What is printed: the rows at the paper's weights, and the figures."""

    headline: list[Point]
    figures: Figures
    published: dict[Point, list[str]] = {}  # the rows of published.csv that a point is to reproduce
    published_experiment: Name | None = None  # whose rows; by default this experiment's


class Experiment(Strict):
    """One experiment, complete after `extends` has been resolved."""

    scale: Scale  # the paper's sizes, or less; `ci` and `smoke` are for tests, their numbers mean nothing
    dataset: Dataset
    folds: dict[Name, Fold]
    denoisers: Annotated[dict[Name, Denoiser], Field(min_length=1)]
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    discriminators: dict[Name, Discriminator] = {}
    features: dict[Name, Extractor] = {}
    sampler: AnySampler
    sampling: Sampling = Sampling()
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    evaluate: Evaluate
    divergences: Divergences | None = None
    paper: Paper
    weights: Literal["released", "trained"] = (
        "trained"  # of every model and discriminator that names a checkpoint
    )

    @property
    def images(self) -> bool:
        """Whether it is about images, with features in the place of coordinates."""
        return isinstance(self.dataset, ImageDataset)


class Spec(Strict):
    """All of params.yaml."""

    default: Annotated[list[Name], Field(min_length=1)]
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
