"""The one function a measuring job calls."""

import math

import numpy as np
import pytest
import torch

from guidelab.errors import UserError
from guidelab.metrics.measure_toy import METRICS, measure_points
from guidelab.registry import METRICS as REGISTERED

N, M = 400, 500
MASS = torch.tensor([0.25, 0.25, 0.25, 0.25])


def branch_of(x):
    """Quadrant."""
    return (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def log_p(x, shift=0.0):
    return -((x - shift) ** 2).sum(1) / (2 * 0.2**2) - math.log(2 * math.pi * 0.2**2)


def measured(x, names=tuple(METRICS), **changes):
    reference = 0.2 * torch.randn(M, 2, generator=torch.Generator().manual_seed(1))
    given = {
        "reference": reference,
        "log_p_a": log_p(x),
        "log_p_b": log_p(x, 1.0),
        "region_level": float(
            log_p(torch.tensor([[0.2 * math.sqrt(-2 * math.log(0.01)), 0.0]]))
        ),  # exact: Rayleigh
        "branch_index": branch_of(x),
        "branch_mass": MASS,
        "branch_depth": torch.tensor([0, 1, 1, 2]),
        "k": 3,
        "seed": 0,
        "names": names,
    }
    return dict(measure_points(x, **(given | changes)))


def exact_draws(n=N):
    return 0.2 * torch.randn(n, 2, generator=torch.Generator().manual_seed(2))


def test_every_registered_metric_is_measured_and_exact_draws_look_exact():
    values = measured(exact_draws())
    assert set(REGISTERED) <= set(values)
    assert all(v.estimable and math.isfinite(v.value) and math.isfinite(v.std_error) for v in values.values())
    assert values["frechet"].value < 0.002
    assert values["precision"].value > 0.9 and values["recall"].value > 0.9
    assert values["outliers_99"].value == pytest.approx(0.01, abs=0.02)
    assert values["runaways"].value == 0 and values["branches_empty"].value == 0
    assert values["mass_covered"].value == 1 and values["class_wrong"].value < 0.02
    assert values["leaf_mass"].value == pytest.approx(0.25, abs=0.08)


def test_order_and_choice_of_names():
    names = ["runaways", "frechet", "median_log_p"]
    assert list(measured(exact_draws(), names)) == names
    everything = measured(exact_draws())
    assert measured(exact_draws(), names)["frechet"] == everything["frechet"]


def test_unknown_name_is_a_user_error_with_the_closest():
    with pytest.raises(UserError, match="did you mean 'precision'"):
        measured(exact_draws(), ["precison"])


def test_points_that_are_not_finite_reach_every_metric_that_counts_them():
    x = exact_draws()
    x[:40] = torch.nan
    # what a density routine may hand over for such points
    spoiled = {
        "log_p_a": torch.where(x.isnan().any(1), 5.0, log_p(x)),
        "branch_index": branch_of(x.nan_to_num(9)),
    }
    values = measured(x, **spoiled)
    assert values["runaways"].value == pytest.approx(0.1)
    assert values["outliers_contour"].value >= 0.1 and values["outliers_99"].value >= 0.1
    assert values["branch_tv"].value >= 0.05
    assert values["median_log_p"].value < 5
    for name in ("frechet", "mean_log_p"):
        assert not values[name].estimable and "40 of 400" in values[name].note
    for name in ("precision", "recall", "mean_log_p_clipped", "outliers_contour"):
        assert "40 of 400" in values[name].note


def test_a_sampler_that_failed_altogether_still_gives_rows():
    values = measured(torch.full((N, 2), torch.nan))
    assert values["runaways"].value == 1 and values["mass_covered"].value == 0
    assert math.isnan(values["frechet"].value) and not values["frechet"].estimable
    assert not values["mean_log_p"].estimable


def test_float32_and_float64_agree_and_lengths_are_checked():
    x = exact_draws()
    one, two = measured(x), measured(x.double())
    for name in METRICS:
        assert one[name].value == pytest.approx(two[name].value, rel=1e-6), name
    with pytest.raises(ValueError, match="399 log_p_a for 400"):
        measured(x, log_p_a=torch.zeros(399))


def test_collapse_shows_in_coverage_not_in_precision():
    x = 0.2 + 0.01 * torch.randn(N, 2, generator=torch.Generator().manual_seed(3))
    values = measured(x)
    assert values["precision"].value > 0.8 and values["recall"].value < 0.2
    assert values["branches_empty"].value == 3 and values["mass_covered"].value == pytest.approx(0.25)
    assert values["branch_tv"].value == pytest.approx(0.75)
    assert np.isfinite(values["frechet"].std_error)
