"""Settings of each figure: its points, metrics, axis windows and trainings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from guidelab.errors import closest
from guidelab.spec.base import (
    Label,
    Many,
    Metric,
    Name,
    Number,
    Pixels,
    Point,
    Sigma,
    Strict,
    TrainSeed,
    format_weight,
    listed,
    split_point,
)
from guidelab.spec.look import nets_known, seeds_of, undrawable
from guidelab.spec.marks import Once, PointRef, Ref
from guidelab.spec.mistakes import Mistake, unknown

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


def _ordered(window: list[float]) -> list[float]:
    x0, x1, y0, y1 = window
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"given {window}, wanted [x0, x1, y0, y1] with x0 < x1 and y0 < y1")
    return window


Window = Annotated[
    list[Number], Field(min_length=4, max_length=4), AfterValidator(_ordered)
]  # x0, x1, y0, y1
Panel = Annotated[Point, PointRef()]
Metrics = Annotated[tuple[Metric, ...], BeforeValidator(listed), Field(min_length=1, max_length=20), Once()]
_Variants = tuple[Annotated[Name, Ref("variants")], ...]
Variants = Annotated[_Variants, BeforeValidator(listed), Field(min_length=1, max_length=8), Once()]


class Figure(Strict):
    """One figure: the arrays it needs, and whether it is of the 2D example or of images."""

    arrays: ClassVar[bool] = (
        False  # made of rows alone; otherwise a job evaluates nets or collects samples for it
    )

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Points and metrics that there are not."""
        for metric in getattr(self, "metrics", ()):
            if e.images and metric not in e.evaluate.metrics:
                yield f"{where}.metrics: given {metric!r}, wanted one of evaluate.metrics{closest(metric, e.evaluate.metrics)}"

    def _points(self, e: "Experiment", where: str, points: list[str]) -> Iterator[str]:
        known = e.points
        for point in points:
            if (point if "/" in point else f"{point}/{format_weight(1.0)}") not in known:
                yield f"{where}: given {point!r}, wanted a point of a sweep{closest(point, list(known))}"


class Map(Figure):
    """A picture of the plane of the 2D example, of one training."""

    arrays: ClassVar[bool] = True
    train_seed: TrainSeed

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A training that not every net has."""
        variants = [v for v in e.variants.values() if nets_known(e, v)]
        shared = set.intersection(*(set(seeds_of(e, v)) for v in variants)) if variants else {self.train_seed}
        if self.train_seed not in shared:
            yield f"{where}.train_seed: given {self.train_seed}, wanted one of {sorted(shared)}, which every net has"
        yield from undrawable(e, where, self._drawn(e))

    def _drawn(self, e: "Experiment") -> Iterator[str]:
        """The models whose densities it draws, of those that there are."""
        yield from ()


class Fig1(Map):
    """Samples of the truth and of four samplers over the data's region."""

    n: Many
    window: Window
    grid: Pixels
    closeup: Window | None = None
    train_seed: TrainSeed
    panels: Annotated[list[Panel], Field(min_length=1, max_length=20)]


class Fig2(Map):
    """Close-up: densities, their ratio, trajectories."""

    sigma: Sigma
    window: Window
    grid: Pixels
    train_seed: TrainSeed
    lines: Annotated[int, Field(gt=0, le=100_000)]
    panels: Annotated[list[Panel], Field(min_length=2, max_length=2)]

    def _drawn(self, e: "Experiment") -> Iterator[str]:
        variants = (e.variants.get(split_point(point)[0]) for point in self.panels)
        for variant in variants:
            if variant and nets_known(e, variant):
                yield from (variant.main, *(term.ref for term in variant.guide if term.ref))


class Fig9(Map):
    """Learned densities and their ratios along sigma."""

    sigmas: Annotated[list[Sigma], Field(min_length=1, max_length=20)]
    window: Window
    grid: Pixels
    train_seed: TrainSeed
    main: Annotated[Name, Ref("models")]
    cfg: Annotated[Name, Ref("models")]
    autog: Annotated[Name, Ref("models")]

    def _drawn(self, e: "Experiment") -> Iterator[str]:
        for model in (self.main, self.cfg, self.autog):
            if model in e.models and e.models[model].denoiser in e.denoisers:
                yield model


