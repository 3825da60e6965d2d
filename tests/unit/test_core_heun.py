import math
from itertools import pairwise

import pytest
import torch
from exact import Blend, Counted, data, model, other

from guidelab.core.denoiser import cast
from guidelab.core.guidance import Correction, Guided, Interval, Potential, Reference
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers import Churn, heun
from guidelab.core.schedules import edm_sigmas


def start(count, sigma, dtype=torch.float64, first=0):
    return SeededNoise(range(first, first + count)).randn((2,), dtype=dtype) * sigma


def test_schedule_is_edms():
    sigmas = edm_sigmas(18, 0.002, 80.0, 7.0)
    assert sigmas.dtype == torch.float64 and sigmas.shape == (19,)
    assert sigmas[0].item() == pytest.approx(80.0, rel=1e-14) and sigmas[-1] == 0
    assert sigmas[-2].item() == pytest.approx(0.002, rel=1e-12)
    i = 5
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert sigmas[i].item() == pytest.approx(expected, rel=1e-13)
    assert int((sigmas >= 0.0447).sum()) == 15  # discriminator guidance is active on 15 of 18 steps
    assert edm_sigmas(1, 0.002, 80.0, 7.0).tolist() == pytest.approx([80.0, 0.0])
    assert edm_sigmas(5, 1.0, 9.0, 1.0).tolist() == pytest.approx(
        [9.0, 7.0, 5.0, 3.0, 1.0, 0.0]
    )  # rho is no constant
    with pytest.raises(ValueError, match="steps=0"):
        edm_sigmas(0, 0.002, 80.0, 7.0)
    with pytest.raises(ValueError, match="sigma_min=3"):
        edm_sigmas(4, 3.0, 2.0, 7.0)


def test_published_guidance_interval_is_six_of_32_steps_and_twelve_of_63_evaluations():
    sigmas = edm_sigmas(32, 0.002, 80.0, 7.0)
    main, ref = Counted(data()), Counted(other())
    guided = Guided(main, [Interval(Reference(ref, 2.0), 0.19, 1.61)])
    heun(guided, start(2, 80.0), sigmas, None)
    assert main.calls == 63
    assert ref.calls == 12
    inside = [float(s) for s in sigmas if 0.19 < s <= 1.61]
    assert len(inside) == 6
    for step, sigma in enumerate(
        inside
    ):  # both evaluations of each guided step, the second at the next step's sigma
        assert ref.sigmas[2 * step] == pytest.approx(sigma)
        below = sigmas[sigmas < sigma].max().item()
        assert ref.sigmas[2 * step + 1] == pytest.approx(below)
    assert ref.sigmas[-1] < 0.19  # by the step's sigma, not the evaluation's


def test_heun_is_second_order_and_converges_to_the_exact_flow():
    std, high = 0.5, 10.0
    gaussian = Blend([1.0], [[0.0, 0.0]], [std])
    x = start(16, high)
    exact = x * std / math.hypot(std, high)
    errors = []
    for steps in (32, 64, 128, 256):
        out = heun(gaussian, x, edm_sigmas(steps, 1e-5, high, 7.0), None)
        errors.append((out - exact).abs().max().item())
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 2e-4
    assert slopes[-1] == pytest.approx(2.0, abs=0.05), slopes


def test_float64_is_really_float64():
    sigmas = edm_sigmas(18, 0.002, 80.0, 7.0)
    net, seen = Counted(data()), []
    out = heun(net, start(8, 80.0), sigmas, None, callback=lambda i, s, x: seen.append(x.dtype))
    assert set(net.dtypes) == {torch.float64} and set(seen) == {torch.float64} and out.dtype == torch.float64
    # the last Euler step of a one-Gaussian flow in closed form: any float32 step would show
    gaussian = Blend([1.0], [[0.0, 0.0]], [0.5])
    x0, factor = start(8, 80.0), 1.0
    levels = sigmas.tolist()
    for a, b in pairwise(levels):
        ra = a / (0.25 + a * a)
        rb = b / (0.25 + b * b)
        factor *= 1 + (b - a) * ra if b == 0 else 1 + (b - a) * 0.5 * (ra + rb * (1 + (b - a) * ra))
    torch.testing.assert_close(heun(gaussian, x0, sigmas, None), x0 * factor, rtol=1e-13, atol=0)
    rough = heun(gaussian, x0.float(), sigmas, None)
    assert rough.dtype == torch.float32 and ((rough - x0 * factor).abs() > 1e-9).any()


