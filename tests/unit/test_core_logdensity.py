import math

import pytest
import torch
from exact import Blend, data, model

from guidelab.core.guidance import Guided, Interval, Potential, truncation
from guidelab.core.logdensity import flow_log_density, sample_with_log_density
from guidelab.core.samplers import heun
from guidelab.core.schedules import edm_sigmas

LOW, HIGH = 0.02, 20.0


def levels(steps):
    return edm_sigmas(steps, LOW, HIGH, 7.0)[:-1]


def prior(blend, sigma=HIGH):
    def log_density(x):
        return blend.log_density(x, torch.full((len(x),), sigma, dtype=x.dtype))

    return log_density


def normal(count, seed=0):
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_ratio(x, sigma, cond):
    return data().log_density(x, sigma) - model().log_density(x, sigma)


def test_gaussian_in_closed_form():
    gaussian = Blend([1.0], [[0.4, -0.2]], [0.5])
    x = gaussian.means + 0.5 * normal(50)
    truth = prior(gaussian, LOW)(x)
    errors = [
        (flow_log_density(gaussian, x, levels(n).flip(0), prior(gaussian)) - truth).abs().max()
        for n in (128, 256)
    ]
    assert errors[1] < 1e-3
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.1), errors


def test_mixture_against_its_true_density_with_second_order_convergence():
    x = data().means[[0, 1] * 25] + 0.4 * normal(50, 1)
    truth = prior(data(), LOW)(x)
    errors = [
        (flow_log_density(data(), x, levels(n).flip(0), prior(data())) - truth).abs().max()
        for n in (64, 128, 256)
    ]
    assert errors[-1] < 5e-3
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.3), errors


@pytest.mark.parametrize("steps", [12, 24])
def test_density_of_the_discretised_flow_integrates_to_one(steps):
    axis = torch.linspace(-6.0, 6.0, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    log_q = flow_log_density(data(), grid, levels(steps).flip(0), prior(data()))
    total = log_q.exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1.0, abs=1e-6)


def test_down_and_up_agree():
    start = normal(200, 2) * HIGH
    x, log_q = sample_with_log_density(data(), start, levels(256), prior(data()))
    again = flow_log_density(data(), x, levels(256).flip(0), prior(data()))
    torch.testing.assert_close(log_q, again, rtol=0, atol=5e-3)
    torch.testing.assert_close(log_q, prior(data(), LOW)(x), rtol=0, atol=5e-3)


def test_points_are_the_samplers_own():
    seen = {}
    sigmas = edm_sigmas(12, LOW, HIGH, 7.0)
    heun(data(), normal(20) * HIGH, sigmas, None, callback=lambda i, s, x: seen.update({i: x}))
    x, _ = sample_with_log_density(data(), normal(20) * HIGH, sigmas[:-1], prior(data()))
    torch.testing.assert_close(x, seen[11], rtol=1e-13, atol=1e-13)


def test_log_det_of_a_step_is_the_numeric_one():
    x = normal(5)
    sigmas = [1.5, 0.4]
    _, log_q = sample_with_log_density(data(), x, sigmas, lambda x: torch.zeros(len(x), dtype=x.dtype))
    numeric = torch.empty(5, dtype=torch.float64)
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda row: _one_step(row[None])[0], x[i])
        numeric[i] = torch.linalg.det(jacobian).abs().log()
    torch.testing.assert_close(-log_q, numeric, rtol=1e-10, atol=1e-10)


def _one_step(x):
    def slope(x, sigma):
        return (x - data()(x, torch.full((len(x),), sigma, dtype=x.dtype))) / sigma

    first = slope(x, 1.5)
    ahead = x + (0.4 - 1.5) * first
    return x + (0.4 - 1.5) * 0.5 * (first + slope(ahead, 0.4))


def test_guided_flow_a_potential_is_differentiated_again():
    guided = Guided(model(), [Potential(log_ratio, 1.0)])
    x = data().means[[0, 1] * 10] + 0.4 * normal(20, 1)
    with torch.no_grad():  # what callers wrap around everything must not break it
        got = flow_log_density(guided, x, levels(128).flip(0), prior(data()))
    torch.testing.assert_close(got, prior(data(), LOW)(x), rtol=0, atol=1e-2)


def test_intervals_are_decided_by_the_same_steps_up_and_down():
    guided = Guided(data(), [Interval(truncation(1.3), 0.1, 1.0)])
    start = normal(50, 4) * HIGH
    x, log_q = sample_with_log_density(guided, start, levels(400), prior(data()))
    again = flow_log_density(guided, x, levels(400).flip(0), prior(data()))
    torch.testing.assert_close(log_q, again, rtol=0, atol=1e-2)
    assert (log_q - prior(data(), LOW)(x)).abs().max() > 0.2  # guidance changed the law


def test_condition_reaches_the_denoiser():
    def shifted(x, sigma, cond):
        return data()(x - cond[:, None], sigma) + cond[:, None]

    x, cond = normal(10, 5), torch.arange(10) % 2
    got = flow_log_density(
        shifted,
        x + cond[:, None],
        levels(32).flip(0),
        lambda x: prior(data())(x - cond[:, None]),
        cond,
    )
    torch.testing.assert_close(
        got, flow_log_density(data(), x, levels(32).flip(0), prior(data())), rtol=0, atol=1e-9
    )


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="ascending"):
        flow_log_density(data(), normal(2), levels(8), prior(data()))
    with pytest.raises(ValueError, match="above 0"):
        sample_with_log_density(data(), normal(2), edm_sigmas(8, LOW, HIGH, 7.0), prior(data()))
    with pytest.raises(ValueError, match="not differentiable"):
        flow_log_density(lambda x, s, c: x.detach() * 0.5, normal(2), levels(8).flip(0), prior(data()))
