"""From rows to one number with its interval, and the difference of two; and what such intervals run over.

A row's `std_error` is over the generated samples of one block, the reference held fixed: an estimate from one training has
an interval over samples and says nothing of another training. With two trainings or more, intervals are Student's, over trainings.

A difference is formed block by block, on the same trainings and sample seeds. Shared noise makes its error smaller than that of
independent values: over one training it is formed of the parts of both errors (`paper.joint`), sample by sample. Where a number
has none, the errors are combined as if the points were independent, `sqrt(sum(a^2 + b^2)) / blocks`: wider than need be. The
block that chose a weight is left out even here: its difference is biased in favour of the chosen weight.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guidelab.paper import joint, reported
from guidelab.paper.intervals import alike, normal, over_blocks, over_samples, t_interval, t_test

TRAININGS, BLOCKS, SAMPLES, NOTHING = "trainings", "seed blocks", "samples", ""
OK, NOT_RUN, NOT_FINITE = "ok", "not run", "not finite"
NOT_ESTIMABLE, NOT_DEFINED = "not estimable", "not defined"
AS_UNPAIRED = "samples, errors combined as if unpaired"
PAIRED = "samples, paired"
BETTER, WORSE, UNCLEAR, EQUAL = "better", "worse", "no clear difference", "the same point"
Key = tuple[int, str]  # training seed, seed block
Sound = dict[Key, joint.Number]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval.

    Attributes:
        value: mean over trainings of the mean over report blocks; nan unless status is `ok`.
        lo: lower end; nan when there is nothing to compute an interval from.
        hi: upper end.
        over: what the interval runs over: `trainings`, `seed blocks`, `samples`, or empty.
        n_trainings: trainings averaged.
        n_blocks: report blocks averaged in each training.
        n_generated: samples in each block.
        status: `ok`, `not run`, `not estimable`, `not defined` (flagged, and the flag says so) or `not finite`.
        note: for the last three, in how many of the numbers, and the first reason given.
    """

    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    over: str = NOTHING
    n_trainings: int = 0
    n_blocks: int = 0
    n_generated: int = 0
    status: str = NOT_RUN
    note: str = ""


def estimate(rows: pd.DataFrame, *, share: bool = False) -> Estimate:
    """Summarise the rows of one (variant, w, metric): report blocks only, every training on the same blocks.

    At least two trainings: Student interval over trainings. One training, or equal values of all: normal interval from the
    standard errors of blocks, over samples; without standard errors, Student interval over two or more seed blocks.

    Args:
        rows: columns value, std_error, train_seed, seed_block, n_generated and, if any, note.
        rows flagged `not estimable`: half of them or more make the estimate so; fewer are counted in its note.
        share: the metric is a share of independent samples: 0 % and 100 % get the exact binomial interval, as
            their standard error of 0 is no interval.
    """
    if rows.empty:
        return Estimate()
    values = rows["value"].to_numpy(np.float64)
    means = rows.groupby("train_seed", sort=True)["value"].mean().to_numpy(np.float64)
    n_blocks, n_generated = int(rows["seed_block"].nunique()), int(rows["n_generated"].iloc[0])
    size: dict[str, Any] = {"n_trainings": len(means), "n_blocks": n_blocks, "n_generated": n_generated}
    flags = notes(rows)[notes(rows).str.startswith(NOT_ESTIMABLE)]
    reason = str(flags.iloc[0]).removeprefix(NOT_ESTIMABLE).strip(": ") if len(flags) else ""
    caution = f"in {len(flags)} of {len(rows)} numbers: {reason}" if len(flags) else ""
    # A heavy tail shows in most numbers; one flag among ten is what the rule gives a sound mean now and then, and
    # the interval over trainings sees it.
    if 2 * len(flags) >= len(rows):
        status = NOT_DEFINED if flags.str.contains(NOT_DEFINED).all() else NOT_ESTIMABLE
        return Estimate(**size, status=status, note=caution)
    infinite = int((~np.isfinite(values)).sum())
    if infinite:
        return Estimate(**size, status=NOT_FINITE, note=f"in {infinite} of {len(rows)} numbers")
    value = float(means.mean())
    errors = rows["std_error"].to_numpy(np.float64)
    known = bool(np.isfinite(errors).all())
    if len(means) >= 2 and not (known and alike(means)):
        return Estimate(value, *t_interval(means), TRAININGS, **size, status=OK, note=caution)
    if known:
        common = bool(rows[joint.COMMON].any()) if joint.COMMON in rows else False
        ends = over_samples(value, errors, n_generated, share, common)
        return Estimate(value, *ends, SAMPLES, **size, status=OK, note=caution)
    if n_blocks >= 2:
        return Estimate(value, *t_interval(values), BLOCKS, **size, status=OK, note=caution)
    return Estimate(value, **size, status=OK, note=caution)


def notes(rows: pd.DataFrame) -> pd.Series:
    """The note of every row as text, empty where there is none."""
    if "note" not in rows.columns:
        return pd.Series("", index=rows.index, dtype=str)
    return rows["note"].fillna("").astype(str)


