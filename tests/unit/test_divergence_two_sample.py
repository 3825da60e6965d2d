"""The classifier two-sample test: uniform under the null, powerful otherwise, AUC with its error."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kstest, norm

from guidelab.metrics.two_sample import accuracy, auc, two_sample_test


def scores(seed, n, m, shift=0.0):
    rng = np.random.default_rng(seed)
    return {"scores_at_data": rng.normal(shift, 1, n), "scores_at_model": rng.normal(0, 1, m)}


@pytest.mark.parametrize(("statistic", "n", "m"), [("auc", 100, 100), ("auc", 150, 50)])
def test_p_values_are_uniform_under_the_null(statistic, n, m):
    found = [
        two_sample_test(**scores(seed, n, m), permutations=199, seed=seed, statistic=statistic).p_value
        for seed in range(400)
    ]
    assert kstest(found, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.085


def test_ties_make_the_accuracy_test_conservative_never_too_eager():
    """The accuracy takes few values: P(p <= a) stays below a, and close to it."""
    found = np.array(
        [
            two_sample_test(**scores(seed, 1000, 700), permutations=999, seed=seed).p_value
            for seed in range(1500)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert level - 0.06 < np.mean(found <= level) < level + 2.5 * np.sqrt(level * (1 - level) / 1500)


def test_the_p_value_counts_exactly():
    """(1 + count) / (1 + permutations): never 0, 1 when every shuffle reaches the statistic."""
    apart = two_sample_test(
        scores_at_data=np.ones(50),
        scores_at_model=-np.ones(50),
        permutations=99,
        seed=0,
        statistic="accuracy",
    )
    assert apart.p_value == pytest.approx(0.01) and apart.statistic.value == 1 and apart.permutations == 99
    for statistic in ("accuracy", "auc"):
        same = two_sample_test(
            scores_at_data=np.zeros(20),
            scores_at_model=np.zeros(30),
            permutations=99,
            seed=0,
            statistic=statistic,
        )
        assert same.p_value == 1 and same.statistic.value == 0.5
    reversed_ = two_sample_test(
        scores_at_data=-np.ones(50), scores_at_model=np.ones(50), permutations=99, seed=0, statistic="auc"
    )
    assert reversed_.p_value == 1


def test_small_samples_agree_with_all_permutations():
    """Three against three: the 20 splits by hand."""
    data, model = np.array([0.9, -0.2, 1.4]), np.array([0.1, -1.0, -0.3])
    both = np.concatenate([data, model])

    def right(chosen):
        return (both[list(chosen)] > 0).sum() + (np.delete(both, list(chosen)) < 0).sum()

    splits = [right(chosen) for chosen in combinations(range(6), 3)]
    wanted = np.mean(np.array(splits) >= right((0, 1, 2)))
    found = two_sample_test(scores_at_data=data, scores_at_model=model, permutations=20_000, seed=1)
    assert found.p_value == pytest.approx(wanted, abs=0.015)


@pytest.mark.parametrize("statistic", ["accuracy", "auc"])
def test_a_shift_is_found_and_seeds_repeat(statistic):
    given = scores(2, 500, 500, shift=0.4)
    found = two_sample_test(**given, permutations=999, seed=3, statistic=statistic)
    assert found.p_value < 0.01
    assert found == two_sample_test(**given, permutations=999, seed=3, statistic=statistic)


def test_auc_and_accuracy_have_their_values_and_intervals():
    truth = norm.cdf(0.5 / np.sqrt(2))
    hits = []
    for seed in range(1500):
        found = auc(**scores(seed, 300, 200, shift=0.5))
        hits.append(abs(found.value - truth) < 1.96 * found.std_error)
    assert 0.93 <= np.mean(hits) <= 0.97, np.mean(hits)
    given = scores(4, 50_000, 20_000, shift=0.5)
    assert auc(**given).value == pytest.approx(truth, abs=4 * auc(**given).std_error)
    balanced = accuracy(**given)
    assert balanced.value == pytest.approx(0.5 * (norm.cdf(0.5) + 0.5), abs=4 * balanced.std_error)


def test_auc_by_its_definition_with_ties():
    rng = np.random.default_rng(5)
    data, model = rng.integers(0, 5, 40) + 0.0, rng.integers(0, 4, 30) + 0.0
    pairs = (data[:, None] > model).mean() + 0.5 * (data[:, None] == model).mean()
    assert auc(scores_at_data=data, scores_at_model=model).value == pytest.approx(pairs, abs=1e-12)


def test_total_variation_bounds():
    """N(1, 1) against N(0, 1): both bounds below the truth, the accuracy's reached by the best threshold."""
    total_variation = 2 * norm.cdf(0.5) - 1
    rng = np.random.default_rng(6)
    given = {"scores_at_data": rng.normal(0.5, 1, 200_000), "scores_at_model": rng.normal(-0.5, 1, 200_000)}
    assert 2 * accuracy(**given).value - 1 == pytest.approx(total_variation, abs=0.01)
    assert 1 - np.sqrt(2 * (1 - auc(**given).value)) < total_variation


def test_refusals():
    given = scores(7, 10, 10)
    with pytest.raises(ValueError, match="0 permutations"):
        two_sample_test(**given, permutations=0, seed=0)
    with pytest.raises(ValueError, match="wanted one or more of accuracy or auc"):
        two_sample_test(**given, permutations=9, seed=0, statistic="mean")
    with pytest.raises(ValueError, match="scores_at_model: 1 of 10"):
        auc(scores_at_data=np.zeros(10), scores_at_model=np.r_[np.nan, np.zeros(9)])
