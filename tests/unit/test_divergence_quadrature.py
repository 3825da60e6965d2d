"""Divergences on a line: known values, closure of the integral form in every measure, and the mistakes it must show."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from guidelab.metrics import divergence_weights as weights
from guidelab.metrics import quadrature1d
from guidelab.metrics.quadrature1d import (
    Mixture1D,
    curve_1d,
    divergence_1d,
    gaussian_divergence,
    integral_1d,
)

P = Mixture1D((0.6, 0.4), (-1.0, 1.2), (0.3, 0.4))
Q = Mixture1D((0.5, 0.5), (-0.8, 1.0), (0.35, 0.5))
LOW, HIGH = 1e-3, 200.0
# name: D at sigma 0, the integral, the integral with p's weight and q's points, twice the integral
KNOWN = {
    "kl": (0.178738, 0.178736, 0.224593, 0.357472),
    "kl_reverse": (0.224596, 0.224593, 0.392138, 0.449186),
    "js": (0.046856, 0.046855, 0.065441, 0.093711),
    "chi2": (0.351657, 0.351653, 0.357472, 0.703307),
    "chi2_neyman": (0.784291, 0.784276, np.inf, 1.568552),  # E_q[2 / r^2 ...] diverges below sigma 0.14
    "hellinger2": (0.048491, 0.048491, 0.070550, 0.096982),
}
TOLERANCE = 1e-6


def closure_error(name, measure="p", factor=1.0):
    between = factor * integral_1d(name, P, Q, LOW, HIGH, measure)
    return between, between + divergence_1d(name, P, Q, HIGH) - divergence_1d(name, P, Q, LOW)


@pytest.mark.parametrize("name", KNOWN)
def test_values_and_closure_in_every_measure(name):
    truth, integral, *_ = KNOWN[name]
    assert divergence_1d(name, P, Q, 0.0) == pytest.approx(truth, abs=6e-7)
    for measure in weights.MEASURES:
        between, error = closure_error(name, measure)
        assert between == pytest.approx(integral, abs=6e-7)
        assert abs(error) < TOLERANCE / 1000


@pytest.mark.parametrize("name", KNOWN)
def test_closure_finds_the_wrong_measure(name, monkeypatch):
    """p's weight with q's points: another divergence altogether (for KL exactly the reverse one)."""
    of_p = weights.log_weight
    monkeypatch.setattr(quadrature1d, "log_weight", lambda name, _, ratio: of_p(name, "p", ratio))
    between, error = closure_error(name, "q")
    wrong = KNOWN[name][2]
    assert between > 1e6 if np.isinf(wrong) else between == pytest.approx(wrong, abs=6e-7)
    assert abs(error) > 1000 * TOLERANCE


@pytest.mark.parametrize("name", KNOWN)
def test_closure_finds_the_factor_two(name):
    """g^2 = 2 sigma without its half."""
    between, error = closure_error(name, factor=2.0)
    assert between == pytest.approx(KNOWN[name][3], abs=1.2e-6)
    assert error > 1000 * TOLERANCE


@pytest.mark.parametrize("name", KNOWN)
def test_closure_finds_the_sign(name, monkeypatch):
    """log(q/p) for log(p/q) in the weight; only KL's constant weight under p cannot see it."""
    right = weights.log_weight
    monkeypatch.setattr(quadrature1d, "log_weight", lambda name, measure, ratio: right(name, measure, -ratio))
    measure = "q" if name == "kl" else "p"
    assert abs(closure_error(name, measure)[1]) > 1000 * TOLERANCE


def test_closure_finds_a_score_of_the_wrong_sign(monkeypatch):
    """s_p + s_q for s_p - s_q."""
    right = Mixture1D.score
    monkeypatch.setattr(
        Mixture1D, "score", lambda self, x, sigma: (1 if self is P else -1) * right(self, x, sigma)
    )
    assert abs(closure_error("kl")[1]) > 1000 * TOLERANCE


def test_the_curve_is_the_slope():
    for name in KNOWN:
        near = [divergence_1d(name, P, Q, 0.5 * np.exp(step)) for step in (-1e-4, 1e-4)]
        assert curve_1d(name, P, Q, 0.5, "p") == pytest.approx(-(near[1] - near[0]) / 2e-4, rel=1e-6)


