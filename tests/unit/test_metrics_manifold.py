"""k-NN metrics: equal to brute force on every route, the sides, and invalid inputs."""

import numpy as np
import pytest
import torch

from guidelab.metrics import neighbours
from guidelab.metrics.manifold import manifold
from guidelab.metrics.neighbours import ball_counts, kth_radius2, squared_distances


def brute_force(generated, reference, k):
    """The definitions, on float64 distances from differences."""
    g, r = np.asarray(generated, dtype=np.float64), np.asarray(reference, dtype=np.float64)

    def radii(points):
        distances = squared_distances(points, points)
        np.fill_diagonal(distances, np.inf)
        return np.sort(distances, axis=1)[:, k - 1]

    between = squared_distances(g, r)
    in_reference = between <= radii(r)
    in_generated = radii(g)[None, :] >= between.T
    return {
        "precision": in_reference.any(1).mean(),
        "recall": in_generated.any(1).mean(),
        "density": in_reference.sum(1).mean() / k,
        "coverage": in_reference.any(0).mean(),
    }


def assert_equal(generated, reference, k):
    found = manifold(generated=generated, reference=reference, k=k)
    for name, expected in brute_force(generated, reference, k).items():
        assert getattr(found, name).value == pytest.approx(expected, rel=0, abs=1e-14), name


@pytest.mark.parametrize("features", [1, 2, 8, 9, 32, 300])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_brute_force(features, k):
    rng = np.random.default_rng(features)
    # A common offset is what loses digits in |a|^2 + |b|^2 - 2ab.
    generated = (100 + 0.8 * rng.standard_normal((150, features))).astype(np.float32)
    reference = (100 + rng.standard_normal((220, features))).astype(np.float32)
    assert_equal(generated, reference, k)
    assert_equal(torch.from_numpy(generated), torch.from_numpy(reference), k)


@pytest.mark.parametrize(("features", "side"), [(2, 3), (2, 15), (3, 6), (40, 3)])
def test_duplicates_and_points_on_the_boundary(features, side):
    rng = np.random.default_rng(0)
    reference = rng.integers(0, side, (120, features)).astype(np.float64)  # a lattice: ties everywhere
    generated = np.concatenate([reference[:60], rng.integers(0, side, (60, features))]).astype(np.float64)
    reference[:10] = reference[0]  # balls of radius zero
    for k in (1, 3):
        assert_equal(generated, reference, k)


@pytest.mark.parametrize("features", [2, 40])
@pytest.mark.parametrize("runaway", [1e6, 1e12, 1e40])
def test_a_runaway_does_not_blur_the_others(features, runaway):
    rng = np.random.default_rng(1)
    generated, reference = rng.standard_normal((2, 150, features))
    generated[3] = runaway
    assert_equal(generated, reference, 3)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_the_unit_of_the_features_does_not_matter(scale):
    a, b = np.random.default_rng(1).standard_normal((2, 200, 30))
    one, other = manifold(generated=scale * a, reference=scale * b), manifold(generated=a, reference=b)
    assert (one.density, one.coverage) == (other.density, other.coverage)
    for x, y in ((one.precision, other.precision), (one.recall, other.recall)):
        assert x.value == y.value and x.std_error == pytest.approx(y.std_error, rel=1e-4)


def test_tiny_distances_beside_huge_ones():
    rng = np.random.default_rng(10)
    points, centres = 1e-25 * rng.standard_normal((2, 80, 12))
    points[0], centres[0] = 1.0, -1.0
    radius2 = torch.from_numpy(rng.uniform(1e-49, 4e-49, 80))
    found = ball_counts(torch.from_numpy(points), torch.from_numpy(centres), radius2)
    inside = squared_distances(points, centres) <= radius2.numpy()
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(found[0].numpy(), inside.sum(1))
    np.testing.assert_array_equal(found[1].numpy(), inside.sum(0))


def test_a_stray_point_with_a_wide_ball_is_named():
    rng = np.random.default_rng(11)
    reference, collapsed = rng.standard_normal((500, 2)), 0.01 * rng.standard_normal((500, 2))
    collapsed[0] = [1.0, 0.0]
    values = manifold(generated=collapsed, reference=reference)
    assert "one generated point's ball holds" in values.recall.note and values.precision.note == ""
    assert manifold(generated=rng.standard_normal((500, 2)), reference=reference).recall.note == ""


