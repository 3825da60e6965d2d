"""95 % intervals that say what they run over: trainings, seed blocks or samples.

An interval over samples tells how far another draw from the *same* networks would land; one over trainings
how far another training would. The first is usually much narrower and never a substitute for the second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm, t

from guidelab.metrics.value import ArrayLike, Float64, as_vector

Over = Literal["trainings", "seed blocks", "samples"]
OVERS: tuple[Over, ...] = ("trainings", "seed blocks", "samples")


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval; infinite when one value tells nothing about the spread.
        over: what was repeated.
        n: how many repetitions.
    """

    mean: float
    low: float
    high: float
    over: Over
    n: int

    @property
    def half_width(self) -> float:
        """Half of high - low; infinite for n = 1 over trainings or seed blocks."""
        return math.inf if math.isinf(self.high) else (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def t_interval(values: ArrayLike, *, over: Over, level: float = 0.95) -> Interval:
    """Student interval of the mean of independent repetitions [N], from their own spread.

    One repetition gives an infinite interval: its spread is unknown, not zero.

    Raises:
        ValueError: no value, a value that is not finite, or an unknown `over`.
    """
    numbers = _finite(values, over)
    n = len(numbers)
    mean = float(numbers.mean())
    if n == 1:
        return Interval(mean, -math.inf, math.inf, over, n)
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, over, n)


def combined_interval(
    values: ArrayLike, std_errors: ArrayLike, *, over: Over = "samples", level: float = 0.95
) -> Interval:
    """Normal interval of the plain mean of independent values [N], from their standard errors alone.

    It holds for these networks only: what differs between the repetitions beyond sampling is not in it.
    """
    numbers, errors = _finite(values, over), _finite(std_errors, over)
    if len(numbers) != len(errors):
        raise ValueError(f"combined_interval: {len(numbers)} values and {len(errors)} standard errors")
    mean = float(numbers.mean())
    half = float(norm.ppf(0.5 + level / 2)) * float(np.linalg.norm(errors)) / len(numbers)
    return Interval(mean, mean - half, mean + half, over, len(numbers))


def paired_difference(first: ArrayLike, second: ArrayLike, *, over: Over, level: float = 0.95) -> Interval:
    """Student interval of mean(first - second), entry i of both from the same training or seed block.

    What the pair shares cancels, so this is the interval for sweeps that use the same noise at every weight.
    """
    a, b = _finite(first, over), _finite(second, over)
    if len(a) != len(b):
        raise ValueError(f"paired_difference: {len(a)} and {len(b)} values cannot be paired")
    return t_interval(a - b, over=over, level=level)


def bootstrap_interval(
    values: ArrayLike,
    *,
    over: Over,
    seed: int,
    statistic: Callable[[Float64], float] = lambda sample: float(sample.mean()),
    replicates: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of any statistic of independent values [N]; too narrow below about 10 values."""
    numbers = _finite(values, over)
    if len(numbers) == 1:
        return Interval(statistic(numbers), -math.inf, math.inf, over, 1)
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.choice(numbers, len(numbers))) for _ in range(replicates)]
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(statistic(numbers), float(low), float(high), over, len(numbers))


def _finite(values: ArrayLike, over: Over) -> Float64:
    if over not in OVERS:
        raise ValueError(f"over = {over!r}: wanted one of {', '.join(OVERS)}")
    numbers = as_vector(values, "values")
    if not np.isfinite(numbers).all():
        raise ValueError(f"interval over {over}: {int((~np.isfinite(numbers)).sum())} values are not finite")
    return numbers
