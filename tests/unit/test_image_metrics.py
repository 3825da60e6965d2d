"""FID against one reference, KID, class scores and their assembly: closed forms, definitions, errors, invalid input."""

import numpy as np
import pytest
import torch

from guidelab.metrics.class_scores import accuracy, inception_score
from guidelab.metrics.frechet import Moments, frechet_distance, moments
from guidelab.metrics.frechet_fixed import frechet_fixed, spread
from guidelab.metrics.images import IMAGE_METRICS, Generated, Reference, equal_subset, measure_images
from guidelab.metrics.kid import kid


def draws(rng, n, features, decades=1.0, scale=1.0, shift=0.0):
    spectrum = np.logspace(0, -decades, features)
    return scale * rng.standard_normal((n, features)) * spectrum + shift * spectrum


# ---- FID -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "features", "m"), [(30, 80, 300), (80, 30, 300), (50, 50, 300), (40, 90, 60), (3, 5, 9)]
)
def test_the_small_form_equals_the_full_form(n, features, m):
    """Fewer rows than features on either side, or on both, or on none."""
    rng = np.random.default_rng(n)
    x, y = draws(rng, n, features, 2, 1.2, 0.3), draws(rng, m, features, 2)
    full = frechet_distance(generated=moments(x), reference=moments(y))
    assert frechet_fixed(generated=x, reference=spread(y)).value == pytest.approx(full, rel=1e-9)


