"""95 % intervals and p-values: Student's of independent values, normal of a standard error, exact at the ends of a share."""

import math

import numpy as np
from scipy import stats

LEVEL = 0.95


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


def alike(values: np.ndarray) -> bool:
    """Whether values are equal but for rounding: their spread then says nothing of the next one, and Student's law nothing."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def t_test(values: np.ndarray) -> float:
    """Two-sided p-value of a mean of 0 of two or more independent values."""
    spread = float(values.std(ddof=1))
    if spread == 0:
        return float(values[0] == 0)
    return float(2 * stats.t.sf(abs(values.mean()) / spread * math.sqrt(len(values)), len(values) - 1))


def normal(value: float, error: float) -> tuple[tuple[float, float], float]:
    """The interval of a value with a standard error, and the two-sided p-value of 0."""
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    p = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else float(value == 0)
    return (value - half, value + half), p


def over_blocks(errors: np.ndarray, common: bool) -> float:
    """Standard error of the mean over blocks: independent ones, or such that share a part of their errors (an upper bound)."""
    return float(errors.mean() if common else np.linalg.norm(errors) / len(errors))


def over_samples(
    value: float, errors: np.ndarray, n_generated: int, share: bool, common: bool = False
) -> tuple[float, float]:
    """Normal interval of a mean over blocks; exact binomial at the ends of a share of samples.

    Args:
        value: the mean.
        errors: standard error of each block [B].
        n_generated: samples of a block.
        share: the metric is a share of independent samples.
        common: the blocks share a part of their errors, so these are averaged as one: an upper bound.
    """
    tail = (1 - LEVEL) / 2
    if share and value in (0.0, 1.0):  # where a standard error says little
        width = 1 - tail ** (1 / (n_generated * len(errors)))  # Clopper and Pearson 1934, at k = 0 or k = n
        return (0.0, width) if value == 0 else (1 - width, 1.0)
    return normal(value, over_blocks(errors, common))[0]