def test_small_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    sets = [rng.standard_normal((2, 200, features)) for features in (2, 30)]
    before = [manifold(generated=a, reference=b) for a, b in sets]
    monkeypatch.setattr(neighbours, "BLOCK", 500)
    assert [manifold(generated=a, reference=b) for a, b in sets] == before


def test_tree_and_screen_agree(monkeypatch):
    rng = np.random.default_rng(3)
    points, centres = (torch.from_numpy(x) for x in rng.standard_normal((2, 300, 3)))
    by_tree = kth_radius2(points, 4), *ball_counts(points, centres, kth_radius2(centres, 4))
    monkeypatch.setattr(neighbours, "TREE_MAX_FEATURES", 0)
    by_screen = kth_radius2(points, 4), *ball_counts(points, centres, kth_radius2(centres, 4))
    for one, other in zip(by_tree, by_screen, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_spare_candidates_are_not_trusted_blindly(monkeypatch):
    """More points inside the rounding bound than spare candidates: only the full search finds the k-th."""
    rng = np.random.default_rng(4)
    points = np.zeros((60, 20))
    points[1:50] = 1e3 * np.eye(20)[rng.integers(0, 20, 49)] + 1e-4 * rng.standard_normal((49, 20))
    points[50:] = 1e3 * rng.standard_normal((10, 20))
    expected = squared_distances(points, points)
    np.fill_diagonal(expected, np.inf)
    found = kth_radius2(torch.from_numpy(points), 3)
    np.testing.assert_allclose(found.numpy(), np.sort(expected, axis=1)[:, 2], rtol=1e-14)


def test_a_collapsed_generator_has_high_precision_and_low_recall():
    rng = np.random.default_rng(5)
    reference = rng.standard_normal((1000, 2))
    collapsed = 0.05 * rng.standard_normal((1000, 2))
    values = manifold(generated=collapsed, reference=reference)
    assert values.precision.value > 0.95 and values.recall.value < 0.1
    assert values.coverage.value < 0.1 < values.density.value
    spread = manifold(generated=4 * rng.standard_normal((1000, 2)), reference=reference)
    assert spread.precision.value < 0.5 and spread.recall.value > 0.8


def test_order_does_not_matter():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 200, 12))
    one = manifold(generated=a, reference=b)
    other = manifold(generated=a[rng.permutation(200)], reference=b[rng.permutation(200)])
    assert (one.density, one.coverage) == (other.density, other.coverage)
    for x, y in ((one.precision, other.precision), (one.recall, other.recall)):
        assert x.value == y.value
        assert x.std_error == pytest.approx(
            y.std_error, rel=0.35
        )  # the halves of the balls are drawn by order


def test_non_finite_points_count_against_precision_and_are_named():
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, 100, 2))
    clean = manifold(generated=a, reference=b)
    dirty = manifold(generated=np.concatenate([a, [[np.nan, 0.0], [np.inf, 1.0]]]), reference=b)
    assert dirty.precision.value == pytest.approx(clean.precision.value * 100 / 102)
    assert dirty.recall.value == clean.recall.value
    assert "2 of 102" in dirty.recall.note and clean.recall.note == ""


def test_refusals():
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((10, 3)), rng.standard_normal((12, 3))
    with pytest.raises(ValueError, match="10 generated and 12 reference"):
        manifold(generated=a, reference=b, equal_n=True)
    with pytest.raises(ValueError, match="3 features generated, 2"):
        manifold(generated=a, reference=b[:, :2])
    with pytest.raises(ValueError, match="k = 12"):
        manifold(generated=rng.standard_normal((20, 3)), reference=b, k=12)
    with pytest.raises(ValueError, match="more than k"):
        manifold(generated=np.full((10, 3), np.nan), reference=b)
    with pytest.raises(ValueError, match="reference holds"):
        manifold(generated=a, reference=np.full((10, 3), np.nan))