def test_closed_form_of_gaussians():
    """Rows with exactly the given moments: the distance is |m|^2 + sum (a - b)^2."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((200, 6))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    a, b, mean = rng.uniform(0.5, 2, 6), rng.uniform(0.5, 2, 6), rng.standard_normal(6)
    exact = mean @ mean + np.sum((a - b) ** 2)
    reference = Moments(np.zeros(6), np.diag(b**2), 10_000)
    assert frechet_fixed(generated=white * a + mean, reference=spread(reference)).value == pytest.approx(
        exact, rel=1e-12
    )


@pytest.mark.parametrize(("n", "features"), [(25, 40), (40, 12), (20, 20)])
def test_the_error_is_the_exact_delete_one_jackknife(n, features):
    rng = np.random.default_rng(features)
    x, reference = draws(rng, n, features, 1, 1.2, 0.3), spread(draws(rng, 400, features))
    without = [
        frechet_distance(generated=moments(np.delete(x, i, 0)), reference=reference.moments) for i in range(n)
    ]
    exact = np.sqrt((n - 1) / n * np.square(without - np.mean(without)).sum())
    assert frechet_fixed(generated=x, reference=reference).std_error == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("n", "features", "low", "high"), [(400, 8, 0.8, 1.2), (150, 250, 0.8, 1.6)])
def test_the_error_is_the_spread_over_draws(n, features, low, high):
    """With fewer rows than features it errs on the large side, by about a quarter."""
    rng = np.random.default_rng(1)
    reference = spread(draws(rng, 2000, features))
    values = [
        frechet_fixed(generated=draws(rng, n, features, 1, 1.2, 0.1), reference=reference) for _ in range(80)
    ]
    ratio = np.mean([v.std_error for v in values]) / np.std([v.value for v in values], ddof=1)
    assert low < ratio < high


def test_ill_conditioned_features_keep_their_digits():
    rng = np.random.default_rng(2)
    x, y = draws(rng, 60, 100, 9), draws(rng, 500, 100, 9, 1.1)
    full = frechet_distance(generated=moments(x), reference=moments(y))
    assert frechet_fixed(generated=x, reference=spread(y)).value == pytest.approx(full, rel=1e-6)
    y[:, 50:] = 0  # dead features
    full = frechet_distance(generated=moments(x), reference=moments(y))
    assert frechet_fixed(generated=x, reference=spread(y)).value == pytest.approx(full, rel=1e-6)
    dead = frechet_fixed(generated=np.zeros((5, 100)), reference=spread(y))
    assert dead.value == pytest.approx(np.trace(np.cov(y, rowvar=False)) + y.mean(0) @ y.mean(0))


def test_not_finite_rows_and_other_features():
    rng = np.random.default_rng(3)
    x, reference = draws(rng, 50, 5), spread(draws(rng, 100, 5))
    clean = frechet_fixed(generated=x, reference=reference)
    dirty = frechet_fixed(generated=np.concatenate([x, np.full((2, 5), np.nan)]), reference=reference)
    assert dirty.value == clean.value and not dirty.estimable and "2 of 52" in dirty.note
    with pytest.raises(ValueError, match="4 features generated, 5 in the reference"):
        frechet_fixed(generated=x[:, :4], reference=reference)
    with pytest.raises(ValueError, match="at least 2"):
        frechet_fixed(generated=x[:1], reference=reference)


# ---- KID -----------------------------------------------------------------------------------------------------


def brute_kid(x, y):
    def k(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    within = [(k(s, s).sum() - np.trace(k(s, s))) / (len(s) * (len(s) - 1)) for s in (x, y)]
    return sum(within) - 2 * k(x, y).sum() / (n * m)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 50), (41, 67), (100, 30)])
def test_kid_is_its_definition(n, m):
    rng = np.random.default_rng(n)
    x, y = draws(rng, n, 7, shift=0.5), draws(rng, m, 7)
    assert kid(generated=x, reference=y).value == pytest.approx(brute_kid(x, y), rel=1e-11)


def test_kid_error_is_the_block_jackknife():
    rng = np.random.default_rng(4)
    x, y, blocks = draws(rng, 43, 6, shift=0.4), draws(rng, 57, 6), 5
    variance = 0.0
    for side in (0, 1):
        sets = [x, y]
        keep = [np.arange(len(sets[side])) % blocks != b for b in range(blocks)]
        without = []
        for mask in keep:
            reduced = list(sets)
            reduced[side] = sets[side][mask]
            without.append(brute_kid(*reduced))
        variance += (blocks - 1) / blocks * np.square(without - np.mean(without)).sum()
    found = kid(generated=x, reference=y, blocks=blocks)
    assert found.std_error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_kid_of_equal_distributions_is_zero_within_its_error_and_without_bias():
    rng = np.random.default_rng(5)
    values = [kid(generated=draws(rng, 100, 10), reference=draws(rng, 100, 10)) for _ in range(100)]
    ratios = np.array([v.value / v.std_error for v in values])
    assert np.mean(np.abs(ratios) < 1.96) >= 0.9
    numbers = np.array([v.value for v in values])
    assert abs(numbers.mean()) < 3 * numbers.std() / 10
    assert (numbers < 0).any()  # unbiased: never clamped at zero


def test_kid_error_covers_the_spread_between_different_distributions():
    rng = np.random.default_rng(6)
    values = [
        kid(generated=draws(rng, 200, 10, shift=0.6), reference=draws(rng, 200, 10)) for _ in range(100)
    ]
    ratio = np.mean([v.std_error for v in values]) / np.std([v.value for v in values], ddof=1)
    assert 0.8 < ratio < 1.25


def test_kid_refusals_and_not_finite_rows():
    rng = np.random.default_rng(7)
    x, y = draws(rng, 20, 4), draws(rng, 20, 4)
    dirty = kid(generated=np.concatenate([x, np.full((1, 4), np.inf)]), reference=y)
    assert dirty.value == kid(generated=x, reference=y).value and "1 of 21" in dirty.note
    with pytest.raises(ValueError, match="4 features generated, 3"):
        kid(generated=x, reference=y[:, :3])
    with pytest.raises(ValueError, match="reference holds"):
        kid(generated=x, reference=np.full((5, 4), np.nan))


# ---- class scores --------------------------------------------------------------------------------------------


def test_inception_score_of_certain_and_even_classes_is_their_number():
    logits = 100 * torch.eye(7).repeat(30, 1)
    assert inception_score(logits).value == pytest.approx(7, rel=1e-12)
    assert inception_score(logits).std_error == pytest.approx(0, abs=1e-12)
    assert inception_score(logits, splits=3).value == pytest.approx(7, rel=1e-12)
    assert inception_score(torch.zeros(50, 7)).value == pytest.approx(1, rel=1e-12)
    certain = torch.tensor([[0.0, -1e4]]).repeat(50, 1)  # a class of probability exactly 0
    assert inception_score(certain).value == pytest.approx(1, rel=1e-12)
    certain[0, 0] = np.nan
    assert not inception_score(certain).estimable


def test_inception_score_error_is_the_spread_over_draws():
    generator = torch.Generator().manual_seed(0)
    values = [inception_score(2 * torch.randn(300, 10, generator=generator)) for _ in range(150)]
    ratio = np.mean([v.std_error for v in values]) / np.std([v.value for v in values], ddof=1)
    assert 0.8 < ratio < 1.25


def test_accuracy_counts_and_names():
    logits = torch.eye(4)[[0, 1, 2, 3, 3]]
    value = accuracy(logits, torch.tensor([0, 1, 2, 3, 0]))
    assert value.value == 0.8 and value.std_error > 0
    logits[0, 0] = np.nan
    assert accuracy(logits, torch.tensor([0, 1, 2, 3, 0])).value == 0.6
    with pytest.raises(ValueError, match=r"0\.\.4, wanted 0\.\.3"):
        accuracy(logits, torch.tensor([0, 1, 2, 4, 0]))
    with pytest.raises(ValueError, match="5 logits and 4"):
        accuracy(logits, torch.tensor([0, 1, 2, 3]))


# ---- together ------------------------------------------------------------------------------------------------


def equal_counts(x, y, names, seed=4, **more):
    return measure_images(
        Generated(x, **more), Reference(y, spread(y)), names, k=3, counts="equal", seed=seed
    )


def test_every_metric_states_its_sizes_in_the_order_asked():
    rng = np.random.default_rng(8)
    x, y = draws(rng, 60, 9), draws(rng, 200, 9)
    logits, labels = rng.standard_normal((60, 5)), rng.integers(0, 5, 60)
    names = tuple(name for name in reversed(IMAGE_METRICS) if name != "sfid")
    found = equal_counts(x, y, names, logits=logits, labels=labels)
    assert [number.metric for number in found] == list(names)
    sizes = {number.metric: (number.n_generated, number.n_reference) for number in found}
    assert sizes["fid"] == (60, 200) and sizes["kid"] == sizes["recall"] == sizes["precision"] == (60, 60)
    assert sizes["accuracy"] == sizes["inception_score"] == (60, 0)


def test_equal_counts_are_those_of_the_seeded_subset():
    """Precision, recall and KID of `equal` are those of `all` with the subset as the reference, and no other's."""
    rng = np.random.default_rng(10)
    x, y = draws(rng, 60, 9, shift=0.4), draws(rng, 200, 9)
    names = ("kid", "precision", "recall")
    found = [number.value.value for number in equal_counts(x, y, names)]
    subset = Reference(equal_subset(y, 60, 4))
    same = measure_images(Generated(x), subset, names, k=3, counts="all")
    assert found == pytest.approx([number.value.value for number in same], rel=1e-12)
    other = [number.value.value for number in equal_counts(x, y, names, seed=5)]
    every = [n.value.value for n in measure_images(Generated(x), Reference(y), names, k=3, counts="all")]
    assert found[0] not in (other[0], every[0]) and found != other and found[1:] != every[1:]


