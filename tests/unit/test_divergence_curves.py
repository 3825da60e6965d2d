"""Rows along sigma against Gaussians on a line: every bin's own value, the right side's measure, rows as units."""

import itertools

import numpy as np
import pytest
from scipy.special import expit

from guidelab.metrics import divergence_report as report
from guidelab.metrics.divergence_report import Logits
from guidelab.metrics.units import log_edges, rows_met
from guidelab.metrics.value import Value

VP, VQ, SHIFT = 0.5, 0.8, 0.6  # p = N(0, VP), q = N(SHIFT, VQ): both KLs and both chi^2 differ and are finite
LOW, HIGH = 0.2, 2.0
EDGES = log_edges(LOW, HIGH, 3)


def log_ratio(x, sigma):
    p, q = VP + sigma**2, VQ + sigma**2
    return 0.5 * (np.log(q / p) + (x - SHIFT) ** 2 / q - x**2 / p)


def slope(x, sigma):
    return (x - SHIFT) / (VQ + sigma**2) - x / (VP + sigma**2)


def drawn(n, repeats=2, high=HIGH, seed=0):
    """Logits at points of both sides and the squared slopes there, each with `repeats` noise levels a row."""
    rng = np.random.default_rng(seed)
    made = []
    for mean, variance in ((0.0, VP), (SHIFT, VQ)):
        sigma = np.exp(rng.uniform(np.log(LOW), np.log(high), (n, repeats)))
        x = mean + np.sqrt(variance) * rng.normal(size=(n, 1)) + sigma * rng.normal(size=(n, repeats))
        made.append((x, sigma))
    (xp, sp), (xq, sq) = made
    logits = Logits(log_ratio(xp, sp), sp, log_ratio(xq, sq), sq)
    return logits, slope(xp, sp) ** 2, slope(xq, sq) ** 2


def density(x, sigma, which):
    mean, variance = (0.0, VP) if which == "p" else (SHIFT, VQ)
    variance = variance + sigma**2
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def over(low, high, integrand, which, weight=None):
    """Mean over ln sigma from low to high of E_which[integrand(x, sigma)], by quadrature."""
    x = np.linspace(-25, 25, 8001)
    levels = np.exp((np.arange(40) + 0.5) / 40 * np.log(high / low)) * low
    values = [np.trapezoid(density(x, s, which) * integrand(x, s), x) for s in levels]
    return float(np.mean(values))


def divergence(low, high, name):
    log2 = np.log(2)
    parts = {
        "kl": [(log_ratio, "p", 1.0)],
        "kl_reverse": [(lambda x, s: -log_ratio(x, s), "q", 1.0)],
        "js": [
            (lambda x, s: log2 + np.log(expit(log_ratio(x, s))), "p", 0.5),
            (lambda x, s: log2 + np.log(expit(-log_ratio(x, s))), "q", 0.5),
        ],
    }[name]
    return sum(share * over(low, high, integrand, which) for integrand, which, share in parts)


@pytest.mark.parametrize("name", report.CURVES)
def test_bounds_by_bin_are_each_bins_own_divergence(name):
    given, _, _ = drawn(20_000)
    lines = [x for x in report.bound_curves(given, EDGES) if x.divergence == name]
    truths = [divergence(a, b, name) for a, b in itertools.pairwise(EDGES)]
    assert [(x.sigma_lo, x.sigma_hi) for x in lines] == [
        (pytest.approx(a), pytest.approx(b)) for a, b in itertools.pairwise(EDGES)
    ]
    assert truths[0] > 1.5 * truths[2] > 0  # the bins differ by far more than the errors
    for line, truth in zip(lines, truths, strict=True):
        assert line.bound and line.kind == "curve"
        assert abs(line.value.value - truth) < 4 * line.value.std_error < 0.3 * truth + 0.02, (name, truth)


def test_the_sides_are_not_exchanged():
    given, _, _ = drawn(20_000)
    found = {x.divergence: x.value for x in report.bound_curves(given, EDGES) if x.sigma_lo == EDGES[0]}
    gap = divergence(EDGES[0], EDGES[1], "kl_reverse") - divergence(EDGES[0], EDGES[1], "kl")
    error = np.hypot(found["kl"].std_error, found["kl_reverse"].std_error)
    assert gap > 5 * error
    assert found["kl_reverse"].value - found["kl"].value == pytest.approx(gap, abs=4 * error)


