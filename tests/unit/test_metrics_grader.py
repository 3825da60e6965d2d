"""Bounds from a discriminator's logits: exact with the optimal logit, bounds with any other."""

import numpy as np
import pytest
from scipy.stats import norm

from guidelab.metrics.grader import grade

N = 100_000
KL, JS, ACCURACY = 0.5, 0.111365, norm.cdf(0.5)  # N(1, 1) against N(0, 1)


def logits(seed=0):
    rng = np.random.default_rng(seed)
    data, model = rng.normal(1, 1, N), rng.normal(0, 1, N)
    return data - 0.5, model - 0.5  # log p/q = x - 1/2


def test_the_optimal_logit_reaches_the_divergences():
    data, model = logits()
    values = grade(logits_at_data=data, logits_at_model=model)
    for name, truth in (
        ("grader_js", JS),
        ("grader_kl_dv", KL),
        ("grader_kl_nwj", KL),
        ("grader_accuracy", ACCURACY),
        ("grader_ratio_mean", 1.0),
    ):
        assert values[name].value == pytest.approx(truth, abs=4 * values[name].std_error), name
        assert values[name].std_error < 0.02


@pytest.mark.parametrize("scale", [0.3, 1.5, -1.0])
def test_any_other_logit_stays_below(scale):
    data, model = (scale * side for side in logits(1))
    values = grade(logits_at_data=data, logits_at_model=model)
    assert values["grader_js"].value < JS
    assert values["grader_kl_nwj"].value <= values["grader_kl_dv"].value + 1e-12 < KL


def test_prior_of_the_training_batches_is_removed():
    data, model = logits(2)
    odds = np.log(0.8 / 0.2)
    plain = grade(logits_at_data=data, logits_at_model=model)
    shifted = grade(logits_at_data=data + odds, logits_at_model=model + odds, prior_data=0.8)
    assert shifted["grader_js"].value == pytest.approx(plain["grader_js"].value, abs=1e-12)


def test_unequal_sizes_stay_balanced():
    data, model = logits(3)
    values = grade(logits_at_data=data, logits_at_model=model[:5000])
    assert values["grader_js"].value == pytest.approx(JS, abs=4 * values["grader_js"].std_error)


def test_ties_count_half_and_an_overfit_ratio_is_flagged():
    assert grade(logits_at_data=np.zeros(9), logits_at_model=np.zeros(9))["grader_accuracy"].value == 0.5
    model = np.full(2000, -3.0)
    model[0] = 30
    values = grade(logits_at_data=np.full(2000, 3.0), logits_at_model=model)
    assert not values["grader_kl_nwj"].estimable and not values["grader_kl_dv"].estimable
    assert values["grader_js"].estimable
    values = grade(logits_at_data=np.zeros(5), logits_at_model=np.full(5, 5000.0))
    assert np.isfinite(values["grader_kl_dv"].value)


def test_standard_errors_cover():
    rng = np.random.default_rng(4)
    hits = np.zeros(4)
    truths = (JS, KL, KL, ACCURACY)
    names = ("grader_js", "grader_kl_dv", "grader_kl_nwj", "grader_accuracy")
    for _ in range(300):
        values = grade(logits_at_data=rng.normal(0.5, 1, 2000), logits_at_model=rng.normal(-0.5, 1, 2000))
        hits += [
            abs(values[m].value - t) < 1.96 * values[m].std_error for m, t in zip(names, truths, strict=True)
        ]
    assert np.all((hits / 300 >= 0.91) & (hits / 300 <= 0.985)), hits / 300


def test_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="1 of 3"):
        grade(logits_at_data=np.array([0.0, np.nan, 1.0]), logits_at_model=np.zeros(3))
    with pytest.raises(ValueError, match="prior_data"):
        grade(logits_at_data=np.zeros(3), logits_at_model=np.zeros(3), prior_data=1.0)
