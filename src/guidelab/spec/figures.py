"""The figures of an experiment, each with what it needs."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from guidelab.spec.base import Metric, Name, Point, Positive, Size, Strict


def _ordered(window: list[float]) -> list[float]:
    x0, x1, y0, y1 = window
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"given {window}, wanted [x0, x1, y0, y1] with x0 < x1 and y0 < y1")
    return window


Window = Annotated[list[float], Field(min_length=4, max_length=4), AfterValidator(_ordered)]  # x0, x1, y0, y1


class Fig1(Strict):
    """Samples of the truth and of four samplers over the data's region."""

    arrays: ClassVar[bool] = True

    n: Size
    window: Window
    grid: Size
    closeup: Window | None = None
    train_seed: int
    panels: Annotated[list[Point], Field(min_length=1)]


class Fig2(Strict):
    """Close-up: densities, their ratio, trajectories."""

    arrays: ClassVar[bool] = True

    sigma: Positive
    window: Window
    grid: Size
    train_seed: int
    lines: Size
    panels: Annotated[list[Point], Field(min_length=2, max_length=2)]


class Fig9(Strict):
    """Learned densities and their ratios along sigma."""

    arrays: ClassVar[bool] = True

    sigmas: Annotated[list[Positive], Field(min_length=1)]
    window: Window
    grid: Size
    train_seed: int
    main: Name
    cfg: Name
    autog: Name


class Sweep(Strict):
    """Curves over the weight: everything measured."""

    arrays: ClassVar[bool] = False  # made of measurements alone


class DivergenceSigma(Strict):
    """Score mismatch, weights and their products along sigma."""

    arrays: ClassVar[bool] = False  # made of the divergences' rows

    points: Annotated[list[Point], Field(min_length=1, max_length=6)]


class DivergenceCalibration(Strict):
    """Every estimate beside its own truth."""

    arrays: ClassVar[bool] = False  # made of the divergences' rows


class DivergenceWeight(Strict):
    """Divergences against the weight, beside quality and diversity."""

    arrays: ClassVar[bool] = False  # made of the divergences' rows and of measurements

    variants: Annotated[list[Name], Field(min_length=1, max_length=8)]
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=2)]


_MAIN = ("cfg", "autog", "dg", "dg_autog")
LinePoint = tuple[float, Point]  # where on the axis, and what is measured there


class Weights(Strict):
    """FID and recall against the weight, for several variants of an experiment on images."""

    arrays: ClassVar[bool] = False  # made of measurements alone

    variants: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)] = _MAIN
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = (
        "fid@lite0",
        "fid@classifier",
        "recall@lite0",
        "recall@classifier",
    )


class PrecisionRecall(Strict):
    """Precision against recall along the weight."""

    arrays: ClassVar[bool] = False  # made of measurements alone

    variants: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)] = _MAIN
    features: Annotated[tuple[Name, ...], Field(min_length=1)] = ("lite0", "classifier")


class Lines(Strict):
    """Any numbers against anything: EMA length, guide, discriminator training, evaluations."""

    arrays: ClassVar[bool] = False  # made of measurements alone

    x_label: str
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=4)]
    lines: Annotated[dict[str, Annotated[list[LinePoint], Field(min_length=1)]], Field(min_length=1)]
    levels: dict[str, Point] = {}
    log_x: bool = False
    steps_differ: bool = False  # sampler steps may only differ in a figure about them


class Grid(Strict):
    """Samples of the same seeds side by side, a row for each point; with `labels`, of these classes only."""

    arrays: ClassVar[bool] = True

    points: Annotated[list[tuple[str, Point]], Field(min_length=1)]
    n: Size = 12
    train_seed: int = 0
    block: Name = "report1"
    labels: list[int] = []
    class_names: list[str] = []  # words for the labels


class Figures(Strict):
    """The figures of an experiment, each with what it needs."""

    fig1: Fig1 | None = None
    fig2: Fig2 | None = None
    fig9: Fig9 | None = None
    sweep: Sweep | None = None
    weights: Weights | None = None
    precision_recall: PrecisionRecall | None = None
    ema: Lines | None = None
    guides: Lines | None = None
    disc_training: Lines | None = None
    nfe: Lines | None = None
    grid: Grid | None = None
    variety: Grid | None = None
    divergence_sigma: DivergenceSigma | None = None
    divergence_calibration: DivergenceCalibration | None = None
    divergence_weight: DivergenceWeight | None = None
