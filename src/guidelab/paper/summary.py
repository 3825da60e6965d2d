"""From rows to one number with its interval, and what that interval runs over."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from guidelab.paper import checks

LEVEL = 0.95
TRAININGS, BLOCKS, SAMPLES, NOTHING = "trainings", "seed blocks", "samples", ""
OK, NOT_RUN, NOT_FINITE = "ok", "not run", "not finite"
NOT_ESTIMABLE, NOT_DEFINED = "not estimable", "not defined"


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


def t_interval(values: list[float] | np.ndarray) -> tuple[float, float]:
    """95 % Student interval of the mean of at least two independent values.

    Raises:
        ValueError: fewer than two values.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        raise ValueError(f"t_interval: {len(x)} value, wanted at least 2")
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean()) - half, float(x.mean()) + half


def t_test(values: np.ndarray) -> float:
    """Two-sided p-value of a mean of 0 of two or more independent values."""
    spread = float(values.std(ddof=1))
    if spread == 0:
        return float(values[0] == 0)
    return float(2 * stats.t.sf(abs(values.mean()) / spread * math.sqrt(len(values)), len(values) - 1))


def estimate(rows: pd.DataFrame, *, share: bool = False) -> Estimate:
    """Summarise the rows of one (variant, w, metric): report blocks only, every training on the same blocks.

    At least two trainings: Student interval over trainings. One training: normal interval from the standard
    errors of its blocks, over samples; without standard errors, Student interval over two or more seed blocks.

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
    if len(means) >= 2:
        return Estimate(value, *t_interval(means), TRAININGS, **size, status=OK, note=caution)
    errors = rows["std_error"].to_numpy(np.float64)
    if np.isfinite(errors).all():
        return Estimate(
            value, *_over_samples(value, errors, n_generated, share), SAMPLES, **size, status=OK, note=caution
        )
    if n_blocks >= 2:
        return Estimate(value, *t_interval(values), BLOCKS, **size, status=OK, note=caution)
    return Estimate(value, **size, status=OK, note=caution)


def _over_samples(value: float, errors: np.ndarray, n_generated: int, share: bool) -> tuple[float, float]:
    """Normal interval of a mean over blocks; exact binomial at the ends of a share."""
    tail = (1 - LEVEL) / 2
    if share and value in (0.0, 1.0) and not errors.any():
        width = 1 - tail ** (1 / (n_generated * len(errors)))  # Clopper and Pearson 1934, at k = 0 or k = n
        return (0.0, width) if value == 0 else (1 - width, 1.0)
    half = float(stats.norm.ppf(1 - tail) * np.sqrt((errors**2).sum()) / len(errors))
    return value - half, value + half


def notes(rows: pd.DataFrame) -> pd.Series:
    """The note of every row as text, empty where there is none."""
    if "note" not in rows.columns:
        return pd.Series("", index=rows.index, dtype=str)
    return rows["note"].fillna("").astype(str)


def report_rows(
    measurements: pd.DataFrame, selected: pd.DataFrame, report_blocks: list[str] | None = None
) -> pd.DataFrame:
    """The rows that may be printed: checked for comparability, without the blocks that selected weights.

    Raises:
        UserError: rows that may not be averaged or compared; see `checks`.
    """
    checks.require_columns(measurements, checks.MEASUREMENTS, "measurements")
    checks.require_columns(selected, checks.SELECTED, "selected")
    checks.one_scale(measurements)
    checks.no_duplicates(measurements)
    blocks = checks.honest_blocks(measurements, selected, report_blocks)
    rows = measurements[measurements["seed_block"].isin(blocks)]
    checks.comparable(rows)
    checks.same_blocks(rows)
    return rows


def at_point(rows: pd.DataFrame, variant: str, w: float, metric: str | None = None) -> pd.DataFrame:
    """The rows of one point, of one metric if named. Weights are compared to the two digits paths carry."""
    mask = (rows["variant"] == variant) & ((rows["w"] - w).abs() < 5e-3)
    return rows[mask & (rows["metric"] == metric)] if metric is not None else rows[mask]


def by_training(rows: pd.DataFrame, variant: str, w: float, metric: str) -> dict[int, float]:
    """Mean over report blocks for each training seed; trainings with a flagged or infinite number are left out."""
    found = at_point(rows, variant, w, metric)
    bad = notes(found).str.startswith(NOT_ESTIMABLE) | ~np.isfinite(found["value"].astype(float))
    good = found[~found["train_seed"].isin(found.loc[bad, "train_seed"])]
    return {
        int(str(seed)): float(part["value"].mean()) for seed, part in good.groupby("train_seed", sort=True)
    }
