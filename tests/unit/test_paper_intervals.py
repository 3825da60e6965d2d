"""An interval and its p-value say the same: 0 at the end of a 95 % interval has a p-value of 0.05."""

import numpy as np
import pytest

from guidelab.paper import intervals


def test_a_standard_error_gives_the_interval_and_the_p_value_of_the_normal_law():
    (lo, hi), p = intervals.normal(1.959963984540054, 1.0)
    assert lo == pytest.approx(0, abs=1e-12) and hi == pytest.approx(2 * 1.959963984540054)
    assert p == pytest.approx(0.05)
    assert intervals.normal(-3.0, 1.0)[1] == pytest.approx(0.0026997960632601866)
    assert intervals.normal(0.0, 0.0)[1] == 1 and intervals.normal(0.1, 0.0)[1] == 0


def test_several_values_give_the_interval_and_the_p_value_of_students_law():
    values = np.asarray([0.0, 1.0, 2.0])
    half = 4.302652729911275 / np.sqrt(3)  # the 97.5 % point of Student's law with two degrees of freedom
    assert intervals.t_interval(values) == pytest.approx((1 - half, 1 + half))
    assert intervals.t_test(values + half - 1) == pytest.approx(0.05)
    assert intervals.t_test(np.zeros(3)) == 1 and intervals.t_test(np.ones(3)) == 0
