"""The integral along sigma from draws: unbiased in the right measure, with correct errors; mistakes that must show."""

import numpy as np
import pytest
import torch
from divergence_cases import LINE_P, LINE_Q, covers, draw_line, line_gap

from guidelab.metrics import sigma_integral
from guidelab.metrics.quadrature1d import divergence_1d, integral_1d
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.sigma_integral import STEADY_MEASURE, closure, integral, integral_terms
from guidelab.metrics.units import bin_index, log_edges, stratified_sigmas
from guidelab.metrics.value import Value

LOW, HIGH = 0.02, 20.0
EDGES = log_edges(LOW, HIGH, 20)
TRUTH = {name: integral_1d(name, LINE_P, LINE_Q, LOW, HIGH, "p") for name in STEADY_MEASURE}


def draws(seed, n, source, *, low=LOW, high=HIGH):
    """sigma, log-ratio and squared score gap at n points of the source, and the side of each."""
    rng = np.random.default_rng(seed)
    sigma = stratified_sigmas(rng.uniform(size=n), low, high)
    side = {"p": np.ones(n, bool), "q": np.zeros(n, bool), "m": rng.permuted(np.arange(n) % 2 == 0)}[source]
    x0 = np.where(side, draw_line(LINE_P, rng, n), draw_line(LINE_Q, rng, n))
    ratio, gap = line_gap(x0 + sigma * rng.standard_normal(n), sigma)
    return sigma, ratio, gap**2, side


def estimate(name, seed, n, measure, *, source=None, edges=EDGES, factor=1.0, scale=1, **options):
    source = source or measure
    sigma, ratio, gap, side = draws(seed, n, source, low=edges[0], high=edges[-1])
    if measure == "m":
        options["from_data"] = side
    return integral(
        name,
        sigma=sigma,
        log_ratio=scale * ratio,
        squared_gap=factor * gap,
        measure=measure,
        edges=edges,
        **options,
    )


@pytest.mark.parametrize("name", STEADY_MEASURE)
def test_every_divergence_in_its_steady_measure(name):
    found = estimate(name, 0, 40_000, STEADY_MEASURE[name])
    assert found.total.estimable, found.total.note
    assert found.total.std_error < 0.04 * TRUTH[name]
    assert found.total.value == pytest.approx(TRUTH[name], abs=4 * found.total.std_error)
    widths = np.diff(np.log(found.edges))
    assert found.total.value == pytest.approx(sum(widths * [value.value for value in found.curve]))
    for k in (8, 10, 12):  # where the divergence lies
        low, high = EDGES[k], EDGES[k + 1]
        height = integral_1d(name, LINE_P, LINE_Q, low, high, "p", nodes=8) / np.log(high / low)
        assert found.curve[k].value == pytest.approx(height, abs=4 * found.curve[k].std_error), k


def test_all_measures_agree():
    for name in ("kl", "kl_reverse", "js", "hellinger2"):
        totals = {measure: estimate(name, 1, 20_000, measure).total for measure in ("p", "q", "m")}
        for measure, total in totals.items():
            assert total.value == pytest.approx(TRUTH[name], abs=4 * total.std_error), (name, measure)


def test_a_ratio_out_of_scale_takes_over_except_in_the_steady_measure():
    for name in ("kl", "kl_reverse", "js", "hellinger2"):
        steady = estimate(name, 1, 4000, STEADY_MEASURE[name], scale=4).total
        assert steady.estimable and steady.value < 2 * TRUTH[name], name
        assert name not in ("kl", "kl_reverse") or right(
            estimate(name, 1, 4000, STEADY_MEASURE[name], scale=4), name
        )
    for name, measure in (("kl", "q"), ("kl_reverse", "p")):
        found = estimate(name, 1, 4000, measure, scale=4)
        assert not found.total.estimable or not right(found, name)


@pytest.mark.parametrize(("name", "measure"), [("kl", "p"), ("kl_reverse", "q"), ("js", "m")])
def test_intervals_cover(name, measure):
    hits = [covers(estimate(name, seed, 2000, measure).total, TRUTH[name]) for seed in range(250)]
    assert 0.92 <= np.mean(hits) <= 0.98, np.mean(hits)


def right(found, name):
    return abs(found.total.value - TRUTH[name]) < 4 * found.total.std_error


