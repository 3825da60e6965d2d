"""The bound of discriminator guidance, solved exactly: kept by the SDE, broken by the ODE."""

from itertools import pairwise

import numpy as np
import pytest

from guidelab.metrics.dg_theorem import DATA, MODEL, Gaussian, final_law, theorem_table

#  w    SDE      bound    gain      ODE
KNOWN = [
    (0.0, "0.154530", "0.154537", "0.000000", "0.152674"),
    (0.5, "0.038533", "0.038634", "0.115903", "0.040432"),
    (1.0, "0.000000", "0.000000", "0.154537", "0.000000"),
    (1.5, "0.037749", "0.038634", "0.115903", "0.045585"),
    (2.0, "0.148345", "0.154537", "0.000000", "0.194038"),
    (2.5, "0.326416", "0.347708", "-0.193171", "0.465342"),
]


def test_the_six_rows_to_the_printed_digits():
    table = theorem_table([row[0] for row in KNOWN])
    for found, (w, *wanted) in zip(table.itertuples(), KNOWN, strict=True):
        assert found.weight == w
        digits = [f"{number + 0.0:.6f}" for number in (found.kl_sde, found.bound, found.gain, found.kl_ode)]
        assert digits == wanted, w


def test_the_bound_holds_for_the_sde_and_fails_for_the_ode():
    table = theorem_table([row[0] for row in KNOWN]).set_index("weight")
    assert table.sde_holds.all()
    assert list(table.ode_holds) == [True, False, True, False, False, False]
    assert (table.loc[[0.5, 1.0, 1.5], "gain"] > 0).all() and table.loc[2.5, "gain"] < 0


def test_final_laws_match_euler_steps_of_particles_moments():
    """Independent route: first-order steps in y, halved until they agree with the solver to 1e-3."""
    for sde in (True, False):
        for w in (0.5, 2.0):
            y = np.concatenate([np.geomspace(6400, 1e-3, 40_000), [0.0]])
            mean, var = 0.0, 6400.0
            for high, low in pairwise(y):
                step = high - low
                a = w / (DATA.var + high) + (1 - w) / (MODEL.var + high)
                b = (1 - w) * MODEL.mean / (MODEL.var + high)
                mean -= step * (a * mean - b) * (1 if sde else 0.5)
                var -= step * ((2 * a * var - 1) if sde else a * var)
            found = final_law(w, sde=sde, data=DATA, model=MODEL, sigma_max=80.0)
            assert (found.mean, found.var) == pytest.approx((mean, var), abs=1e-3)


def test_the_odes_variance_in_closed_form():
    w, noise = 1.7, 80.0**2
    law = final_law(w, sde=False, data=DATA, model=MODEL, sigma_max=80.0)
    shrink = (DATA.var / (DATA.var + noise)) ** w * (MODEL.var / (MODEL.var + noise)) ** (1 - w)
    assert law.var == pytest.approx(noise * shrink, rel=1e-9)


def test_refuses_a_variance_of_zero():
    with pytest.raises(ValueError, match="positive variances"):
        theorem_table([1.0], data=Gaussian(0.0, 0.0))