class Sweep(Figure):
    """Curves over the weight: quality, diversity and divergences of the variants of one group."""

    group: Label | None = None  # by default the variants without a group
    compared_with: Annotated[
        _Variants, BeforeValidator(listed), Field(max_length=8), Once()
    ] = ()  # drawn again for comparison

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A group of no variant."""
        yield from super().problems(e, where)
        if self.group:
            groups = dict.fromkeys(v.group for v in e.variants.values() if v.group)
            yield unknown(f"{where}.group", self.group, "the `group` of a variant", groups)


class Planes(Figure):
    """Quality against diversity along the weight, of the variants without a group."""


class OfDivergences(Figure):
    """A figure made of the rows of divergences."""

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Divergences that are not estimated."""
        yield from super().problems(e, where)
        if e.divergences is None:
            yield f"{where}: is made of `divergences`, which is not given"


class DivergenceSigma(OfDivergences):
    """Score mismatch, weights and their products along sigma."""

    points: Annotated[list[Point], Field(min_length=1, max_length=6), Once()]

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Points without a grader."""
        yield from super().problems(e, where)
        grader = e.discriminators.get(e.divergences.grader) if e.divergences else None
        for point in self.points if grader and grader.role == "grade" else ():
            yield unknown(f"{where}.points", point, "a graded point", grader.points if grader else [])


class DivergenceCalibration(OfDivergences):
    """Every estimate against its exact value."""


class DivergenceWeight(OfDivergences):
    """Divergences against the weight, next to quality and diversity."""

    variants: Annotated[list[Annotated[Name, Ref("variants")]], Field(min_length=1, max_length=8), Once()]
    metrics: Annotated[list[Annotated[Metric, Ref("metrics")]], Field(min_length=1, max_length=2), Once()]


_MAIN = ("cfg", "autog", "dg", "dg_autog")
LinePoint = Annotated[
    tuple[Number, Point], BeforeValidator(listed)
]  # where on the axis, and what is measured there
GridPoint = Annotated[tuple[Label, Point], BeforeValidator(listed)]


class Weights(Figure):
    """FID and recall against the weight, for several variants of an experiment on images."""

    variants: Variants = _MAIN
    metrics: Metrics = (
        "fid@lite0",
        "fid@classifier",
        "recall@lite0",
        "recall@classifier",
    )


class PrecisionRecall(Figure):
    """Precision against recall along the weight."""

    variants: Variants = _MAIN
    features: Annotated[
        tuple[Name, ...], BeforeValidator(listed), Field(min_length=1, max_length=8), Once()
    ] = (
        "lite0",
        "classifier",
    )


class Lines(Figure):
    """Any numbers against anything: EMA length, guide, discriminator training, evaluations."""

    x_label: Label
    metrics: Annotated[Metrics, Field(max_length=4)]
    lines: Annotated[
        dict[Label, Annotated[list[LinePoint], Field(min_length=1, max_length=1000)]],
        Field(min_length=1, max_length=50),
    ]
    levels: Annotated[dict[Label, Point], Field(max_length=50)] = {}
    log_x: bool = False
    steps_differ: bool = False  # sampler steps may only differ in a figure about them

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Points that no sweep has, and positions that a logarithmic axis has not."""
        yield from super().problems(e, where)
        points = [point for line in self.lines.values() for _, point in line]
        yield from self._points(e, where, [*points, *self.levels.values()])
        for name, line in self.lines.items() if self.log_x else ():
            for x, _ in line:
                if x <= 0:
                    yield f"{where}.lines.{name}: given {x} on a logarithmic axis, wanted a positive number"


class Grid(Figure):
    """Samples of the same seeds side by side, a row for each point; with `labels`, of these classes only."""

    arrays: ClassVar[bool] = True

    points: Annotated[list[GridPoint], Field(min_length=1, max_length=50)]
    n: Annotated[int, Field(gt=0, le=1000)] = 12
    train_seed: TrainSeed = 0
    block: Annotated[Name, Ref("blocks")] = "report1"
    labels: Annotated[list[Annotated[int, Field(ge=0)]], Once(), Field(max_length=100)] = []
    class_names: Annotated[list[Label], Field(max_length=100_000)] = []  # words for the labels

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Points, classes and trainings that there are not; more images than a block has."""
        yield from self._points(e, where, [point for _, point in self.points])
        classes = getattr(e.dataset, "classes", 0)
        for label in self.labels:
            if e.images and not 0 <= label < classes:
                yield f"{where}.labels: given {label}, wanted classes from 0 to {classes - 1}"
        for _, point in self.points:
            variant = e.variants.get(point.partition("/")[0])
            if variant and nets_known(e, variant):
                trained: Any = variant.train_seeds or seeds_of(e, variant)
                if self.train_seed not in trained:
                    yield f"{where}.train_seed: given {self.train_seed}, which {point} has not; it has {trained}"
