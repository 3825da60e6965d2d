"""Intervals: by hand, by coverage, and what they say they run over."""

import math

import numpy as np
import pytest

from guidelab.metrics.intervals import bootstrap_interval, combined_interval, paired_difference, t_interval


def test_t_interval_by_hand():
    found = t_interval(np.array([1.0, 2.0, 3.0]), over="trainings")
    assert found.mean == 2 and found.over == "trainings" and found.n == 3
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)  # t(0.975, 2)


def test_one_training_says_nothing_about_the_spread():
    found = t_interval(np.array([1.0]), over="trainings")
    assert found.mean == 1 and found.half_width == math.inf and not found.excludes_zero


def test_combined_interval_is_over_samples():
    found = combined_interval(np.array([1.0, 3.0]), np.array([0.3, 0.4]))
    assert found.over == "samples"
    assert found.half_width == pytest.approx(1.959964 * 0.25, rel=1e-6)


def test_pairing_removes_what_is_shared():
    rng = np.random.default_rng(0)
    shared = 10 * rng.standard_normal(8)
    a, b = shared + 1 + 0.1 * rng.standard_normal(8), shared + 0.1 * rng.standard_normal(8)
    paired = paired_difference(a, b, over="seed blocks")
    assert paired.excludes_zero and paired.half_width < 0.3 and paired.mean > 0
    assert t_interval(a, over="seed blocks").half_width > 3


def test_t_interval_covers_with_five_trainings():
    rng = np.random.default_rng(1)
    found = [t_interval(rng.normal(7, 2, 5), over="trainings") for _ in range(1000)]
    assert 0.93 <= np.mean([i.low < 7 < i.high for i in found]) <= 0.97


def test_bootstrap_is_seeded_and_covers():
    rng = np.random.default_rng(2)
    sample = rng.exponential(1, 60)
    assert bootstrap_interval(sample, over="samples", seed=0) == bootstrap_interval(
        sample, over="samples", seed=0
    )
    assert bootstrap_interval(sample, over="samples", seed=0) != bootstrap_interval(
        sample, over="samples", seed=1
    )
    median = bootstrap_interval(sample, over="samples", seed=0, statistic=lambda s: float(np.median(s)))
    assert median.low < median.mean < median.high
    found = [
        bootstrap_interval(rng.exponential(1, 60), over="samples", seed=i, replicates=200) for i in range(200)
    ]
    assert 0.87 <= np.mean([i.low < 1 < i.high for i in found]) <= 0.98


def test_refusals():
    with pytest.raises(ValueError, match="over = 'nets'"):
        t_interval(np.ones(3), over="nets")
    with pytest.raises(ValueError, match="1 values are not finite"):
        t_interval(np.array([1.0, np.nan]), over="trainings")
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(np.ones(3), np.ones(2), over="trainings")
    with pytest.raises(ValueError, match="2 standard errors"):
        combined_interval(np.ones(3), np.ones(2))
