"""The value every metric returns, and the rule for heavy tails."""

import numpy as np
import pytest
import torch

from guidelab.metrics.value import (
    Value,
    as_matrix,
    as_vector,
    effective_sample_size,
    judge_tail,
    share,
    std_error,
    with_note,
)


def test_effective_sample_size():
    assert effective_sample_size(np.ones(40)) == pytest.approx(40)
    assert effective_sample_size(np.array([5.0, 0, 0, 0])) == pytest.approx(1)
    assert effective_sample_size(np.zeros(7)) == 7
    assert effective_sample_size(np.array([1e200, 1e200])) == pytest.approx(2)


def test_each_half_of_the_rule_fires_alone():
    few = np.zeros(1000)
    few[:50] = 1.0  # 2 % each, but only 50 of them
    ess, note = judge_tail(few)
    assert ess == pytest.approx(50) and note == "not estimable: 50 effective of 1000 points"
    one = np.ones(2000)
    one[0] = 130.0  # 6 % of the sum, more than 200 effective
    ess, note = judge_tail(one)
    assert ess > 200 and note == "not estimable: one point holds 6 % of the sum"
    assert judge_tail(np.random.default_rng(0).exponential(1, 1000))[1] == ""


def test_std_error_of_huge_terms_and_of_one():
    assert std_error(np.array([0.0, 1e200])) == pytest.approx(0.5e200)
    assert np.isnan(std_error(np.ones(1)))
    assert std_error(np.zeros(3)) == 0


def test_share():
    value = share(np.array([True, False, False, False]))
    assert value.value == 0.25 and value.estimable
    assert 0 < share(np.zeros(1000, dtype=bool)).std_error < 0.001


def test_the_flag_comes_first():
    value = with_note(Value(1.0, 0.1, None, "3 of 9 points"), "not estimable: tail")
    assert value.note == "not estimable: tail; 3 of 9 points" and not value.estimable


def test_everything_becomes_float64():
    for given in (
        np.ones(3, dtype=np.float32),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3, dtype=torch.bool),
    ):
        assert as_vector(given, "x").dtype == np.float64
    assert as_matrix(np.ones((2, 2), dtype=np.float16), "x").dtype == torch.float64
    with pytest.raises(ValueError, match=r"features: shape \(3,\)"):
        as_matrix(np.ones(3), "features")
    with pytest.raises(ValueError, match="N >= 2"):
        as_matrix(np.ones((1, 3)), "features", rows=2)
