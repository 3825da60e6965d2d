"""All numbers of one set of 2D samples, chosen by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from guidelab.errors import UserError, closest
from guidelab.metrics import toy
from guidelab.metrics.frechet import frechet
from guidelab.metrics.manifold import ManifoldValues, manifold
from guidelab.metrics.value import NOT_ESTIMABLE, Value


@dataclass(frozen=True)
class ToyPoints:
    """Generated samples, reference samples, and their exact log-densities.

    Attributes:
        x: [n, 2] generated points.
        reference: [m, 2] exact data draws.
        log_p_a, log_p_b: [n] exact log-densities of the two classes at `x`; class A is the requested one.
        region_level: exact class-A log-density above which 99 % of the data lies (from many exact draws, once).
        branch_index: [n] most likely branch of each generated point (any index where x is not finite).
        branch_mass, branch_depth: [K] data mass and depth of each branch.
        k: neighbours of precision and recall.
        seed: of the bootstrap.
    """

    x: torch.Tensor
    reference: torch.Tensor
    log_p_a: torch.Tensor
    log_p_b: torch.Tensor
    region_level: float
    branch_index: torch.Tensor
    branch_mass: torch.Tensor
    branch_depth: torch.Tensor
    k: int
    seed: int

    def __post_init__(self) -> None:
        n = len(self.x)
        for name in ("log_p_a", "log_p_b", "branch_index"):
            if len(getattr(self, name)) != n:
                raise ValueError(
                    f"measure_points: {len(getattr(self, name))} {name} for {n} generated points"
                )

    @cached_property
    def finite(self) -> torch.Tensor:
        """[n] whether both coordinates are finite."""
        return torch.isfinite(self.x).all(dim=1)

    @cached_property
    def log_p(self) -> torch.Tensor:
        """[n] log_p_a, nan where the point itself is not finite."""
        return torch.where(self.finite, self.log_p_a, torch.nan)

    @cached_property
    def branch(self) -> torch.Tensor:
        """[n] branch of each point, -1 where it is not finite."""
        return torch.where(self.finite, self.branch_index.long(), -1)

    @cached_property
    def neighbours(self) -> ManifoldValues:
        """Precision and recall share their distances."""
        return manifold(generated=self.x, reference=self.reference, k=self.k)


METRICS: dict[str, Callable[[ToyPoints], Value]] = {
    "frechet": lambda p: frechet(generated=p.x, reference=p.reference, seed=p.seed),
    "precision": lambda p: p.neighbours.precision,
    "recall": lambda p: p.neighbours.recall,
    "density": lambda p: p.neighbours.density,
    "coverage": lambda p: p.neighbours.coverage,
    "mean_log_p": lambda p: toy.mean_log_p(p.log_p),
    "mean_log_p_clipped": lambda p: toy.mean_log_p_clipped(p.log_p),
    "median_log_p": lambda p: toy.median_log_p(p.log_p),
    "outliers_contour": lambda p: toy.outliers_contour(p.log_p),
    "outliers_99": lambda p: toy.outliers_99(p.log_p, threshold=p.region_level),
    "runaways": lambda p: toy.runaways(p.x),
    "mass_covered": lambda p: toy.mass_covered(p.branch, mass=p.branch_mass),
    "branches_empty": lambda p: toy.branches_empty(p.branch, mass=p.branch_mass),
    "branch_tv": lambda p: toy.branch_tv(p.branch, mass=p.branch_mass),
    "leaf_mass": lambda p: toy.leaf_mass(p.branch, depth=p.branch_depth),
    "class_wrong": lambda p: toy.class_wrong(log_p_a=p.log_p, log_p_b=p.log_p_b),
}
NEED_POINTS = (
    "frechet",
    "precision",
    "recall",
    "density",
    "coverage",
)  # undefined with hardly a finite point


def measure_points(
    x: torch.Tensor,
    *,
    reference: torch.Tensor,
    log_p_a: torch.Tensor,
    log_p_b: torch.Tensor,
    region_level: float,
    branch_index: torch.Tensor,
    branch_mass: torch.Tensor,
    branch_depth: torch.Tensor,
    k: int,
    seed: int,
    names: Iterable[str] = tuple(METRICS),
) -> list[tuple[str, Value]]:
    """The named metrics of one set of generated points, in the given order; see `ToyPoints` for the arguments.

    Metrics that need more finite points than there are come back as nan, `not estimable`, so that one failed
    sampler does not end the comparison with other samplers.

    Raises:
        UserError: a name that is no toy metric.
        ValueError: lengths that do not match, or masses that do not sum to one.
    """
    wanted = list(names)
    for name in wanted:
        if name not in METRICS:
            raise UserError(
                f"metric {name!r} is not one of {', '.join(METRICS)}{closest(name, list(METRICS))}"
            )
    points = ToyPoints(
        x, reference, log_p_a, log_p_b, region_level, branch_index, branch_mass, branch_depth, k, seed
    )
    alive = int(points.finite.sum())
    unmeasurable = Value(
        float("nan"), float("nan"), 0.0, f"{NOT_ESTIMABLE}: {alive} of {len(x)} points finite"
    )
    return [
        (name, unmeasurable if name in NEED_POINTS and alive <= max(k, 1) else METRICS[name](points))
        for name in wanted
    ]
