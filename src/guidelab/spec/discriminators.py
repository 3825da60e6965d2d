"""Discriminators (roles guide, grade) and classifiers in params.yaml: their training data, and data they may not share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from guidelab.spec.base import (
    Batch,
    CheckpointName,
    Decay,
    Few,
    Many,
    Name,
    Number,
    Point,
    Positive,
    Seed,
    Seeds,
    Strict,
    split_point,
)
from guidelab.spec.checkpoints import fits, row_of_kind, rows
from guidelab.spec.data import same_images
from guidelab.spec.denoisers import Precision, TrainSeeds
from guidelab.spec.look import nets_known, of_role, seeds_of
from guidelab.spec.marks import Once, PointRef, Ref, Registered
from guidelab.spec.mistakes import Mistake
from guidelab.spec.nets import Net

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment

_MADE_OF = {"guide": ("discriminator",), "classifier": ("classifier", "extractor_classifier")}
_NET = {
    "guide": "discriminator",
    "grade": "discriminator",
    "classifier": "classifier",
    "features": "classifier",
}


class Generated(Strict):
    """The generated side of a discriminator: which sampler (none for graders: each has its own), which seeds."""

    variant: Annotated[Point, PointRef()] | None = None
    seeds: Seeds


class DiscriminatorTrain(Strict):
    """How a discriminator is trained; `validation` and `test` are shares held out of both sides."""

    _later = frozenset({"cached_draws", "weight_decay", "precision"})

    lr: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
    batch: Batch
    iterations: Many
    evaluate_every: Many
    patience: Annotated[int, Field(gt=0, le=1_000_000)]
    sigma_min: Positive
    sigma_max: Annotated[Number, Field(ge=0)]  # 0: no noise, a classifier of clean images
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    seed: Seed
    cached_draws: Few | None = None  # noisy features kept of each image, where the extractor is frozen
    weight_decay: Decay = 0.0
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

    Roles: `guide` and `grade` distinguish real from generated; `classifier` predicts classes at every noise level (a frozen
    feature extractor for guides, and classifier guidance); `features` is a classifier of clean images, for metrics.
    """

    role: Literal["guide", "grade", "classifier", "features"]
    net: Net
    real: Annotated[Name, Ref("folds")]
    generated: Generated | None = None
    extractor: Name | None = None  # the classifier whose frozen features it sees
    train: DiscriminatorTrain
    points: Annotated[list[Annotated[Point, PointRef()]], Once(), Field(max_length=1000)] = []
    train_seeds: TrainSeeds | None = None
    checkpoint: CheckpointName | None = None
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

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """A net, a checkpoint or sides that do not fit its role; what graders and guides may not share."""
        yield from Registered("net").problems(self.net.name, e, f"{where}.net.name")
        yield from self._sides(where)
        if self.train.sigma_min >= self.train.sigma_max and self.role != "features":
            yield f"{where}.train.sigma_min: given {self.train.sigma_min}, wanted less than sigma_max"
        if not e.images:
            if self.role not in ("guide", "grade"):
                yield f"{where}.role: given {self.role!r}, wanted guide or grade: there are no images to classify"
        else:
            yield from self._images(e, where)
            yield from self._checkpoint(e, where)
        yield from self._apart(e, where)
        yield from self._trained(e, where)

    def _sides(self, where: str) -> Iterator[str]:
        if self.role == "guide" and self.drawn.variant is None:
            yield f"{where}.generated.variant: is missing; a guide is trained on one sampler's samples"
        if self.role == "grade" and (self.drawn.variant is not None or not self.points):
            yield f"{where}: a grader takes its samplers from `points` (a list), not from generated.variant"

    def _images(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """What only a discriminator or classifier of images can have."""
        if self.role == "grade" and self.extractor is not None:
            yield f"{where}.extractor: given {self.extractor!r}, wanted none: a grader learns from pixels, and shares nothing with a guide"
        elif self.extractor is not None:
            yield from self._beneath(e, where)
        if self.train.cached_draws and self.extractor is None:
            yield f"{where}.train.cached_draws: given {self.train.cached_draws}, but there is no frozen extractor to keep features of"
        if self.role == "features" and self.train.sigma_max > 0:
            yield f"{where}.train.sigma_max: given {self.train.sigma_max}, wanted 0.0: features are of clean images"
        if self.net.name == "adm_discriminator" and self.extractor is None:
            yield f"{where}.extractor: is missing; wanted a discriminator of role classifier: this net is a head on its features"
        if not self.net.name.endswith(_NET[self.role]):
            yield f"{where}.net.name: given {self.net.name!r}, wanted a {_NET[self.role]} for the role {self.role!r}"

    def _beneath(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """The frozen classifier: of its role, of other images unless it is released, on the same pixels or latents."""
        problem = of_role(e, f"{where}.extractor", self.extractor or "", "classifier")
        yield problem
        if problem:
            return
        below = e.discriminators[self.extractor or ""]
        released = below.checkpoint is not None and e.weights == "released"
        if not released and _common(e, below.real, self.real):
            yield (
                f"{where}.real: given {self.real!r}, which holds images that its extractor {self.extractor!r} was trained on: "
                "it would be evaluated on its training images; wanted another fold"
            )
        if e.weights == "released" and self.checkpoint and not below.checkpoint:
            yield f"{where}.checkpoint: is a head on {self.extractor!r}, which is not released; wanted a checkpoint there too"
        if getattr(e.dataset, "latent", None) is not None and below.pixels != self.pixels:
            yield (
                f"{where}.extractor: {self.extractor!r} {e.works(below.pixels)}, but the head on it "
                f"{e.works(self.pixels)}; wanted both on the same (`pixels` of their entries)"
            )

    def _checkpoint(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        place = f"{where}.checkpoint"
        yield from row_of_kind(place, self.checkpoint, _MADE_OF.get(self.role, ()))
        row = rows().get(self.checkpoint or "")
        own = row is not None and row.kind == "classifier"  # a guide's extractor may have other classes
        classes = getattr(e.dataset, "classes", None) if own else None
        yield from fits(e, place, self.checkpoint, self.net.name, e.seen(self.pixels, classes))

    def _apart(self, e: "Experiment", where: str) -> Iterator[str]:
        """A grader shares no real data and no seed with what guides, or it grades what it has taught."""
        if self.role != "grade":
            return
        for name, other in e.discriminators.items():
            if other.role == "grade":
                continue
            teaches = other.role in ("guide", "classifier") and _common(e, other.real, self.real)
            if other.real == self.real or teaches:
                yield (
                    f"{where}.real: given {self.real!r}, which holds data of {other.real!r}, the fold of {name!r}; "
                    "a grader shares no real data with a guide"
                )
            if other.train.seed == self.train.seed:
                yield f"{where}.train.seed: given {self.train.seed}, the seed of {name!r}; a grader is seeded apart from a guide"

    def _trained(self, e: "Experiment", where: str) -> Iterator[str]:
        """A grader's training seeds must be those of the samplers it grades: any other seed has no samples."""
        if self.role != "grade" or not self.train_seeds:
            return
        trained: set[int] = set()
        for point in self.points:
            variant = e.variants.get(split_point(point)[0])
            if variant is None or not nets_known(e, variant):
                continue
            seeds = variant.train_seeds or seeds_of(e, variant)
            trained |= set(seeds)
            if not set(seeds) & set(self.train_seeds):
                yield f"{where}.train_seeds: given {self.train_seeds}, none of which {point!r} is trained with; wanted some of {seeds}"
        for seed in self.train_seeds:
            if trained and seed not in trained:
                yield f"{where}.train_seeds: given {seed}, which grades nothing; wanted some of {sorted(trained)}, or leave it out"


def _common(e: "Experiment", a: str, b: str) -> bool:
    """Whether two folds, by name, hold common data."""
    one, other = e.folds.get(a), e.folds.get(b)
    return a == b or (one is not None and other is not None and same_images(one, other))


def cycles(e: "Experiment") -> Iterator[str]:
    """A guide trained on samples that need that guide, directly or through other guides, can never be built."""
    for start in e.discriminators:
        came_from: dict[str, str] = {}
        left = [start]
        while left and start not in came_from:
            here = left.pop()
            for disc in _uses(e, e.discriminators[here]):
                if disc in e.discriminators and disc not in came_from:
                    came_from[disc] = here
                    left.append(disc)
        if start in came_from:
            trail = [start, came_from[start]]
            while trail[-1] != start:
                trail.append(came_from[trail[-1]])
            yield f"discriminators.{start}: needs itself: {' -> '.join(reversed(trail))} (its samples are guided by it)"


def _uses(e: "Experiment", disc: Discriminator) -> list[Any]:
    source = disc.generated.variant if disc.generated else None
    variant = split_point(source)[0] if source else None
    terms = e.variants[variant].guide if variant in e.variants else []
    return [t.disc for t in terms if t.disc]
