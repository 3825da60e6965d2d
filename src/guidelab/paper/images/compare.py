"""Numbers of image experiments that may be printed together, and differences between two points on common seeds.

A row's `std_error` is over the generated images of one block, the reference held fixed: an estimate from one training has
an interval over samples and says nothing of another training. With two trainings or more, intervals are Student's, over trainings.

A difference is formed block by block, on the same trainings and sample seeds. Shared noise makes its error smaller than that of
independent values: over one training it is formed of the parts of both errors (`paper.joint`), sample by sample. Where a number
has none, the errors are combined as if the points were independent, `sqrt(sum(a^2 + b^2)) / blocks`: wider than need be. The
block that chose a weight is left out even here: its difference is biased in favour of the chosen weight.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from guidelab.errors import UserError
from guidelab.paper import checks, joint, names, summary
from guidelab.paper.images import wording

Key = tuple[int, str]  # training seed, seed block
Sound = dict[Key, joint.Number]
AS_UNPAIRED = "samples, errors combined as if unpaired"
PAIRED = "samples, paired"
BETTER, WORSE, UNCLEAR, EQUAL = "better", "worse", "no clear difference", "the same point"
# What must be equal, besides checks.COMPARABLE, wherever numbers stand in one column.
SAMPLED = ("steps", "sampler", "dtype")


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
        p: two-sided p-value of no difference, of the distribution that makes the interval; nan without one.
    """

    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan
    over: str = summary.NOTHING
    n_trainings: int = 0
    least: float = math.nan
    most: float = math.nan
    before: float = math.nan
    after: float = math.nan
    p: float = math.nan

    @property
    def clear(self) -> bool:
        """The interval leaves out 0, and every single block and training has the sign of the mean."""
        return (self.lo > 0 and self.least > 0) or (self.hi < 0 and self.most < 0)

    def verdict(self, direction: str) -> str:
        """`better`, `worse` or `no clear difference`; `more` and `less` for a metric without a direction."""
        if math.isnan(self.value):
            return summary.NOT_RUN
        if self.least == self.most == 0:
            return EQUAL
        if not self.clear:
            return UNCLEAR
        if direction not in ("lower", "higher"):
            return "more" if self.value > 0 else "less"
        return BETTER if (self.value < 0) == (direction == "lower") else WORSE


def difference(
    rows: pd.DataFrame, before: tuple[str, float], after: tuple[str, float], metric: str
) -> Difference:
    """Compare two points (variant, w) of report rows; see the module for what the interval covers."""
    return paired(*(sound(summary.at_point(rows, *point, metric)) for point in (before, after)))


def paired(a: Sound, b: Sound) -> Difference:
    """The difference of two points, given the values of each that can be trusted."""
    both = sorted(set(a) & set(b))
    if not both:
        return Difference()
    gap = np.asarray([b[key].value - a[key].value for key in both])
    by_training = _by_training(both, gap)
    mean = float(by_training.mean())
    lo, hi, p, over = math.nan, math.nan, math.nan, summary.NOTHING
    found = joint.errors([(a[key], b[key]) for key in both])
    errors, how = (found, PAIRED) if found is not None else (_unpaired(a, b, both), AS_UNPAIRED)
    if len(by_training) >= 2:
        (lo, hi), p, over = summary.t_interval(by_training), summary.t_test(by_training), summary.TRAININGS
    elif np.isfinite(errors).all():
        error = float(np.linalg.norm(errors)) / len(gap)
        half = float(stats.norm.ppf(0.5 + summary.LEVEL / 2)) * error
        lo, hi, over = mean - half, mean + half, how
        p = float(2 * stats.norm.sf(abs(mean) / error)) if error > 0 else float(mean == 0)
    elif len(gap) >= 2:
        (lo, hi), p, over = summary.t_interval(gap), summary.t_test(gap), summary.BLOCKS
    before, after = (
        float(_by_training(both, np.asarray([side[key].value for key in both])).mean()) for side in (a, b)
    )
    least, most = float(gap.min()), float(gap.max())
    return Difference(mean, lo, hi, over, len(by_training), least, most, before, after, p)


def _unpaired(a: Sound, b: Sound, keys: list[Key]) -> NDArray[np.float64]:
    """The standard error of the difference in each block, of two points that share nothing."""
    return np.asarray([math.hypot(a[key].error, b[key].error) for key in keys])