def test_draws_that_share_a_point_are_one_unit():
    """Every draw four times over: nothing is learned, and no error shrinks."""
    given, _, _ = drawn(3000, repeats=1)
    again = Logits(*(np.repeat(a, 4, axis=1) for a in vars(given).values()))
    for once, four in zip(report.bound_curves(given, EDGES), report.bound_curves(again, EDGES), strict=True):
        assert four.value.value == pytest.approx(once.value.value)
        assert four.value.std_error == pytest.approx(once.value.std_error)
        assert four.n == once.n
    for once, four in zip(report.checks(given, EDGES), report.checks(again, EDGES), strict=True):
        if once.estimator in ("ratio_mean", "inverse_ratio_mean", "cross_entropy"):
            assert four.value.std_error == pytest.approx(once.value.std_error)
            assert four.n == once.n


def test_n_counts_points_with_a_draw_in_the_bin():
    sigma = np.array([[0.3, 0.3], [0.3, 1.5], [1.5, 1.5]])
    assert rows_met(sigma, np.array([0.2, 1.0, 2.0])).tolist() == [2, 2]


def test_how_many_draws_chance_deals_out_adds_no_error_to_a_mean():
    """A ratio of one everywhere has mean one without error, however unequally rows meet the bins."""
    given, _, _ = drawn(500, repeats=4)
    flat = given.mapped(lambda logit, sigma: 0 * logit)
    for line in report.checks(flat, EDGES):
        if line.estimator in ("ratio_mean", "inverse_ratio_mean"):
            assert line.value.value == 1
            assert line.value.std_error < 1e-12


def test_calibration_errors_are_those_of_repeats():
    """The standard error of E_q[r] in a bin against its spread over independent repeats."""
    found = []
    for seed in range(60):
        given, _, _ = drawn(400, repeats=4, seed=seed)
        found.append([x.value for x in report.checks(given, EDGES) if x.estimator == "ratio_mean"])
    for values in zip(*found, strict=True):
        spread = np.std([v.value for v in values], ddof=1)
        told = np.sqrt(np.mean([v.std_error**2 for v in values]))
        assert told == pytest.approx(spread, rel=0.35)
        assert np.mean([v.value for v in values]) == pytest.approx(1, abs=4 * spread / 60**0.5)


def test_weights_products_and_posterior_are_means_over_p():
    given, _, _ = drawn(20_000)
    error = np.full_like(given.at_data, 3.0)
    lines = list(report.weights(given, error, EDGES))
    wanted = {
        ("posterior", ""): lambda x, s: expit(log_ratio(x, s)),
        ("weight", "kl_reverse"): lambda x, s: np.exp(-log_ratio(x, s)),
        ("weight", "js"): lambda x, s: 0.5 * expit(-log_ratio(x, s)),
        ("weight", "chi2"): lambda x, s: 2 * np.exp(log_ratio(x, s)),
    }
    for k, (a, b) in enumerate(itertools.pairwise(EDGES)):
        for (estimator, name), integrand in wanted.items():
            truth = over(a, b, integrand, "p")
            at = [x for x in lines if (x.estimator, x.divergence, x.kind) == (estimator, name, "curve")]
            assert abs(at[k].value.value - truth) < 4 * at[k].value.std_error + 1e-3 * truth, (
                estimator,
                name,
            )
            if estimator == "weight":
                (product,) = (x for x in lines if (x.estimator, x.divergence, x.kind, x.sigma_lo) == ("product", name, "curve", at[k].sigma_lo))  # fmt: skip
                assert product.value.value == pytest.approx(3 * at[k].value.value)


@pytest.mark.parametrize("name", ["kl", "kl_reverse", "js"])
def test_the_integral_ends_with_the_divergence_at_its_upper_end(name):
    """A range that ends where much of the divergence is left: without its boundary term the total is far off."""
    high = 0.5
    given, at_data, at_model = drawn(40_000, repeats=2, high=high)
    edges = log_edges(LOW, high, 2)
    top = divergence(high * 0.9999, high * 1.0001, name)
    lines = report.integrals(
        given,
        at_data,
        at_model,
        edges,
        {f"{d}_nwj": Value(top if d == name else 0.0, 0.0) for d in report.DIVERGENCES},
    )
    (found,) = (x for x in lines if x.kind == "estimate" and x.divergence == name)
    truth = divergence(LOW * 0.9999, LOW * 1.0001, name)
    assert top > 10 * found.value.std_error
    assert abs(found.value.value - truth) < 4 * found.value.std_error + 2e-3
    assert (found.sigma_lo, found.sigma_hi) == (pytest.approx(LOW), pytest.approx(high))
