"""Errors of precision and recall over both sides, on draws whose true errors are known."""

import numpy as np
import pytest

from guidelab.metrics.ball_errors import SPLITS
from guidelab.metrics.manifold import manifold


@pytest.mark.parametrize("features", [2, 12])
def test_errors_of_precision_and_recall_are_over_both_sides(features):
    """Other points and other balls: the errors are those of new draws of both sets, and binomial ones are too small."""
    rng = np.random.default_rng(9)
    runs = []
    for _ in range(200):
        generated, reference = rng.standard_normal((2, 160, features))
        generated[:, 0] += 1.5
        found = manifold(generated=generated, reference=reference)
        runs.append([(v.value, v.std_error) for v in (found.precision, found.recall)])
    values, errors = np.moveaxis(np.array(runs), 2, 0)
    true = values.std(0, ddof=1)
    ratio = np.sqrt(np.square(errors).mean(0)) / true
    assert (ratio > 0.87).all() and (ratio < 1.15).all()  # 200 draws know the true error to 5 %
    binomial = np.sqrt(values.mean(0) * (1 - values.mean(0)) / 160) / true
    assert (binomial < 0.85).all()


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_errors_do_not_depend_on_the_unit_of_the_features(unit):
    generated, reference = np.random.default_rng(10).standard_normal((2, 160, 40))
    one, other = (manifold(generated=u * generated, reference=u * reference) for u in (1.0, unit))
    for a, b in zip((one.precision, one.recall), (other.precision, other.recall), strict=True):
        assert b.value == a.value and b.std_error == pytest.approx(a.std_error, rel=1e-6)


def test_parts_make_the_error_and_that_of_a_paired_difference():
    """Sets that share most of their points: the error of their difference is that of what they do not share."""
    rng = np.random.default_rng(11)
    gaps, errors, apart = [], [], []
    for _ in range(120):
        first, reference = rng.standard_normal((2, 200, 6))
        first[:, 0] += 1.5
        second = first + 0.3 * rng.standard_normal(first.shape)
        a, b = (manifold(generated=x, reference=reference).recall for x in (first, second))
        assert len(a.parts) == 200 + SPLITS and np.linalg.norm(a.parts) == pytest.approx(a.std_error)
        gaps.append(b.value - a.value)
        errors.append(np.linalg.norm(b.parts - a.parts))
        apart.append(np.hypot(a.std_error, b.std_error))
    true = np.std(gaps, ddof=1)
    assert 0.85 < np.sqrt(np.mean(np.square(errors))) / true < 1.25
    assert np.sqrt(np.mean(np.square(apart))) / true > 1.4
