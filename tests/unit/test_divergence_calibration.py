"""Calibration of held-out logits per noise bin: detected where it fails, corrected where possible, unchanged otherwise."""

import numpy as np
import pytest
from scipy.special import expit

from guidelab.metrics.calibration import check_calibration, fit_calibration
from guidelab.metrics.ratio_bounds import ratio_bounds
from guidelab.metrics.units import log_edges

EDGES = log_edges(0.1, 10.0, 2)  # bins 0.1 to 1 and 1 to 10
KL = 0.5  # N(1/2, 1) against N(-1/2, 1): log ratio is x


def points(seed, n, scale=(1.0, 1.0), bias=(0.0, 0.0)):
    """Logits of both sides, mis-scaled and shifted per bin; the true log-ratio is N(+-1/2, 1) at every level."""
    rng = np.random.default_rng(seed)
    given = {}
    for side, mean in (("data", 0.5), ("model", -0.5)):
        sigma = np.exp(rng.uniform(np.log(0.1), np.log(10), n))
        low = sigma < 1
        logits = rng.normal(mean, 1, n) * np.where(low, *scale) + np.where(low, *bias)
        given |= {f"logits_at_{side}": logits, f"sigma_at_{side}": sigma}
    return given


def bounds(given, bin_, calibration=None):
    sides = {}
    for side in ("data", "model"):
        logits, sigma = given[f"logits_at_{side}"], given[f"sigma_at_{side}"]
        if calibration is not None:
            logits = calibration.apply(logits, sigma)[:, 0]
        hit = (sigma >= EDGES[bin_]) & (sigma <= EDGES[bin_ + 1])
        sides[f"logits_at_{side}"] = logits[hit]
    return ratio_bounds(**sides)


def test_the_exact_ratio_passes_every_check():
    for check in check_calibration(**points(0, 40_000), edges=EDGES):
        for mean in (check.ratio_mean, check.inverse_ratio_mean):
            assert mean.value == pytest.approx(1, abs=4 * mean.std_error) and mean.std_error < 0.02
        assert check.ece.value < 2 * check.ece_floor < 0.02
        x = np.random.default_rng(1).normal(0.5, 1, 400_000)
        assert check.brier.value == pytest.approx((expit(-x) ** 2).mean(), abs=4 * check.brier.std_error)
        assert check.cross_entropy.value == pytest.approx(
            np.log1p(np.exp(-x)).mean(), abs=4 * check.cross_entropy.std_error
        )


def test_only_the_bin_that_is_off_is_reported():
    first, second = check_calibration(**points(2, 40_000, scale=(2.0, 1.0)), edges=EDGES)
    assert (first.low, first.high, second.high) == pytest.approx((0.1, 1.0, 10.0))
    assert first.ratio_mean.value > 1 + 5 * first.ratio_mean.std_error
    assert first.ece.value > 5 * first.ece_floor and second.ece.value < 2 * second.ece_floor
    assert abs(second.ratio_mean.value - 1) < 4 * second.ratio_mean.std_error


def test_the_expected_error_of_a_calibrated_ratio_is_its_floor():
    found = [check_calibration(**points(seed, 2000), edges=EDGES)[0] for seed in range(60)]
    assert np.mean([check.ece.value for check in found]) == pytest.approx(
        np.mean([check.ece_floor for check in found]), rel=0.1
    )


def test_a_temperature_corrects_a_scale_out_of_range():
    """Fitted on validation points, evaluated on others."""
    calibration = fit_calibration(**points(3, 10_000, scale=(3.0, 0.5), bias=(0.4, 0.0)), edges=EDGES)
    assert calibration.helped.all()
    assert calibration.scale == pytest.approx([1 / 3, 2.0], rel=0.1)
    assert calibration.bias == pytest.approx([-0.4 / 3, 0.0], abs=0.05)
    held = points(4, 10_000, scale=(3.0, 0.5), bias=(0.4, 0.0))
    before, after = bounds(held, 0)["kl_nwj"], bounds(held, 0, calibration)["kl_nwj"]
    assert before.value < -1 and after.value == pytest.approx(KL, abs=4 * after.std_error + 0.01)
    mended = {**held}
    for side in ("data", "model"):
        mended[f"logits_at_{side}"] = calibration.apply(held[f"logits_at_{side}"], held[f"sigma_at_{side}"])[
            :, 0
        ]
    for raw, fixed in zip(
        check_calibration(**held, edges=EDGES), check_calibration(**mended, edges=EDGES), strict=True
    ):
        assert fixed.ece.value < 0.3 * raw.ece.value
        assert fixed.brier.value < raw.brier.value and fixed.cross_entropy.value < raw.cross_entropy.value