def test_cast_evaluates_in_float32_and_integrates_in_float64():
    sigmas = edm_sigmas(18, 0.002, 80.0, 7.0)
    net, ref = Counted(data()), Counted(other())
    guided = Guided(net, [Interval(Reference(ref, 2.0), 0.1, 2.0)])
    states = []
    out = heun(
        cast(guided, torch.float32), start(4, 80.0), sigmas, None, callback=lambda i, s, x: states.append(x)
    )
    assert set(net.dtypes) == {torch.float32} and out.dtype == torch.float64
    assert 0 < ref.calls < net.calls  # the interval is seen through the cast
    wide = heun(Guided(data(), guided.terms), start(4, 80.0), sigmas, None)
    assert 1e-12 < (out - wide).abs().max() < 1e-4


def test_number_of_evaluations_and_trajectory():
    net, seen = Counted(data()), []
    x = start(2, 80.0)
    before = x.clone()
    out = heun(
        net, x, edm_sigmas(32, 0.002, 80.0, 7.0), None, callback=lambda i, s, x: seen.append((i, s, x))
    )
    assert net.calls == 63
    assert [i for i, _, _ in seen] == list(range(33)) and seen[-1][1] == 0.0
    assert torch.equal(seen[0][2], before) and torch.equal(x, before) and torch.equal(seen[-1][2], out)


def test_sigmas_are_checked():
    for bad in ([1.0, 2.0, 0.0], [2.0, 1.0], [0.0], [1.0, 1.0, 0.0]):
        with pytest.raises(ValueError, match="descending"):
            heun(data(), start(1, 1.0), bad, None)


def one_gaussian(weights, steps, lowest=0.0446, sigma_min=0.002):
    """Mean and std of DG's test: model N(.3, .6^2), data N(0, .5^2), exact ratio; first- and both-stage weights."""
    model_1d, data_1d = Blend([1.0], [[0.3]], [0.6]), Blend([1.0], [[0.0]], [0.5])

    def log_ratio(x, sigma, cond):
        return data_1d.log_density(x, sigma) - model_1d.log_density(x, sigma)

    first, both = weights
    predict = Guided(model_1d, [Interval(Potential(log_ratio, both), lowest, math.inf)])
    correct = Correction([Interval(Potential(log_ratio, first), lowest, math.inf)])
    x = torch.tensor([[0.0], [80.0]], dtype=torch.float64)  # the whole map is affine: two points give it
    out = heun(predict, x, edm_sigmas(steps, sigma_min, 80.0, 7.0), None, correct=correct)[:, 0]
    return out[0].item(), (out[1] - out[0]).abs().item()


@pytest.mark.parametrize(
    ("weights", "steps", "mean", "std"),
    [  # measured with the released sampler on 20,000 samples: standard errors .0045 and .0032
        ((0, 0), 18, 0.290, 0.634),
        ((1, 0), 18, 0.182, 0.595),
        ((2, 0), 18, 0.081, 0.557),
        ((2, 0), 256, -0.001, 0.505),
        ((0, 1), 18, -0.006, 0.530),
        ((0, 1), 256, -0.006, 0.502),
    ],
)
def test_discriminator_guidance_with_an_exact_discriminator(weights, steps, mean, std):
    got_mean, got_std = one_gaussian(weights, steps)
    assert got_mean == pytest.approx(mean, abs=0.0135)
    assert got_std == pytest.approx(std, abs=0.01)


def test_first_stage_guidance_is_first_order_and_both_stages_second():
    def error(weights, steps):
        mean, std = one_gaussian(weights, steps, lowest=0.0, sigma_min=1e-4)
        return abs(mean) + abs(std - 0.5)

    first = [error((2, 0), n) for n in (64, 128, 256)]
    both = [error((0, 1), n) for n in (64, 128, 256)]
    assert math.log2(first[1] / first[2]) == pytest.approx(1.0, abs=0.15), first
    assert math.log2(both[0] / both[1]) > 1.7, both
    assert both[-1] < 0.1 * first[-1] and first[-1] < 0.01