@dataclass(frozen=True)
class Difference:
    """How a metric differs between two points, `after` minus `before`, on common trainings, blocks and seeds.

    Attributes:
        value: mean over trainings of the mean over blocks; nan when there is nothing sound in common.
        lo: lower end of the 95 % interval; nan without one.
        hi: upper end.
        over: `trainings`, `seed blocks`, PAIRED, AS_UNPAIRED, or empty.
        n_trainings: trainings both have.
        least: smallest difference of a single block and training.
        most: largest.
        before: mean of the first point over what both have.
        after: mean of the second.
        down: trainings in which the value fell.
        up: in which it rose.
        p: two-sided p-value of no difference, of the distribution that makes the interval; nan without one.
    """

    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    over: str = NOTHING
    n_trainings: int = 0
    least: float = math.nan
    most: float = math.nan
    before: float = math.nan
    after: float = math.nan
    down: int = 0
    up: int = 0
    p: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """The interval leaves out 0."""
        return self.lo > 0 or self.hi < 0

    @property
    def clear(self) -> bool:
        """The interval leaves out 0, and every single block and training has the sign of the mean."""
        return (self.lo > 0 and self.least > 0) or (self.hi < 0 and self.most < 0)

    def verdict(self, direction: str) -> str:
        """`better`, `worse` or `no clear difference`; `more` and `less` for a metric without a direction."""
        if math.isnan(self.value):
            return NOT_RUN
        if self.least == self.most == 0:
            return EQUAL
        if not self.clear:
            return UNCLEAR
        if direction not in ("lower", "higher"):
            return "more" if self.value > 0 else "less"
        return BETTER if (self.value < 0) == (direction == "lower") else WORSE


def paired(a: Sound, b: Sound) -> Difference:
    """The difference of two points, given the values of each that can be trusted."""
    both = sorted(set(a) & set(b))
    if not both:
        return Difference()
    gap = np.asarray([b[key].value - a[key].value for key in both])
    by_training = _by_training(both, gap)
    mean = float(by_training.mean())
    lo, hi, p, over = math.nan, math.nan, math.nan, NOTHING
    found = joint.errors([(a[key], b[key]) for key in both])
    errors, how = (found, PAIRED) if found is not None else (_unpaired(a, b, both), AS_UNPAIRED)
    known = bool(np.isfinite(errors).all())
    if len(by_training) >= 2 and not (known and alike(by_training)):
        (lo, hi), p, over = t_interval(by_training), t_test(by_training), TRAININGS
    elif known:
        (lo, hi), p = normal(mean, over_blocks(errors, any(a[key].common or b[key].common for key in both)))
        over = how
    elif len(gap) >= 2:
        (lo, hi), p, over = t_interval(gap), t_test(gap), BLOCKS
    before, after = (
        float(_by_training(both, np.asarray([side[key].value for key in both])).mean()) for side in (a, b)
    )
    down, up = int((by_training < 0).sum()), int((by_training > 0).sum())
    least, most = float(gap.min()), float(gap.max())
    return Difference(mean, lo, hi, over, len(by_training), least, most, before, after, down, up, p)


def _unpaired(a: Sound, b: Sound, keys: list[Key]) -> NDArray[np.float64]:
    """The standard error of the difference in each block, of two points that share nothing."""
    return np.asarray([math.hypot(a[key].error, b[key].error) for key in keys])


def _by_training(keys: list[Key], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the blocks of each training."""
    seeds = np.asarray([seed for seed, _ in keys])
    return np.asarray([values[seeds == seed].mean() for seed in np.unique(seeds)])


def sound(rows: pd.DataFrame) -> Sound:
    """The number of every training and block of a point whose value can be trusted; none where `estimate` has no value."""
    if estimate(rows).status != OK:
        return {}
    flags = notes(rows)
    parts = rows[joint.PARTS] if joint.PARTS in rows else [None] * len(rows)
    common = rows[joint.COMMON] if joint.COMMON in rows else [False] * len(rows)
    columns = (rows[c] for c in ("train_seed", "seed_block", "value", "std_error"))
    return {
        (int(seed), str(block)): joint.Number(float(value), float(error), vector, bool(one))
        for seed, block, value, error, flag, vector, one in zip(*columns, flags, parts, common, strict=True)
        if math.isfinite(value) and not flag.startswith(NOT_ESTIMABLE)
    }


def lowest(rows: pd.DataFrame, variant: str, w: float, metric: str) -> tuple[float, int]:
    """The papers' way to report: the least of all blocks of a training, the choosing one too, mean over trainings.

    Returns:
        the value and how many blocks a training has (nan and 0 without rows); optimistic by construction.
    """
    return least(sound(reported.at_point(rows, variant, w, metric)))


def least(at: Sound) -> tuple[float, int]:
    """`lowest` of a point, given its values that can be trusted."""
    if not at:
        return math.nan, 0
    by_training: dict[int, list[float]] = {}
    for (seed, _), number in at.items():
        by_training.setdefault(seed, []).append(number.value)
    found = [min(values) for values in by_training.values()]
    return sum(found) / len(found), min(len(values) for values in by_training.values())
