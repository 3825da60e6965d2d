"""Toy statistics on cases small enough to count by hand."""

import numpy as np
import pytest
import torch

from guidelab.metrics import toy

NAN, INF = float("nan"), float("inf")


def test_mean_clipped_and_median():
    log_p = np.array([1.0, 2.0, 3.0, -100.0])
    assert toy.mean_log_p(log_p).value == pytest.approx(-23.5)
    assert toy.mean_log_p_clipped(log_p).value == pytest.approx(-3.5)
    assert toy.median_log_p(log_p).value == pytest.approx(1.5)


def test_points_that_are_not_finite_never_enter_silently():
    log_p = torch.tensor([1.0, 2.0, 3.0, NAN, -INF])
    mean = toy.mean_log_p(log_p)
    assert mean.value == pytest.approx(2) and not mean.estimable and "2 of 5" in mean.note
    clipped = toy.mean_log_p_clipped(log_p)
    assert clipped.value == pytest.approx((6 - 40) / 5) and "2 of 5" in clipped.note
    median = toy.median_log_p(log_p)
    assert median.value == 1 and "2 of 5" in median.note
    outliers = toy.outliers_contour(log_p)
    assert outliers.value == pytest.approx(2 / 5) and "2 of 5" in outliers.note
    assert toy.outliers_99(log_p, threshold=1.5).value == pytest.approx(3 / 5)
    nothing = toy.mean_log_p(torch.tensor([NAN]))
    assert not nothing.estimable and nothing.value == -INF


def test_one_runaway_owns_the_mean_but_not_the_others():
    log_p = np.random.default_rng(0).normal(1.4, 1, 2000)
    assert toy.mean_log_p(log_p).note == ""
    before = toy.mean_log_p_clipped(log_p).value
    log_p[0] = -1e8
    mean = toy.mean_log_p(log_p)
    assert not mean.estimable and mean.ess < 2 and mean.value < -1000
    assert toy.mean_log_p_clipped(log_p).value == pytest.approx(before, abs=0.02)


def test_contour_level_is_strict_and_the_papers():
    assert toy.outliers_contour(np.array([-1.594, -1.595, -1.593])).value == pytest.approx(1 / 3)


def test_region_threshold_holds_its_mass():
    rng = np.random.default_rng(1)

    def log_p(n):
        return -(rng.standard_normal((n, 2)) ** 2).sum(1) / 2  # level set of mass m: -r^2/2 = log(1 - m)

    threshold = toy.region_threshold(log_p(200_000), 0.99)
    assert threshold == pytest.approx(np.log(0.01), abs=0.05)
    value = toy.outliers_99(log_p(50_000), threshold=threshold)
    assert value.value == pytest.approx(0.01, abs=4 * value.std_error)
    with pytest.raises(ValueError, match="mass"):
        toy.region_threshold(np.zeros(3), 99)
    with pytest.raises(ValueError, match="finite"):
        toy.region_threshold(np.array([0.0, NAN]))


def test_runaways():
    x = np.array([[0, 0], [2, 0], [1.5, 1.5], [NAN, 0], [0, INF], [1e300, 1e300]])
    assert toy.runaways(x).value == pytest.approx(4 / 6)
    assert toy.runaways(torch.zeros(1000, 2)).std_error > 0  # none seen is not none


def test_class_wrong():
    value = toy.class_wrong(
        log_p_a=np.array([0.0, -1.0, 1.0, NAN, 2.0]), log_p_b=np.array([-1.0, 0.0, 1.0, 5.0, 1.0])
    )
    assert value.value == pytest.approx(1 / 5) and "1 of 5" in value.note


MASS = np.array([0.5, 0.3, 0.15, 0.05])


def test_branches_by_hand():
    branch = np.array([0] * 70 + [1] * 28 + [2] * 1 + [-1] * 1)  # branch 2: 1 of 15 wanted; 3: none of 5
    assert toy.branches_empty(branch, mass=MASS).value == 2
    assert toy.mass_covered(branch, mass=MASS).value == pytest.approx(0.8)
    assert toy.branch_tv(branch, mass=MASS).value == pytest.approx(0.5 * (0.2 + 0.02 + 0.14 + 0.05 + 0.01))
    assert toy.leaf_mass(branch, depth=np.array([0, 1, 2, 2])).value == pytest.approx(0.01)


def test_exactly_a_tenth_is_not_empty():
    branch = np.array([0] * 98 + [1] * 2)
    assert toy.branches_empty(branch, mass=np.array([0.8, 0.2])).value == 0
    branch[-1] = 0
    assert toy.branches_empty(branch, mass=np.array([0.8, 0.2])).value == 1


def test_chance_empties_are_named():
    mass = np.full(100, 0.01)
    rng = np.random.default_rng(2)
    few = [toy.branches_empty(rng.integers(0, 100, 300), mass=mass) for _ in range(200)]
    expected = 100 * 0.99**300  # below a tenth of three points means none
    assert np.mean([v.value for v in few]) == pytest.approx(expected, abs=0.6)
    assert f"{expected:.1f} at this n" in few[0].note
    assert toy.branches_empty(rng.integers(0, 100, 20_000), mass=mass).note == ""


def test_standard_errors_cover():
    rng = np.random.default_rng(3)
    true = np.array([0.4, 0.35, 0.2, 0.05])
    depth = np.array([0, 1, 2, 2])
    truth = {"tv": 0.5 * np.abs(true - MASS).sum(), "leaf": 0.25, "median": 0.0, "clipped": 0.0}
    hits = dict.fromkeys(truth, 0)
    for _ in range(300):
        branch = rng.choice(4, 2000, p=true)
        log_p = rng.standard_normal(1000)
        values = {
            "tv": toy.branch_tv(branch, mass=MASS),
            "leaf": toy.leaf_mass(branch, depth=depth),
            "median": toy.median_log_p(log_p),
            "clipped": toy.mean_log_p_clipped(log_p),
        }
        for name, v in values.items():
            hits[name] += abs(v.value - truth[name]) < 1.96 * v.std_error
    assert all(0.90 * 300 <= count <= 0.985 * 300 for count in hits.values()), hits


def test_order_does_not_matter():
    rng = np.random.default_rng(4)
    branch, turn = rng.integers(-1, 4, 500), rng.permutation(500)
    log_p = rng.standard_normal(500)
    assert toy.branch_tv(branch, mass=MASS) == toy.branch_tv(branch[turn], mass=MASS)
    assert toy.mean_log_p(log_p).value == pytest.approx(toy.mean_log_p(log_p[turn]).value, rel=1e-12)
    assert toy.median_log_p(log_p) == toy.median_log_p(log_p[turn])


def test_refusals():
    with pytest.raises(ValueError, match="sum to 1"):
        toy.branch_tv(np.zeros(3, dtype=int), mass=np.array([0.5, 0.4]))
    with pytest.raises(ValueError, match=r"wanted -1\.\.3"):
        toy.branch_tv(np.array([4]), mass=MASS)
    with pytest.raises(ValueError, match="shape"):
        toy.mean_log_p(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="N >= 1"):
        toy.mean_log_p(np.zeros(0))
