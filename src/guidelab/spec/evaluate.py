"""Settings of the evaluation: sample blocks, metrics, and the block that selects the guidance weight."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from guidelab import registry
from guidelab.errors import closest
from guidelab.spec.base import Few, Many, Metric, Name, Seeds, SeedsPerJob, Steps, Strict
from guidelab.spec.data import ReleasedFold
from guidelab.spec.marks import Once, Ref, Registered
from guidelab.spec.mistakes import Mistake

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment


class Density(Strict):
    """Exact log-density by the probability-flow ODE: points per block and side, ODE steps."""

    n: Many
    steps: Steps


class Evaluate(Strict):
    """Which seeds, which numbers, and which block chooses the weight."""

    blocks: Annotated[dict[Name, Seeds], Field(min_length=2, max_length=100)]
    select_block: Annotated[Name, Ref("blocks")]
    select_metric: Annotated[
        list[Annotated[Metric, Ref("metrics")]], Field(min_length=1, max_length=50), Once()
    ]
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=500), Once()]
    neighbours: Few
    counts: Literal["equal", "all"] = (
        "equal"  # real images in precision, recall, KID: as many as generated, or all
    )
    density: Density | None = None
    seeds_per_job: SeedsPerJob = 8
    shard: Many = 1000  # images in a file
    label_policy: Literal["random"] | Annotated[int, Field(ge=0)] = "random"  # or one class of all samples

    def sizes(self) -> list[int]:
        """The samples of every block."""
        return [last - first + 1 for first, last in self.blocks.values()]

    def problems(self, e: "Experiment", where: str) -> Iterator[str | Mistake | None]:
        """Blocks of unequal size or too small, and metrics without what they need."""
        sizes, smallest = set(self.sizes()), min(self.sizes())
        if len(sizes) > 1:
            yield f"{where}.blocks: of {sorted(sizes)} samples; wanted blocks of equal size (several metrics depend on n)"
        if self.neighbours >= smallest:
            yield f"{where}.neighbours: given {self.neighbours}, wanted fewer than the {smallest} samples of a block"
        if self.density and self.density.n > smallest:
            yield f"{where}.density.n: given {self.density.n}, wanted at most the {smallest} samples of a block"
        classes = getattr(e.dataset, "classes", 0) if e.images else 0
        if isinstance(self.label_policy, int) and self.label_policy >= classes:
            yield f"{where}.label_policy: given {self.label_policy}, wanted random, or a class from 0 to {classes - 1} of a dataset of images"
        elif isinstance(self.label_policy, int) and not any(d.conditional for d in e.denoisers.values()):
            yield f"{where}.label_policy: given {self.label_policy}, wanted random: every net of this experiment is unconditional"
        for metric in self.metrics:
            yield from (
                self._metric(e, metric, where)
                if e.images
                else Registered("metric").problems(metric, e, f"{where}.metrics")
            )
        own = getattr(e.folds.get("reference"), "n", None) if self.counts == "equal" else None
        if e.images and own is not None and own < max(sizes):
            yield f"folds.reference.n: given {own}, wanted at least {max(sizes)}, the images of a block (KID, precision, recall), or {where}.counts: all"

    def _metric(self, e: "Experiment", metric: str, where: str) -> Iterator[str | Mistake | None]:
        name, _, features = metric.partition("@")
        yield from Registered("image metric").problems(name, e, f"{where}.metrics")
        if features not in e.features:
            yield (
                f"{where}.metrics: given {metric!r}, wanted features after the @: {name}@ and one of "
                f"{', '.join(e.features) or 'none is defined'}{closest(features, list(e.features))}"
            )
        space = e.features.get(features)
        fold = e.folds.get(space.reference) if space else None
        if name == "kid" and isinstance(fold, ReleasedFold):
            yield f"{where}.metrics: given {metric!r}, wanted a space whose reference is a fold of images, all of them: KID compares features, not statistics"


def measured(e: "Experiment") -> list[str]:
    """Everything an experiment measures: its metrics, and divergences where the density is exact."""
    return [*e.evaluate.metrics, *(registry.DIVERGENCES if e.evaluate.density else ())]
