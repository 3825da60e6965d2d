"""Divergences against closed forms and quadrature; standard errors and the tail flag by simulation."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from guidelab.metrics.divergence import (
    DIVERGENCES,
    LogRatios,
    density_balance,
    divergences,
    log_ratios,
    one_sided,
)

P, Q = (0.3, 0.9), (0.0, 1.1)  # mean and standard deviation of the two Gaussians


def gaussian_ratios(n, rng, p=P, q=Q):
    x, y = rng.normal(*p, n), rng.normal(*q, n)
    return log_ratios(
        log_p_at_data=norm.logpdf(x, *p),
        log_q_at_data=norm.logpdf(x, *q),
        log_p_at_model=norm.logpdf(y, *p),
        log_q_at_model=norm.logpdf(y, *q),
    )


def kl_gaussian(p, q):
    (a, s), (b, t) = p, q
    return np.log(t / s) + (s**2 + (a - b) ** 2) / (2 * t**2) - 0.5


def chi2_gaussian(p, q):
    (a, s), (b, t) = p, q
    v = 2 * t**2 - s**2
    return t**2 / (s * np.sqrt(v)) * np.exp((a - b) ** 2 / v) - 1


def hellinger2_gaussian(p, q):
    (a, s), (b, t) = p, q
    total = s**2 + t**2
    return 1 - np.sqrt(2 * s * t / total) * np.exp(-((a - b) ** 2) / (4 * total))


CLOSED = {
    "kl": kl_gaussian(P, Q),
    "kl_reverse": kl_gaussian(Q, P),
    "chi2": chi2_gaussian(P, Q),
    "chi2_neyman": chi2_gaussian(Q, P),
    "hellinger2": hellinger2_gaussian(P, Q),
}

# 0.6 N(-1, 0.3^2) + 0.4 N(1.2, 0.4^2) against 0.5 N(-0.8, 0.35^2) + 0.5 N(1, 0.5^2), to six digits
MIXTURE_VALUES = {
    "kl": 0.178738,
    "kl_reverse": 0.224596,
    "js": 0.046856,
    "chi2": 0.351657,
    "chi2_neyman": 0.784291,
    "hellinger2": 0.048491,
}
MIXTURES = (((0.6, -1.0, 0.3), (0.4, 1.2, 0.4)), ((0.5, -0.8, 0.35), (0.5, 1.0, 0.5)))


def mixture_log_density(x, parts):
    return np.logaddexp.reduce([np.log(w) + norm.logpdf(x, m, s) for w, m, s in parts], axis=0)


@pytest.mark.parametrize("name", CLOSED)
def test_gaussian_closed_forms_in_both_directions(name):
    value = divergences(gaussian_ratios(200_000, np.random.default_rng(1)))[name]
    assert value.value == pytest.approx(CLOSED[name], abs=4 * value.std_error)
    assert value.std_error < 0.05 * CLOSED[name]  # so that a factor of two cannot pass


@pytest.mark.parametrize("name", ["kl", "kl_reverse", "chi2", "chi2_neyman", "hellinger2"])
def test_one_sided_means_estimate_the_same_with_more_variance(name):
    ratios = gaussian_ratios(200_000, np.random.default_rng(2))
    plain = one_sided(ratios)[name]
    assert plain.value == pytest.approx(CLOSED[name], abs=4 * plain.std_error)
    assert divergences(ratios)[name].std_error < plain.std_error


@pytest.mark.parametrize("name", DIVERGENCES)
def test_mixture_values_by_quadrature(name):
    x = np.linspace(-6, 6, 40_001)
    log_p, log_q = (mixture_log_density(x, parts) for parts in MIXTURES)
    integrand = DIVERGENCES[name].integrand(log_p - log_q) * (np.exp(log_p) + np.exp(log_q)) / 2
    assert np.trapezoid(integrand, x) == pytest.approx(MIXTURE_VALUES[name], abs=1e-6)


def test_js_reaches_log_2_and_hellinger_1_for_disjoint_sets():
    far = torch.full((50,), 1e4)
    ratios = log_ratios(log_p_at_data=far, log_q_at_data=-far, log_p_at_model=-far, log_q_at_model=far)
    values = divergences(ratios)
    assert values["js"].value == pytest.approx(np.log(2), abs=1e-12)
    assert values["hellinger2"].value == pytest.approx(1, abs=1e-12)
    assert values["kl"].value == pytest.approx(0.5 * 2 * 2e4 + 0.5 * 2, rel=1e-4)
    assert values["chi2"].value == np.inf and not values["chi2"].estimable


def test_equal_densities_give_zero_and_no_flag():
    log_p = np.random.default_rng(0).normal(size=500)
    ratios = log_ratios(log_p_at_data=log_p, log_q_at_data=log_p, log_p_at_model=log_p, log_q_at_model=log_p)
    for value in divergences(ratios).values():
        assert value.value == pytest.approx(0, abs=1e-14)
        assert value.estimable


@pytest.mark.parametrize("name", ["kl", "kl_reverse", "js", "hellinger2"])
def test_standard_error_covers(name):
    rng = np.random.default_rng(3)
    truth = CLOSED.get(name)
    if truth is None:  # js has no closed form
        x = np.linspace(-9, 9, 20_001)
        log_p, log_q = norm.logpdf(x, *P), norm.logpdf(x, *Q)
        weight = (np.exp(log_p) + np.exp(log_q)) / 2
        truth = np.trapezoid(DIVERGENCES[name].integrand(log_p - log_q) * weight, x)
    draws = [divergences(gaussian_ratios(2000, rng), [name])[name] for _ in range(300)]
    covered = np.mean([abs(v.value - truth) < 1.96 * v.std_error for v in draws])
    assert 0.91 <= covered <= 0.985


def test_flag_fires_on_a_heavy_tail_and_not_on_a_light_one():
    rng = np.random.default_rng(4)
    light = divergences(gaussian_ratios(4000, rng, (0, 1), (1, 1)))
    heavy = divergences(gaussian_ratios(4000, rng, (0, 1), (0, 0.6)))
    assert all(v.estimable for v in light.values())
    assert light["chi2"].ess > 500
    assert not heavy["chi2"].estimable and heavy["chi2"].ess < 50
    assert heavy["chi2"].value > 0  # kept
    assert heavy["js"].estimable and heavy["js"].ess is None
    assert heavy["kl"].estimable  # its tail is only quadratic


def test_one_runaway_makes_reverse_kl_not_estimable_and_leaves_js_alone():
    rng = np.random.default_rng(5)
    clean = gaussian_ratios(4000, rng)
    model = clean.at_model.copy()
    model[17] = -1e7
    zeros = np.zeros(4000)
    dirty = log_ratios(
        log_p_at_data=clean.at_data, log_q_at_data=zeros, log_p_at_model=model, log_q_at_model=zeros
    )
    values = divergences(dirty)
    assert not values["kl_reverse"].estimable
    assert values["kl_reverse"].value > 1000
    assert values["kl"].estimable
    assert values["js"].value == pytest.approx(divergences(clean)["js"].value, abs=2e-4)


def test_points_that_are_not_finite_are_counted():
    ratios = gaussian_ratios(1000, np.random.default_rng(6))
    model = ratios.at_model.copy()
    model[:3] = np.nan
    zeros = np.zeros(1000)
    values = divergences(
        log_ratios(
            log_p_at_data=ratios.at_data, log_q_at_data=zeros, log_p_at_model=model, log_q_at_model=zeros
        )
    )
    assert "3 of 2000" in values["js"].note and values["js"].estimable
    assert "3 of 2000" in values["kl_reverse"].note and not values["kl_reverse"].estimable
    assert np.isfinite(values["kl_reverse"].value)
    assert values["kl"].estimable


def test_many_ratios_beyond_the_limit_are_no_estimate():
    """Two hundred equal terms of e^600 look like a well-carried sum: they are counted instead."""
    ratios = gaussian_ratios(2000, np.random.default_rng(8))
    data = ratios.at_data.copy()
    data[:200] = 700.0
    cut = LogRatios(data, ratios.at_model, (0, 0))
    for values, total in ((divergences(cut), 4000), (one_sided(cut), 2000)):
        chi2 = values["chi2"]
        assert not chi2.estimable and f"200 of {total} points" in chi2.note
        assert chi2.value < 1e6
    assert divergences(cut)["js"].estimable


def test_balance_sees_a_density_that_is_not_normalised():
    ratios = gaussian_ratios(20_000, np.random.default_rng(7))
    good = density_balance(ratios)
    assert abs(good.value) < 4 * good.std_error
    zeros = np.zeros(20_000)
    shifted = log_ratios(
        log_p_at_data=ratios.at_data + 0.1,
        log_q_at_data=zeros,
        log_p_at_model=ratios.at_model + 0.1,
        log_q_at_model=zeros,
    )
    bad = density_balance(shifted)
    assert bad.value > 6 * bad.std_error  # p is too large


def test_float32_log_densities_are_subtracted_in_float64():
    log_p = torch.full((10,), 1e6, dtype=torch.float32)
    log_q = torch.linspace(999_990, 1e6, 10, dtype=torch.float64)
    ratios = log_ratios(log_p_at_data=log_p, log_q_at_data=log_q, log_p_at_model=log_p, log_q_at_model=log_q)
    np.testing.assert_array_equal(ratios.at_data, 1e6 - log_q.numpy())


def test_lengths_must_match():
    with pytest.raises(ValueError, match="wanted equally many"):
        log_ratios(
            log_p_at_data=np.zeros(3),
            log_q_at_data=np.zeros(4),
            log_p_at_model=np.zeros(3),
            log_q_at_model=np.zeros(3),
        )