def test_the_wrong_measure_is_found():
    """KL's weight with the model's points is the reverse KL; with the facts' range, 0.2246 for 0.1787."""
    wrong = estimate("kl", 2, 40_000, "p", source="q")
    assert not right(wrong, "kl") and right(wrong, "kl_reverse")
    assert right(estimate("kl", 2, 40_000, "p"), "kl")
    for name in ("js", "hellinger2"):
        assert not right(estimate(name, 2, 40_000, "p", source="q"), name)


@pytest.mark.parametrize("name", STEADY_MEASURE)
def test_the_factor_two_is_found(name):
    wrong = estimate(name, 3, 40_000, STEADY_MEASURE[name], factor=2.0)
    assert not right(wrong, name)
    assert wrong.total.value == pytest.approx(2 * TRUTH[name], abs=4 * wrong.total.std_error)


@pytest.mark.parametrize("name", ["js", "chi2", "chi2_neyman", "hellinger2"])
def test_the_sign_of_the_log_ratio_is_found(name):
    assert not right(estimate(name, 4, 40_000, "p", scale=-1), name)


def test_the_upper_end_completes_the_divergence():
    low, high = 0.1, 1.0
    edges = log_edges(low, high, 8)
    upper = divergence_1d("kl", LINE_P, LINE_Q, high)
    assert upper > 0.01  # leaving it out would be seen
    found = estimate("kl", 5, 20_000, "p", edges=edges, at_sigma_max=Value(upper, 0.003)).total
    assert found.value == pytest.approx(divergence_1d("kl", LINE_P, LINE_Q, low), abs=4 * found.std_error)
    bare = estimate("kl", 5, 20_000, "p", edges=edges).total
    assert found.std_error == pytest.approx(np.hypot(bare.std_error, 0.003))
    assert "sigma 0.1 to 1" in found.note and "with D(sigma_max)" in found.note
    assert "without D(sigma_max)" in bare.note


def test_closure_is_zero_within_its_interval_and_sees_a_factor():
    low, high = 0.1, 1.0
    ends = [Value(divergence_1d("kl", LINE_P, LINE_Q, sigma), 1e-4) for sigma in (low, high)]
    for factor, closes in ((1.0, True), (2.0, False), (0.5, False)):
        between = estimate("kl", 6, 20_000, "p", edges=log_edges(low, high, 8), factor=factor).total
        defect = closure(at_low=ends[0], at_high=ends[1], between=between)
        assert (abs(defect.value) < 4 * defect.std_error) == closes
    flagged = closure(
        at_low=Value(1.0, 0.1, 5.0, "not estimable: 5 effective"), at_high=ends[1], between=between
    )
    assert not flagged.estimable


def test_an_overfit_ratio_inflates_the_integral_even_on_held_out_points():
    """Why the integral is no bound: a ratio with rough noise on top."""
    sigma, ratio, _, _ = draws(7, 20_000, "p")
    rng = np.random.default_rng(0)
    rough = line_gap(rng.normal(size=len(sigma)), sigma)[1] + rng.normal(size=len(sigma))
    found = integral("kl", sigma=sigma, log_ratio=ratio, squared_gap=rough**2, measure="p", edges=EDGES)
    assert found.total.value - 1.96 * found.total.std_error > TRUTH["kl"]


def test_heavy_tails_are_not_estimable():
    sigma, ratio, gap, _ = draws(8, 4000, "p")
    found = integral(
        "chi2_neyman", sigma=sigma, log_ratio=4 * ratio, squared_gap=gap, measure="p", edges=EDGES
    )
    assert not found.total.estimable and "sigma 0.02 to 20" in found.total.note
    assert any(not value.estimable for value in found.curve)
    extreme = integral_terms(
        "chi2",
        sigma=np.ones(3),
        log_ratio=np.array([0, 0, 5000.0]),
        squared_gap=np.ones(3),
        measure="q",
    )
    assert np.isfinite(extreme).all()