def test_the_reference_subset_is_seeded_without_repeats_and_nested():
    y = torch.arange(50.0)[:, None]
    subset = equal_subset(y, 20, 3)[:, 0].tolist()
    assert len(set(subset)) == 20 and subset == equal_subset(y, 20, 3)[:, 0].tolist()
    assert (
        subset != equal_subset(y, 20, 4)[:, 0].tolist()
        and subset[:10] == equal_subset(y, 10, 3)[:, 0].tolist()
    )
    assert sorted(equal_subset(y, 50, 3)[:, 0].tolist()) == y[:, 0].tolist()


def test_refusals():
    rng = np.random.default_rng(9)
    x, y = draws(rng, 20, 4), draws(rng, 15, 4)
    with pytest.raises(ValueError, match="15 reference rows for 20 generated"):
        equal_counts(x, y, ["recall"])
    with pytest.raises(ValueError, match="'fud' is not known"):
        equal_counts(x, y, ["fud"])
    with pytest.raises(ValueError, match="'half' is not known; wanted one of equal, all"):
        measure_images(Generated(x), Reference(y), ["kid"], k=3, counts="half")
    with pytest.raises(ValueError, match="logits are wanted and were not given"):
        equal_counts(x, y, ["accuracy"])
    with pytest.raises(ValueError, match="19 labels, wanted 20"):
        equal_counts(x, y, ["accuracy"], logits=x, labels=np.zeros(19, dtype=int))