def _by_training(keys: list[Key], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the blocks of each training."""
    seeds = np.asarray([seed for seed, _ in keys])
    return np.asarray([values[seeds == seed].mean() for seed in np.unique(seeds)])


def sound(rows: pd.DataFrame) -> Sound:
    """The number of every training and block of a point whose value can be trusted."""
    flags = summary.notes(rows)
    parts = rows[joint.PARTS] if joint.PARTS in rows else [None] * len(rows)
    columns = (rows[c] for c in ("train_seed", "seed_block", "value", "std_error"))
    return {
        (int(seed), str(block)): joint.Number(float(value), float(error), vector)
        for seed, block, value, error, flag, vector in zip(*columns, flags, parts, strict=True)
        if math.isfinite(value) and not flag.startswith(summary.NOT_ESTIMABLE)
    }


def lowest(rows: pd.DataFrame, variant: str, w: float, metric: str) -> tuple[float, int]:
    """The papers' way to report: the least of all blocks of a training, the choosing one too, mean over trainings.

    Returns:
        the value and how many blocks a training has (nan and 0 without rows); optimistic by construction.
    """
    return least(sound(summary.at_point(rows, variant, w, metric)))


def least(at: Sound) -> tuple[float, int]:
    """`lowest` of a point, given its values that can be trusted."""
    if not at:
        return math.nan, 0
    by_training: dict[int, list[float]] = {}
    for (seed, _), number in at.items():
        by_training.setdefault(seed, []).append(number.value)
    found = [min(values) for values in by_training.values()]
    return sum(found) / len(found), min(len(values) for values in by_training.values())


def main_steps(measurements: pd.DataFrame) -> int:
    """The number of sampler steps of no guidance, which the main part of the table is made with.

    Raises:
        UserError: no row of `none`, or several step counts under one variant.
    """
    counts = measurements.groupby("variant", sort=False)["steps"].unique()
    for variant, steps in counts.items():
        if len(steps) > 1:
            raise UserError(
                f"measurements: variant {variant} has steps {', '.join(str(s) for s in sorted(steps))}; wanted one "
                "step count for a variant. Measure each step count as a variant of its own."
            )
    if "none" in counts.index:
        return int(counts["none"][0])
    alone = [
        v for v in unguided(measurements) if names.section(v) == names.METHODS and not re.search(r"_s\d+$", v)
    ]
    if not alone:
        raise UserError(
            f"measurements: no rows of variant none (there are {', '.join(map(str, counts.index))}); wanted it, as "
            "every method is compared with no guidance. Add it to the experiment's variants."
        )
    return int(counts[alone[0]][0])


def unguided(rows: pd.DataFrame) -> list[str]:
    """The variants without guidance, in the order of the rows."""
    return [str(v) for v in rows.loc[rows["method"].astype(str).isin(["", "none"]), "variant"].unique()]


def report(measurements: pd.DataFrame, selected: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be printed, checked: one n, features and reference for a metric, one sampler for a step count.

    Raises:
        UserError: rows that may not be averaged or compared.
    """
    checks.require_columns(measurements, [*checks.MEASUREMENTS, *SAMPLED, "features"], "measurements")
    main_steps(measurements)
    rows = summary.report_rows(measurements, selected)
    for steps, part in rows.groupby("steps", sort=False):
        same(part, SAMPLED, f"rows with {steps} steps")
    return rows


def same(rows: pd.DataFrame, columns: Iterable[str], where: str) -> None:
    """Refuse rows that differ in any of these columns.

    Raises:
        UserError: names the column and which variant has which value.
    """
    for column in columns:
        if rows[column].nunique() > 1:
            who = rows.groupby(column, sort=False)["variant"].unique()
            given = "; ".join(f"{value} in {', '.join(map(str, v))}" for value, v in who.items())
            raise UserError(
                f"{where}: {column} differs ({given}); wanted one {column} for all numbers that are compared. "
                "Measure them alike, or show them apart."
            )


def baseline(
    rows: pd.DataFrame, variant: str, mains: Mapping[str, str] | None = None
) -> tuple[str, float] | None:
    """No guidance at the variant's own number of steps, else None: step counts are never compared with each other.

    Args:
        rows: of the report.
        variant: what is compared with it.
        mains: variant to `net/model` of what it guides, where an experiment has several nets: no guidance is then that of
            the same net, tuned for the same metric if there is one, whatever its EMA.
    """
    mine = rows[rows["variant"] == variant]
    if mine.empty:
        return None
    at = rows[rows["steps"] == mine["steps"].iloc[0]] if "steps" in rows else rows
    found = [str(v) for v in at["variant"].unique() if v == "none" or str(v).startswith("none_s")]
    if mains:
        alike = [
            v for v in dict.fromkeys([*found, *unguided(at)]) if _net(mains, v) == _net(mains, variant) != ""
        ]
        found = sorted(alike, key=lambda v: wording.suffix(v) != wording.suffix(variant))
    for name in found[:1]:
        return name, float(rows.loc[rows["variant"] == name, "w"].iloc[0])
    return None


def _net(mains: Mapping[str, str], variant: str) -> str:
    return mains.get(variant, "").partition("/")[0]


def starts_unguided(rows: pd.DataFrame, variant: str, mains: Mapping[str, str] | None = None) -> bool:
    """Whether the variant at its neutral weight is the main net without guidance, the point `none`.

    Not so for a sum of methods, of which one keeps its weight when the other is swept, nor for a damaged main net, nor
    (`mains`) for one with another EMA than the unguided point.
    """
    mine = rows[rows["variant"] == variant]
    whole = not mine["method"].astype(str).str.contains("+", regex=False).any()
    if mains:
        base = baseline(rows, variant, mains)
        whole = whole and base is not None and mains.get(base[0]) == mains.get(variant)
    return whole and names.section(variant) in (names.METHODS, wording.GUIDES, wording.TRAINED)


def choices(selected: pd.DataFrame, variant: str) -> dict[str, float]:
    """The chosen weight of a variant by each metric that chose; a variant with one weight has that one."""
    mine = selected[selected["variant"] == variant]
    return {str(m): float(w) for m, w in zip(mine["metric"], mine["w"], strict=True)}


def chosen(rows: pd.DataFrame, selected: pd.DataFrame, variant: str, metric: str) -> float | None:
    """The weight to report a variant at in one feature space: chosen by that metric, else by any, else its only one."""
    picked = choices(selected, variant)
    if picked:
        return picked.get(metric, next(iter(picked.values())))
    found = rows.loc[rows["variant"] == variant, "w"].unique()
    return float(found[0]) if len(found) == 1 else None
