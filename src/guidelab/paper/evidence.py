"""Paired comparisons the story is told from: the same trainings, two points, report blocks only."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from guidelab.paper import reported, summary


@dataclass(frozen=True)
class Change:
    """What going from one point to another did to a metric, training by training.

    Attributes:
        before: mean at the first point over the trainings both have.
        after: mean at the second point.
        down: trainings in which the value fell. up: in which it rose.
        n: trainings compared.
        lo: lower end of the 95 % Student interval of the mean difference; nan for one training.
        hi: upper end.
    """

    before: float
    after: float
    down: int
    up: int
    n: int
    lo: float
    hi: float

    @property
    def clear(self) -> bool:
        """The interval of the difference leaves out 0."""
        return self.lo > 0 or self.hi < 0


def change(
    rows: pd.DataFrame, before: tuple[str, float], after: tuple[str, float], metric: str
) -> Change | None:
    """Compare two points (variant, w) on the trainings that both have; None when there are none."""
    a, b = (by_training(rows, variant, w, metric) for variant, w in (before, after))
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return None
    difference = [b[s] - a[s] for s in seeds]
    lo, hi = summary.t_interval(difference) if len(seeds) > 1 else (float("nan"), float("nan"))
    n = len(seeds)
    return Change(
        before=sum(a[s] for s in seeds) / n,
        after=sum(b[s] for s in seeds) / n,
        down=sum(d < 0 for d in difference),
        up=sum(d > 0 for d in difference),
        n=n,
        lo=lo,
        hi=hi,
    )


def weights(rows: pd.DataFrame, variant: str) -> list[float]:
    """The weights a variant has report rows at, ascending."""
    return sorted(float(w) for w in rows.loc[rows["variant"] == variant, "w"].unique())


def means(rows: pd.DataFrame, variant: str, metric: str) -> list[tuple[float, float]]:
    """(w, mean over trainings) at every weight where all trainings have a sound number."""
    found = []
    for w in weights(rows, variant):
        e = summary.estimate(reported.at_point(rows, variant, w, metric))
        if e.status == summary.OK:
            found.append((w, e.value))
    return found


def chosen_weight(selected: pd.DataFrame, variant: str) -> tuple[float, str] | None:
    """The selected weight of a variant and the metric that chose it; None when nothing was selected."""
    mine = selected[(selected["variant"] == variant) & (selected["n_candidates"].astype(int) > 1)]
    return None if mine.empty else (float(mine["w"].iloc[0]), str(mine["metric"].iloc[0]))


def by_training(rows: pd.DataFrame, variant: str, w: float, metric: str) -> dict[int, float]:
    """Mean over report blocks for each training seed; trainings with a flagged or infinite number are left out."""
    found = reported.at_point(rows, variant, w, metric)
    bad = summary.notes(found).str.startswith(summary.NOT_ESTIMABLE) | ~np.isfinite(
        found["value"].astype(float)
    )
    good = found[~found["train_seed"].isin(found.loc[bad, "train_seed"])]
    return {
        int(str(seed)): float(part["value"].mean()) for seed, part in good.groupby("train_seed", sort=True)
    }
