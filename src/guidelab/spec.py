"""The typed form of params.yaml: every key, its type and its meaning. No logic beyond one key's own sense."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _size(value: Any) -> Any:
    """`16Mi` -> 16777216; other values pass through to the type check."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", value) if isinstance(value, str) else None
    return int(match[1]) * _BINARY[match[2]] if match else value


def _range(value: Any) -> Any:
    """`0-4095` -> (0, 4095), both ends included."""
    match = re.fullmatch(r"(\d+)-(\d+)", value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | str), Field(gt=0)]
Seeds = Annotated[tuple[int, int], BeforeValidator(_range, json_schema_input_type=str)]
Point = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(/w\d+\.\d{2})?$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, lt=1000, allow_inf_nan=False)]  # it names files: w1.40
TrainSeeds = Annotated[list[int], Field(min_length=1)]


class Strict(BaseModel):
    """Unknown keys are refused and types are not guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Dataset(Strict):
    """The distribution to learn: a registered name and the classes the main net sees."""

    name: Name
    classes: Literal["A", "B"] = "A"


class Fold(Strict):
    """One set of real data: how many, and the seed that draws them."""

    n: Size
    seed: int


class Net(Strict):
    """A registered network and its size."""

    name: Name
    width: Size
    layers: Size


class Train(Strict):
    """How a denoiser is trained; `nimg` counts training examples seen."""

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

    @model_validator(mode="after")
    def _whole_batches(self) -> "Train":
        for key in ("nimg", "snapshot_nimg"):
            if getattr(self, key) % self.batch:
                raise ValueError(
                    f"{key} = {getattr(self, key)} is not a whole number of batches of {self.batch}"
                )
        if self.nimg % self.snapshot_nimg:
            raise ValueError(
                f"nimg = {self.nimg} is not a whole number of snapshots, one every {self.snapshot_nimg}"
            )
        return self


class Denoiser(Strict):
    """A network to train."""

    net: Net
    classes: Literal["A", "B", "AB"]
    train: Train


class Degrade(Strict):
    """A degradation at sampling time: dropout probability, or relative extra input noise."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_noise: Annotated[float, Field(ge=0)] = 0.0


class Model(Strict):
    """A denoiser at a training length and an EMA length, degraded at sampling time if asked."""

    denoiser: Name
    nimg: Size
    ema_std: Annotated[float, Field(gt=0, lt=0.2886)]
    degrade: Degrade = Degrade()


class Generated(Strict):
    """The generated side of a discriminator: which sampler (none for graders: each has its own), which seeds."""

    variant: Point | None = None
    seeds: Seeds


class DiscriminatorTrain(Strict):
    """How a discriminator is trained; `validation` and `test` are shares held out of both sides."""

    lr: Positive
    batch: Size
    iterations: Size
    evaluate_every: Size
    patience: Size
    sigma_min: Positive
    sigma_max: Positive
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    seed: int


class Discriminator(Strict):
    """A discriminator that guides, or a family of them that grade one sampler each."""

    role: Literal["guide", "grade"]
    net: Net
    real: Name
    generated: Generated
    train: DiscriminatorTrain
    points: list[Point] = []
    train_seeds: TrainSeeds | None = None


class Sampler(Strict):
    """The sampler and its noise levels (EDM schedule)."""

    name: Name
    steps: Annotated[int, Field(ge=2)]
    sigma_min: Positive
    sigma_max: Positive
    rho: Positive
    dtype: Literal["float32", "float64"]


class Term(Strict):
    """One guidance term; `weight` fixes it, otherwise the variant's `weights` sweep it."""

    method: Name
    ref: Name | None = None
    disc: Name | None = None
    weight: Weight | None = None
    sigma_lo: Annotated[float, Field(ge=0)] = 0.0
    sigma_hi: Positive | None = None
    stages: Literal["both", "first"] = "both"


def _listed(value: Any) -> Any:
    """One term may be written without the list."""
    return [value] if isinstance(value, dict) else value


class Variant(Strict):
    """A main model, its guidance and the weights to sweep."""

    main: Name
    guide: Annotated[list[Term], BeforeValidator(_listed, json_schema_input_type=Term | list[Term])] = []
    weights: Annotated[list[Weight], Field(min_length=1)] | None = None
    train_seeds: TrainSeeds | None = None


class Density(Strict):
    """Exact log-density by the probability-flow ODE: points per block and side, ODE steps."""

    n: Size
    steps: Annotated[int, Field(ge=2)]


class Evaluate(Strict):
    """Which seeds, which numbers, and which block chooses the weight."""

    blocks: Annotated[dict[Name, Seeds], Field(min_length=2)]
    select_block: Name
    select_metric: Annotated[list[Name], Field(min_length=1)]
    metrics: Annotated[list[Name], Field(min_length=1)]
    neighbours: Size
    density: Density | None = None
    seeds_per_job: Size = 8


def _ordered(window: list[float]) -> list[float]:
    x0, x1, y0, y1 = window
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"given {window}, wanted [x0, x1, y0, y1] with x0 < x1 and y0 < y1")
    return window


Window = Annotated[list[float], Field(min_length=4, max_length=4), AfterValidator(_ordered)]  # x0, x1, y0, y1


class Fig1(Strict):
    """Samples of the truth and of four samplers over the data's region."""

    n: Size
    window: Window
    grid: Size
    closeup: Window | None = None
    train_seed: int
    panels: Annotated[list[Point], Field(min_length=1)]


class Fig2(Strict):
    """Close-up: densities, their ratio, trajectories."""

    sigma: Positive
    window: Window
    grid: Size
    train_seed: int
    lines: Size
    panels: Annotated[list[Point], Field(min_length=2, max_length=2)]


class Fig9(Strict):
    """Learned densities and their ratios along sigma."""

    sigmas: Annotated[list[Positive], Field(min_length=1)]
    window: Window
    grid: Size
    train_seed: int
    main: Name
    cfg: Name
    autog: Name


class Sweep(Strict):
    """Curves over the weight: everything measured."""


class Figures(Strict):
    """The figures of an experiment, each with what it needs."""

    fig1: Fig1 | None = None
    fig2: Fig2 | None = None
    fig9: Fig9 | None = None
    sweep: Sweep | None = None


class Paper(Strict):
    """What is printed: the rows at the paper's weights, and the figures."""

    headline: list[Point]
    figures: Figures


class Experiment(Strict):
    """One experiment, complete after `extends` has been resolved."""

    scale: Name
    dataset: Dataset
    folds: dict[Name, Fold]
    denoisers: Annotated[dict[Name, Denoiser], Field(min_length=1)]
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    discriminators: dict[Name, Discriminator] = {}
    sampler: Sampler
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    evaluate: Evaluate
    paper: Paper


class Spec(Strict):
    """All of params.yaml."""

    default: Annotated[list[Name], Field(min_length=1)]
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]


def format_weight(w: float) -> str:
    """`w1.40`: the one way a weight is written in a path."""
    return f"w{w:.2f}"


def split_point(point: str) -> tuple[str, str | None]:
    """`cfg/w4.00` -> ("cfg", "w4.00"); `none` -> ("none", None)."""
    variant, _, w = point.partition("/")
    return variant, w or None
