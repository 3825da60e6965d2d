"""Look-ups the story is told from: each variant at the weight its own feature space chose, report blocks only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from scipy import stats

from guidelab.paper import metric_names, names, reported, summary


@dataclass(frozen=True)
class Gap:
    """FID of one variant against another in one feature space, each at its own weight."""

    space: str
    before: str
    after: str
    gap: summary.Difference
    direction: str = "lower"


class Findings:
    """The report rows of an image experiment with its chosen weights.

    Args:
        measurements: all rows, the choosing block too.
        selected: the chosen weights.
        info: workflow/resources/metrics.csv.
        mains: variant to `net/model` of what it guides, where an experiment has several; see `reported.baseline`.
    """

    def __init__(
        self,
        measurements: pd.DataFrame,
        selected: pd.DataFrame,
        info: pd.DataFrame,
        mains: Mapping[str, str] | None = None,
    ):
        self.measurements, self.selected, self.mains = measurements, selected, mains
        self.all_rows = reported.rows(measurements, selected)
        self.steps = reported.main_steps(measurements)
        self.rows = self.all_rows[self.all_rows["steps"] == self.steps]  # step counts are never compared
        self._of_metric = {str(m): part for m, part in self.rows.groupby("metric")}
        self.info: dict[str, dict[Any, Any]] = {
            str(m): r for m, r in metric_names.describe(info, measurements["metric"]).to_dict("index").items()
        }
        self.spaces = metric_names.spaces(m for m in self.info if metric_names.base(m) == "fid")
        self.variants = names.ordered(self.rows["variant"])

    @cached_property
    def swept(self) -> list[str]:
        """Variants measured at several weights."""
        weights = self.rows.groupby("variant")["w"].nunique()
        return [v for v in self.variants if weights[v] > 1]

    def base(self, variant: str) -> str | None:
        """No guidance of the net that a variant guides; None when it was not measured, or is this variant itself."""
        if not self.mains:
            return "none"
        found = reported.baseline(self.rows, variant, self.mains)
        return found[0] if found and found[0] != variant else None

    @cached_property
    def guided(self) -> dict[str, str]:
        """Guided variants that have an unguided one of the same net, with that one."""
        alone = reported.unguided(self.rows)
        pairs = {v: self.base(v) for v in self.variants if v not in alone}
        return {v: b for v, b in pairs.items() if b is not None}

    def label(self, variant: str) -> str:
        """A variant in words."""
        return names.label(variant)

    def space(self, name: str) -> str:
        """A feature space in running text."""
        return f"{metric_names.features_short(name)} features"

    def has(self, *variants: str) -> bool:
        """Whether all of these were measured."""
        return all(v in self.variants for v in variants)

    def weight(self, variant: str, space: str) -> float:
        """The weight a variant is told at in a feature space."""
        w = reported.chosen(self.rows, self.selected, variant, f"fid@{space}")
        return float("nan") if w is None else w

    def at(self, variant: str, space: str) -> str:
        """`CFG, w = 2`."""
        return names.point_label(f"{variant}/w{self.weight(variant, space):.2f}")

    def difference(self, before: str, after: str, space: str, metric: str) -> summary.Difference:
        """One metric of two variants at their own weights; empty when it was not measured in this space."""
        name = f"{metric}@{space}"
        points = [(v, self.weight(v, space)) for v in (before, after)]
        return (
            summary.difference(self.rows, points[0], points[1], name)
            if name in self.info
            else summary.Difference()
        )

    def gap(self, before: str, after: str, space: str) -> Gap:
        """FID of two variants at their own weights."""
        return Gap(space, before, after, self.difference(before, after, space, "fid"))

    def mean(self, variant: str, w: float, metric: str) -> float:
        """Mean over trainings and report blocks; nan when it cannot be trusted."""
        rows = self._of_metric.get(metric, self.rows.iloc[:0])
        return summary.estimate(reported.at_point(rows, variant, w, metric)).value

    def curve(self, variant: str, space: str) -> dict[float, float]:
        """Weight to FID over all weights measured, ascending."""
        weights = sorted(self.rows.loc[self.rows["variant"] == variant, "w"].unique())
        return {float(w): self.mean(variant, float(w), f"fid@{space}") for w in weights}

    def neutral(self, variant: str) -> float:
        """The weight at which the variant adds nothing."""
        return float(self.rows.loc[self.rows["variant"] == variant, "w_neutral"].iloc[0])

    def tried(self, variant: str) -> int:
        """How many weights a variant was measured at."""
        return int(self.rows.loc[self.rows["variant"] == variant, "w"].nunique())

    def guides(self, start: str) -> int:
        """How many different guides the variants whose name starts so have, combinations aside."""
        named = self.rows["variant"].isin(names.kin(self.rows["variant"], start))
        mine = self.rows[named & ~self.rows["ref"].astype(str).str.contains("+", regex=False)]
        return int(mine["ref"].nunique())

    def best_on_choosing_block(self, variants: Iterable[str], space: str) -> str | None:
        """The variant whose chosen weight has the lowest FID on the block that chose the weights, trainings in common."""
        chose = {str(b) for b in self.selected["selected_on"]}
        rows = self.measurements[
            self.measurements["seed_block"].isin(chose) & (self.measurements["steps"] == self.steps)
        ]
        found, named = {}, list(variants)
        seeds = [set(rows.loc[rows["variant"] == v, "train_seed"]) for v in named]
        rows = rows[rows["train_seed"].isin(set.intersection(*seeds) if seeds else set())]
        for variant in named:
            e = summary.estimate(
                reported.at_point(rows, variant, self.weight(variant, space), f"fid@{space}")
            )
            if e.status == summary.OK:
                found[variant] = e.value
        return min(found, key=lambda v: found[v]) if found else None

    def rank_correlation(self, a: str, b: str, metric: str = "fid") -> tuple[float, int]:
        """Spearman's correlation of a metric in two feature spaces over all points, and how many points."""
        sides = [
            self.rows[self.rows["metric"] == f"{metric}@{space}"].groupby(["variant", "w"])["value"].mean()
            for space in (a, b)
        ]
        both = pd.concat(sides, axis=1, join="inner").dropna()
        if len(both) < 3:
            return float("nan"), len(both)
        return float(stats.spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic), len(both)