def test_rows_are_the_independent_units():
    """The same draw twice in a row is no new evidence; two independent ones are."""
    sigma, ratio, gap, _ = draws(9, 4000, "p")

    def total(*arrays):
        return integral("kl", **dict(zip(("sigma", "log_ratio", "squared_gap"), arrays, strict=True)),
                        measure="p", edges=EDGES).total  # fmt: skip

    once = total(sigma, ratio, gap)
    twice = total(*(np.stack([a, a], 1) for a in (sigma, ratio, gap)))
    assert twice.value == pytest.approx(once.value)
    assert twice.std_error == pytest.approx(once.std_error)
    spread = total(*(np.concatenate([a, a]) for a in (sigma, ratio, gap)))
    assert spread.std_error == pytest.approx(once.std_error / np.sqrt(2), rel=0.01)


def test_an_image_at_several_levels_is_one_unit():
    """Images that differ from each other at all levels alike: pooled draws would claim too much."""
    rng = np.random.default_rng(10)
    hits = []
    for _ in range(200):
        sigma = np.exp(rng.uniform(np.log(LOW), np.log(HIGH), (400, 6)))
        terms = 1.0 + rng.standard_normal((400, 1)) + 0.1 * rng.standard_normal((400, 6))
        hits.append(covers(sigma_curve(sigma=sigma, contribution=terms, edges=log_edges(LOW, HIGH, 5)).total,
                           np.log(HIGH / LOW)))  # fmt: skip
    assert 0.91 <= np.mean(hits) <= 0.985, np.mean(hits)


def test_mixture_sides_count_half_in_every_bin():
    sigma = np.repeat([1.0, 5.0], 50)
    side = np.tile(np.arange(50) < 10, 2)  # 10 of p, 40 of q
    found = sigma_curve(
        sigma=sigma, contribution=np.where(side, 3.0, 1.0), edges=np.array([0.5, 2, 8]), from_data=side
    )
    assert [value.value for value in found.curve] == pytest.approx([2.0, 2.0])
    assert found.total.value == pytest.approx(2 * np.log(16)) and (found.low, found.high) == (0.5, 8)


def test_noise_levels_are_stratified_and_binned():
    sigma = stratified_sigmas(np.random.default_rng(0).uniform(size=200), LOW, HIGH)
    assert (np.bincount(bin_index(sigma, EDGES)) == 10).all()
    assert list(bin_index(np.array([LOW, HIGH]), EDGES)) == [0, 19]
    with pytest.raises(ValueError, match="1 of 2 lie outside"):
        bin_index(np.array([0.001, 1.0]), EDGES)
    with pytest.raises(ValueError, match="ascending"):
        bin_index(sigma, EDGES[::-1])


def test_refusals():
    sigma, ratio, gap, side = draws(11, 400, "m")
    given = {"sigma": sigma, "log_ratio": ratio, "squared_gap": gap, "edges": EDGES}
    with pytest.raises(ValueError, match="from_data"):
        integral("js", measure="m", **given)
    with pytest.raises(ValueError, match="from_data"):
        integral("js", measure="p", from_data=side, **given)
    with pytest.raises(ValueError, match="no draw between"):
        integral("js", measure="p", **{**given, "edges": log_edges(LOW, 1e4, 30)})
    with pytest.raises(ValueError, match="one shape"):
        integral("js", measure="p", **{**given, "log_ratio": ratio[:-1]})
    with pytest.raises(ValueError, match="squared_gap: 1 of"):
        integral("js", measure="p", **{**given, "squared_gap": np.r_[np.nan, gap[1:]]})
    assert sigma_integral.STEADY_MEASURE["kl"] == "p"


def test_errors_of_bins_with_few_draws_add_like_strata():
    """sum of width^2 s^2 / n with s^2 over n - 1, for torch tensors too; a bin's single draw has no error."""
    rng = np.random.default_rng(12)
    edges = log_edges(1.0, 8.0, 3)
    sigma, terms = stratified_sigmas(rng.uniform(size=12), 1.0, 8.0), rng.standard_normal(12)
    found = sigma_curve(sigma=torch.tensor(sigma), contribution=torch.tensor(terms), edges=edges)
    errors = terms.reshape(3, 4).std(1, ddof=1) / 2
    assert [value.std_error for value in found.curve] == pytest.approx(list(errors))
    assert found.total.std_error == pytest.approx(np.log(2) * np.linalg.norm(errors))
    lone = sigma_curve(sigma=sigma[3:], contribution=terms[3:], edges=edges)
    assert not lone.curve[0].estimable and not lone.total.estimable and lone.curve[1].std_error > 0
