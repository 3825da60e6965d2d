"""Look-ups for the findings: every variant at its own weight, rows of the report blocks at the main step count only."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
from scipy import stats

from guidelab.paper import metric_names, names, reported, summary, tuning

HEADLINE = (
    "js",
    "kl",
    "outliers_99",
    "recall",
)  # of points: what a variant without a choice of weight is judged by


class View(NamedTuple):
    """What methods are judged by: FID in a feature space, or, of points (`space` is empty), the metric that chose the weight."""

    space: str = ""

    def metric(self, name: str) -> str:
        """`recall` -> `recall@lite0`."""
        return f"{name}@{self.space}" if self.space else name


class Point(NamedTuple):
    """A variant at a weight."""

    variant: str
    w: float


class Comparison(NamedTuple):
    """Two points in one view; `against` is the side of the question that `before` stands for."""

    view: View
    against: str
    before: Point
    after: Point


class Evidence:
    """The report rows of an experiment with its chosen weights.

    Args:
        measurements: all rows, the choosing block too.
        selected: the chosen weights.
        info: workflow/resources/metrics.csv.
        mains: variant to `net/model` of what it guides, where an experiment has several; see `reported.baseline`.
    Raises:
        UserError: rows that may not be compared; see `reported.rows`.
    """

    def __init__(
        self,
        measurements: pd.DataFrame,
        selected: pd.DataFrame,
        info: pd.DataFrame,
        mains: Mapping[str, str] | None = None,
    ):
        self.measurements, self.selected, self.mains = measurements, selected, mains
        report = reported.sampled(reported.rows(measurements, selected))
        self.steps = reported.main_steps(measurements)
        self.rows = report[report["steps"] == self.steps]  # step counts are never compared
        self._of_metric = {str(m): part for m, part in self.rows.groupby("metric")}
        described = metric_names.describe(info, measurements["metric"])
        self.info: dict[str, dict[Any, Any]] = {str(m): r for m, r in described.to_dict("index").items()}
        spaces = metric_names.spaces(m for m in self.info if metric_names.base(m) == "fid")
        self.views = [View(space) for space in spaces] or [View()]
        self.variants = names.ordered(self.rows["variant"])

    @cached_property
    def swept(self) -> list[str]:
        """Variants measured at several weights."""
        return [v for v in self.variants if len(reported.weights(self.rows, v)) > 1]

    @cached_property
    def guided(self) -> dict[str, str]:
        """Guided variants that have an unguided one of the same net, with that one."""
        alone = reported.unguided(self.rows)
        pairs = {v: self.base(v) for v in self.variants if v not in alone}
        return {v: b for v, b in pairs.items() if b is not None}

    def base(self, variant: str) -> str | None:
        """No guidance of the net that a variant guides; None when it was not measured, or is this variant itself."""
        found = reported.baseline(self.rows, variant, self.mains)
        return found[0] if found and found[0] != variant else None

    def main(self, variant: str, view: View) -> str:
        """The metric a variant is judged by."""
        chose = list(reported.choices(self.selected, variant)) or [m for m in HEADLINE if m in self.info]
        return view.metric("fid") if view.space else next(iter(chose), "")

    def weight(self, variant: str, view: View) -> float:
        """The weight a variant is judged at: chosen in this view, else its only one; nan when there is neither."""
        w = reported.chosen(self.rows, self.selected, variant, self.main(variant, view))
        return float("nan") if w is None else w

    def point(self, variant: str, view: View) -> Point:
        """A variant at its own weight."""
        return Point(variant, self.weight(variant, view))

    def tuned(self, variant: str, view: View) -> bool:
        """Whether the metric that a variant is judged by chose its weight among several."""
        return tuning.swept(self.selected, variant, self.main(variant, view))

    def fair(self, c: Comparison) -> bool:
        """Whether the better of two may be named: of two guided variants only where the view chose the weights of both."""
        both = (c.before, c.after)
        rivals = c.before.variant != c.after.variant and all(p.variant in self.guided for p in both)
        own = [p.variant for p in both if p.w == self.weight(p.variant, c.view)]  # others a question names
        return not rivals or all(self.tuned(v, c.view) for v in own)

    def how_chosen(self, point: Point, view: View) -> str:
        """`the smallest tried`, `the largest tried`, `the only one tried`, or empty: of a guided variant at its own weight."""
        variant, w = point
        if variant not in self.guided or w != self.weight(variant, view):
            return ""
        if variant not in self.swept:
            return tuning.ONLY
        metric = self.main(variant, view)
        direction = str(self.info[metric]["direction"]) if metric in self.info else "lower"
        return tuning.edge(self.measurements, self.selected, variant, metric, direction, self.mains)

    def at(self, point: Point, metric: str) -> pd.DataFrame:
        """The rows of one metric at a point."""
        return reported.at_point(self._of_metric.get(metric, self.rows.iloc[:0]), *point)

    def measured(self, point: Point, metric: str) -> bool:
        """Whether a metric has rows at a point, sound or not."""
        return not self.at(point, metric).empty

    def difference(self, before: Point, after: Point, metric: str) -> summary.Difference:
        """One metric of two points; empty when there is nothing sound in common."""
        return summary.paired(*(summary.sound(self.at(point, metric)) for point in (before, after)))

    def outcome(self, before: Point, after: Point, metric: str) -> str:
        """`better`, `worse`, `no clear difference` or `not run`, of the second point."""
        return self.difference(before, after, metric).verdict(str(self.info[metric]["direction"]))

    def mean(self, point: Point, metric: str) -> float:
        """Mean over trainings and report blocks; nan when it cannot be trusted."""
        return summary.estimate(self.at(point, metric)).value

    def curve(self, variant: str, metric: str) -> dict[float, float]:
        """Weight to mean over all weights measured, ascending; nan where it cannot be trusted."""
        return {w: self.mean(Point(variant, w), metric) for w in reported.weights(self.rows, variant)}

    def neutral(self, variant: str) -> float:
        """The weight at which the variant adds nothing."""
        return float(self.rows.loc[self.rows["variant"] == variant, "w_neutral"].iloc[0])

    def guides(self, method: str) -> int:
        """How many different guides the variants of a method alone have."""
        mine = self.rows[self.rows["variant"].isin(names.kin(self.variants, method))]
        alone = mine[~mine["ref"].astype(str).str.contains("+", regex=False)]
        return int(alone["ref"].nunique())

    def best_on_choosing_block(self, variants: Iterable[str], view: View) -> str | None:
        """The variant whose own weight has the best main metric on the block that chose the weights, trainings in common."""
        chose = {str(b) for b in self.selected["selected_on"]}
        of_block = self.measurements["seed_block"].isin(chose) & (self.measurements["steps"] == self.steps)
        return self.best(self.measurements[of_block], [self.point(v, view) for v in variants], view)

    def best(self, rows: pd.DataFrame, points: list[Point], view: View, metric: str = "") -> str | None:
        """The variant of the point with the best mean in some rows, over the trainings that all points have."""
        return next(iter(self.ranked(rows, points, view, metric)), None)

    def ranked(self, rows: pd.DataFrame, points: list[Point], view: View, metric: str = "") -> list[str]:
        """The variants of points by their means, the best first, over the trainings that all points have."""
        trained = [set(reported.at_point(rows, *point)["train_seed"]) for point in points]
        common = rows[rows["train_seed"].isin(set.intersection(*trained) if trained else set())]
        found = {}
        for variant, w in points:
            name = metric or self.main(variant, view)
            e = summary.estimate(reported.at_point(common, variant, w, name))
            if e.status == summary.OK:
                found[variant] = e.value if self.info[name]["direction"] == "lower" else -e.value
        return sorted(found, key=lambda v: found[v])

    def rank_correlation(self, a: str, b: str) -> tuple[float, int]:
        """Spearman's correlation of two metrics over all points, and how many points."""
        both = [
            self._of_metric[m].groupby(["variant", "w"])["value"].mean()
            for m in (a, b)
            if m in self._of_metric
        ]
        joined = pd.concat(both, axis=1, join="inner").dropna() if len(both) == 2 else pd.DataFrame()
        if len(joined) < 3:
            return float("nan"), len(joined)
        return float(stats.spearmanr(joined.iloc[:, 0], joined.iloc[:, 1]).statistic), len(joined)
