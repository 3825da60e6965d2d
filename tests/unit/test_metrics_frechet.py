"""Fréchet distance: closed forms, other implementations, rank deficiency, and its bootstrap."""

import numpy as np
import pytest
import scipy.linalg
import torch

from guidelab.metrics.frechet import Moments, frechet, frechet_distance, moments, sqrt_trace


def random_moments(rng, features, n=None):
    n = n or 4 * features
    x = rng.standard_normal((n, features)) @ rng.standard_normal((features, features)) + rng.standard_normal(
        features
    )
    return moments(x)


@pytest.mark.parametrize("features", [1, 8, 64])
def test_commuting_gaussians(features):
    rng = np.random.default_rng(features)
    basis = np.linalg.qr(rng.standard_normal((features, features)))[0]
    a, b = rng.uniform(0.1, 3, (2, features))
    mean = rng.standard_normal(features)
    one = Moments(mean, (basis * a**2) @ basis.T, 10)
    two = Moments(np.zeros(features), (basis * b**2) @ basis.T, 10)
    exact = mean @ mean + np.sum((a - b) ** 2)
    assert frechet_distance(generated=one, reference=two) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("features", [2, 20, 100])
def test_agrees_with_the_matrix_square_root(features):
    rng = np.random.default_rng(features)
    one, two = random_moments(rng, features), random_moments(rng, features)
    root = np.trace(scipy.linalg.sqrtm(one.cov @ two.cov)).real
    assert sqrt_trace(one.cov, two.cov) == pytest.approx(root, rel=1e-9)
    assert sqrt_trace(one.cov, two.cov) == pytest.approx(sqrt_trace(two.cov, one.cov), rel=1e-12)


def test_rank_deficient_covariances_are_exact():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    a, b = np.zeros((2, 60))
    a[:20], b[10:40] = rng.uniform(0.5, 2, 20), rng.uniform(0.5, 2, 30)
    product = sqrt_trace((basis * a**2) @ basis.T, (basis * b**2) @ basis.T)
    # The root of an eigenvalue that is zero up to eps is 1e-8: sqrt of eigenvalues would miss by 1e-7.
    assert product == pytest.approx(np.sum(a * b), rel=1e-12)


def test_fewer_samples_than_features():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((30, 80))
    same = frechet_distance(generated=moments(x), reference=moments(x[::-1].copy()))
    assert abs(same) < 1e-10
    shifted = frechet_distance(generated=moments(x + 0.5), reference=moments(x))
    assert shifted == pytest.approx(80 * 0.25, rel=1e-10)


@pytest.mark.parametrize("features", [3, 12, 40])
def test_a_single_dead_direction_is_exact(features):
    """Cholesky often succeeds here, and every eigenvalue may come out positive: 1e-16, whose root is 1e-8."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((features, features)))[0]
        a, b = rng.uniform(0.5, 2, (2, features))
        a[0] = 0
        product = sqrt_trace((basis * a**2) @ basis.T, (basis * b**2) @ basis.T)
        assert product == pytest.approx(np.sum(a * b), rel=1e-13), seed


def test_singular_values_are_for_singular_covariances_only(monkeypatch):
    """The fast route is the point of the benchmark: an ordinary pair must take it."""
    rng = np.random.default_rng(11)
    one, two = random_moments(rng, 50), random_moments(rng, 50)
    monkeypatch.setattr(scipy.linalg, "svdvals", None)
    assert sqrt_trace(one.cov, two.cov) > 0


def test_bad_conditioning():
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    a, b = np.logspace(0, -5, 40), np.logspace(0, -5.5, 40)
    product = sqrt_trace((basis * a**2) @ basis.T, (basis * b**2) @ basis.T)
    assert product == pytest.approx(np.sum(a * b), rel=1e-11)


def test_refuses_what_is_no_covariance_and_sides_that_differ():
    good = Moments(np.zeros(2), np.eye(2), 9)
    with pytest.raises(ValueError, match="negative eigenvalue"):
        frechet_distance(generated=Moments(np.zeros(2), np.diag([1.0, -0.1]), 9), reference=good)
    with pytest.raises(ValueError, match="3 features generated, 2 in the reference"):
        frechet_distance(generated=Moments(np.zeros(3), np.eye(3), 9), reference=good)
    with pytest.raises(ValueError, match="N >= 2"):
        moments(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="not finite"):
        moments(np.array([[0.0], [np.nan]]))


def test_float32_features_are_averaged_in_float64():
    rng = np.random.default_rng(3)
    x = (1000 + rng.standard_normal((20_000, 3))).astype(np.float32)
    for given in (x, torch.from_numpy(x)):
        found = moments(given)
        np.testing.assert_allclose(found.mean, x.astype(np.float64).mean(0), rtol=1e-14)
        np.testing.assert_allclose(
            found.cov, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-11, atol=1e-13
        )
    assert np.abs(x.mean(0) - found.mean).max() > 1e-6  # what float32 would have given


def test_order_does_not_matter():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, 500, 5))
    a = frechet(generated=x, reference=y, replicates=0).value
    b = frechet(generated=x[rng.permutation(500)], reference=y[rng.permutation(500)], replicates=0).value
    assert a == pytest.approx(b, rel=1e-10)


def test_bootstrap_is_seeded_and_near_the_true_spread():
    rng = np.random.default_rng(5)
    shift = np.array([1.0, 0.5])
    draws = [
        frechet(
            generated=rng.standard_normal((400, 2)) + shift,
            reference=rng.standard_normal((400, 2)),
            replicates=0,
        )
        for _ in range(200)
    ]
    x, y = rng.standard_normal((400, 2)) + shift, rng.standard_normal((400, 2))
    value = frechet(generated=x, reference=y, seed=1)
    assert value.std_error == pytest.approx(np.std([d.value for d in draws]), rel=0.35)
    assert value == frechet(generated=x, reference=y, seed=1)
    assert value.std_error != frechet(generated=x, reference=y, seed=2).std_error
    fixed = frechet(generated=x, reference=moments(y), seed=1)
    assert fixed.value == value.value and fixed.std_error < value.std_error


def test_runaways_are_flagged_and_non_finite_points_counted():
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 1000, 2))
    assert frechet(generated=x, reference=y, replicates=0).note == ""
    far = x.copy()
    far[0] = 1e4
    assert "one point holds" in frechet(generated=far, reference=y, replicates=0).note
    far[0] = np.inf
    value = frechet(generated=far, reference=y, replicates=0)
    assert not value.estimable and "1 of 1000" in value.note and np.isfinite(value.value)