def test_correct_is_called_once_a_step():
    calls = []

    def correct(x, sigma, cond, denoised):
        calls.append(float(sigma[0]))
        return torch.zeros_like(denoised)

    sigmas = edm_sigmas(18, 0.002, 80.0, 7.0)
    out = heun(data(), start(2, 80.0), sigmas, None, correct=correct)
    assert calls == pytest.approx(sigmas[:-1].tolist())
    torch.testing.assert_close(out, heun(data(), start(2, 80.0), sigmas, None), rtol=0, atol=0)


def test_churn_raises_sigma_by_edms_gamma():
    def noise(step):
        return torch.zeros(1, 2, dtype=torch.float64)

    churn = Churn(S_churn=40.0, S_min=0.05, S_max=50.0, S_noise=1.003, noise=noise)
    assert churn.gamma(1.0, 18) == math.sqrt(2) - 1  # capped
    assert churn.gamma(1.0, 256) == 40 / 256
    assert churn.gamma(0.05, 256) == churn.gamma(50.0, 256) == 40 / 256  # both ends included
    assert churn.gamma(0.049, 256) == churn.gamma(50.1, 256) == 0
    net = Counted(data())
    sigmas = edm_sigmas(18, 0.002, 80.0, 7.0)
    heun(net, start(1, 80.0), sigmas, None, churn=churn)
    firsts = net.sigmas[::2]
    raised = [s * math.sqrt(2) if 0.05 <= s <= 50 else s for s in sigmas[:-1].tolist()]
    assert firsts == pytest.approx(raised, rel=1e-12)


def test_churn_adds_the_missing_variance():
    count = 20_000
    generator = torch.Generator().manual_seed(3)
    flat = Blend([1.0], [[0.0, 0.0]], [1e3])  # so wide that the flow itself moves nothing
    churn = Churn(
        S_churn=1.0,
        S_noise=1.1,
        noise=lambda step: torch.randn(count, 2, generator=generator, dtype=torch.float64),
    )
    out = heun(flat, torch.zeros(count, 2, dtype=torch.float64), [2.0, 1.0, 0.0], None, churn=churn)
    gamma = math.sqrt(2) - 1
    variance = sum((((1 + gamma) * s) ** 2 - s**2) * 1.1**2 for s in (2.0, 1.0))
    assert out.var().item() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("seeds", [[5, 3, 900_000, 1], list(range(40, 47))])
def test_a_sample_depends_on_its_seed_alone(seeds):
    sigmas = edm_sigmas(8, 0.002, 5.0, 7.0)

    def sample(batch):
        noise = SeededNoise(batch)
        churn = Churn(S_churn=3.0, noise=lambda step: noise.randn((2,), torch.float64))
        x = noise.randn((2,)).double() * sigmas[0]
        return heun(Guided(model(), [Reference(other(), 1.7)]), x, sigmas, None, churn=churn)

    together = sample(seeds)
    apart = torch.cat([sample(seeds[:1]), sample(seeds[1:])])
    backwards = sample(seeds[::-1]).flip(0)
    torch.testing.assert_close(together, apart, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(together, backwards, rtol=1e-13, atol=1e-13)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_no_global_random_numbers_are_touched():
    state = torch.random.get_rng_state()
    noise = SeededNoise(range(3))
    churn = Churn(S_churn=3.0, noise=lambda step: noise.randn((2,), torch.float64))
    heun(data(), noise.randn((2,), torch.float64), [1.0, 0.5, 0.0], None, churn=churn)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_step_decides_with_its_own_sigma_not_the_churned_one():
    asked = []

    class Stepwise:
        def __call__(self, x, sigma, cond):
            return data()(x, sigma)

        def at_step(self, sigma):
            asked.append(sigma)
            return self

    sigmas = edm_sigmas(6, 0.002, 5.0, 7.0)
    churn = Churn(S_churn=2.0, noise=lambda step: torch.zeros(1, 2, dtype=torch.float64))
    heun(Stepwise(), start(1, 5.0), sigmas, None, churn=churn)
    assert asked == sigmas[:-1].tolist()  # once a step, exactly