DEFINITIONS = {
    "kl": lambda p, q: p * np.log(p / q),
    "kl_reverse": lambda p, q: q * np.log(q / p),
    "js": lambda p, q: 0.5 * (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))),
    "chi2": lambda p, q: (p - q) ** 2 / q,
    "chi2_neyman": lambda p, q: (p - q) ** 2 / p,
    "hellinger2": lambda p, q: 0.5 * (np.sqrt(p) - np.sqrt(q)) ** 2,
}


@pytest.mark.parametrize("name", KNOWN)
def test_gaussian_closed_forms(name):
    """Against the textbook definition by another quadrature, and our quadrature against the closed form."""
    for mean_p, var_p, mean_q, var_q in ((0, 0.25, 0.3, 0.36), (1, 1, 0, 1), (0.2, 1.5, -0.3, 1.0)):
        laws = norm(mean_p, var_p**0.5), norm(mean_q, var_q**0.5)
        defined, _ = quad(
            lambda x, laws=laws: DEFINITIONS[name](*(law.pdf(x) for law in laws)),
            -16,
            16,
            limit=400,
            epsabs=1e-12,
        )
        closed = gaussian_divergence(name, mean_p, var_p, mean_q, var_q)
        assert closed == pytest.approx(defined, abs=1e-9)
        p, q = Mixture1D((1.0,), (mean_p,), (var_p**0.5,)), Mixture1D((1.0,), (mean_q,), (var_q**0.5,))
        assert divergence_1d(name, p, q, 0.0) == pytest.approx(closed, rel=1e-12, abs=1e-12)


def test_heavy_tails_are_infinite_until_noise_mends_them():
    wide, slim = Mixture1D((1.0,), (0.0,), (1.5,)), Mixture1D((1.0,), (0.0,), (1.0,))
    assert divergence_1d("chi2", wide, slim, 0.0) == np.inf == gaussian_divergence("chi2", 0, 2.25, 0, 1)
    assert divergence_1d("chi2_neyman", slim, wide, 0.0) == np.inf
    assert np.isfinite(divergence_1d("chi2_neyman", wide, slim, 0.0))
    # at sigma = 1 the variances are 3.25 and 2: 2 * 2 > 3.25
    closed = gaussian_divergence("chi2", 0, 3.25, 0, 2)
    assert divergence_1d("chi2", wide, slim, 1.0) == pytest.approx(closed, rel=1e-12)
    # almost infinite: the integrand reaches ten times farther than either density
    closed = gaussian_divergence("chi2", 0.5, 1.99, 0, 1)
    p = Mixture1D((1.0,), (0.5,), (1.99**0.5,))
    assert divergence_1d("chi2", p, slim, 0.0) == pytest.approx(closed, rel=1e-9)


def test_weights_agree_between_measures_and_with_the_curvature():
    ratio = np.linspace(-6, 6, 41)
    r = np.exp(ratio)
    for name in KNOWN:
        under_p = weights.weight(name, "p", ratio)
        np.testing.assert_allclose(weights.weight(name, "q", ratio), under_p * r, rtol=1e-12)
        np.testing.assert_allclose(weights.weight(name, "m", ratio), under_p * 2 * r / (1 + r), rtol=1e-12)
    d = r / (1 + r)
    least = {
        "kl": 1,
        "kl_reverse": 1,
        "js": d * (1 - d),
        "chi2": 2 * r,
        "chi2_neyman": 2 / r,
        "hellinger2": 0.5 * np.sqrt(d * (1 - d)),
    }
    for name, measure in weights.STEADY_MEASURE.items():
        np.testing.assert_allclose(
            weights.weight(name, measure, ratio), least[name] * np.ones_like(r), rtol=1e-12
        )


def test_refusals():
    with pytest.raises(ValueError, match="sum to 1"):
        Mixture1D((0.5, 0.4), (0.0, 1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="wanted one of kl"):
        weights.weight("tv", "p", np.zeros(2))
    with pytest.raises(ValueError, match="under 'x'"):
        weights.weight("kl", "x", np.zeros(2))
    with pytest.raises(ValueError, match="wanted one of"):
        gaussian_divergence("tv", 0, 1, 0, 1)