def test_a_calibrated_ratio_is_mostly_left_alone_and_never_harmed():
    changed, decreases = [], []
    for seed in range(25):
        calibration = fit_calibration(**points(seed, 2000), edges=EDGES)
        changed += list(calibration.helped)
        decreases += [value.value for value in calibration.decrease]
        unhelped = ~calibration.helped
        assert (calibration.scale[unhelped] == 1).all() and (calibration.bias[unhelped] == 0).all()
    assert np.mean(changed) < 0.25 and np.mean(decreases) < 0  # a fit's own points would always say it helped


def test_the_fit_is_the_least_cross_entropy():
    given = points(5, 3000, scale=(2.0, 1.0), bias=(0.3, 0.0))
    calibration = fit_calibration(**given, edges=np.array([0.1, 10.0]))
    data, model = given["logits_at_data"], given["logits_at_model"]

    def loss(scale, bias):
        return np.logaddexp(0, -(scale * data + bias)).mean() + np.logaddexp(0, scale * model + bias).mean()

    best = loss(calibration.scale[0], calibration.bias[0])
    for step in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert best < loss(calibration.scale[0] + step[0], calibration.bias[0] + step[1])


def test_unequal_sides_prior_and_separable_points():
    given = points(6, 8000, scale=(2.0, 2.0))
    plain = fit_calibration(**given, edges=EDGES)
    odds = np.log(0.7 / 0.3)
    shifted = {**given, "logits_at_data": given["logits_at_data"] + odds}
    shifted |= {"logits_at_model": given["logits_at_model"] + odds}
    assert fit_calibration(**shifted, edges=EDGES, prior_data=0.7).bias == pytest.approx(plain.bias, abs=1e-6)
    few = {name: (values[:2000] if name.endswith("model") else values) for name, values in given.items()}
    assert fit_calibration(**few, edges=EDGES).scale == pytest.approx([0.5, 0.5], rel=0.15)
    apart = {
        "logits_at_data": np.full(40, 3.0),
        "logits_at_model": np.full(40, -3.0),
        "sigma_at_data": np.full(40, 0.5),
        "sigma_at_model": np.full(40, 0.5),
    }
    found = fit_calibration(**apart, edges=np.array([0.1, 10.0]))
    assert np.isfinite(found.scale).all() and found.scale[0] < 50
    inverted = {**apart, "logits_at_data": np.full(40, -3.0), "logits_at_model": np.full(40, 3.0)}
    assert fit_calibration(**inverted, edges=np.array([0.1, 10.0])).scale[0] == pytest.approx(0, abs=1e-6)


def test_pairs_are_units_and_stay_in_one_half():
    given = points(7, 4000, scale=(2.0, 1.0))
    once = fit_calibration(**given, edges=EDGES)
    twice = fit_calibration(**{k: np.stack([v, v], 1) for k, v in given.items()}, edges=EDGES)
    for first, second in zip(once.decrease, twice.decrease, strict=True):
        assert second.value == pytest.approx(first.value, rel=0.05, abs=1e-4)
        assert second.std_error == pytest.approx(first.std_error, rel=0.05)
    pairs = {k: np.stack([v, v], 1) for k, v in given.items()}
    single, double = (check_calibration(**g, edges=EDGES)[0] for g in (given, pairs))
    assert double.ratio_mean.std_error == pytest.approx(single.ratio_mean.std_error)
    assert double.brier.std_error == pytest.approx(single.brier.std_error)


def test_refusals_and_heavy_tails():
    given = points(8, 200)
    with pytest.raises(ValueError, match="no data point between"):
        check_calibration(**given, edges=log_edges(0.05, 10.0, 300))
    with pytest.raises(ValueError, match="lie outside"):
        fit_calibration(**given, edges=np.array([1.0, 10.0]))
    with pytest.raises(ValueError, match="one shape"):
        check_calibration(**{**given, "sigma_at_data": given["sigma_at_data"][1:]}, edges=EDGES)
    heavy = check_calibration(**points(9, 4000, scale=(6.0, 1.0)), edges=EDGES)
    assert not heavy[0].ratio_mean.estimable and heavy[1].ratio_mean.estimable
