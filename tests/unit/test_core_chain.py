"""Discrete chains: noise levels, respacing, DDPM and DDIM against closed forms, guidance of the denoiser and of the step."""

import math
from itertools import pairwise

import pytest
import torch
from exact import Blend, Counted, other

from guidelab.core.chain import Schedule, respaced, schedule_of
from guidelab.core.denoiser import per_sample
from guidelab.core.guidance import Correction, Guided, Interval, Potential, Reference
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.chain import ddim, ddpm, posterior
from guidelab.core.schedules import edm_sigmas
from guidelab.nets.image_discriminator import variance_preserving
from guidelab.registry import evaluations


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_schedules_are_the_published_ones():
    linear = Schedule("linear")
    assert linear.betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert float(linear.alphas_cumprod[100]) == pytest.approx(0.8951, abs=5e-5)
    assert float(Schedule("linear", 4000).betas.sum()) == pytest.approx(float(linear.betas.sum()), rel=1e-9)
    cosine = Schedule("cosine")
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    assert cosine.alphas_cumprod[:-1].tolist() == pytest.approx(
        [f[t + 1] / f[0] for t in range(999)], rel=1e-9
    )
    assert float(cosine.betas[-1]) == 0.999
    for wrong, words in ((("sigmoid", 1000), "sigmoid"), (("linear", 1), "steps=1")):
        with pytest.raises(ValueError, match=words):
            Schedule(*wrong)


@pytest.mark.parametrize(("name", "steps"), [("linear", 1000), ("cosine", 1000), ("linear", 4000)])
def test_steps_are_whole_at_the_schedules_levels_and_monotone_between(name, steps):
    schedule = schedule_of(name, steps)
    whole = torch.arange(steps)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(schedule.step_of(schedule.sigmas.to(dtype)), whole.to(dtype))
    between = torch.arange(0.5, steps - 1, 1.0, dtype=torch.float64)
    sigmas = schedule.sigma_of(between)
    assert ((sigmas > schedule.sigmas[:-1]) & (sigmas < schedule.sigmas[1:])).all()
    torch.testing.assert_close(schedule.step_of(sigmas), between, rtol=0, atol=1e-6)
    ends = torch.tensor([0.0, 1e-9, 1e9], dtype=torch.float64)
    assert schedule.step_of(ends).tolist() == [0.0, 0.0, steps - 1.0]
    assert schedule.sigma_of(7) == pytest.approx(float(schedule.sigmas[7]), rel=1e-12)
    assert schedule_of(name, steps) is schedule


def test_respacing_takes_the_steps_of_the_released_samplers():
    schedule = schedule_of("linear")
    assert respaced(schedule, "8").steps_original == (0, 143, 285, 428, 571, 714, 856, 999)
    assert respaced(schedule, "ddim25").steps_original == tuple(range(0, 1000, 40))
    assert respaced(schedule, "").steps_original == tuple(range(1000))
    assert respaced(schedule, "10,5").steps_original == (
        0, 55, 111, 166, 222, 277, 333, 388, 444, 499, 500, 625, 750, 874, 999,
    )  # fmt: skip
    assert respaced(schedule_of("linear", 11), "2,2,1").steps_original == (0, 3, 4, 7, 8)
    for given in ("250", 250, "1000", "1", "ddim50", "100,20,3"):
        chain = respaced(schedule, given)
        kept = list(chain.steps_original)
        assert kept == sorted(set(kept)) and len(chain) == len(kept) == len(chain.transitions)
        torch.testing.assert_close(chain.alphas_cumprod, schedule.alphas_cumprod[kept], rtol=1e-12, atol=0)
        torch.testing.assert_close(chain.sigmas[:-1].flip(0), schedule.sigmas[kept], rtol=1e-10, atol=0)
        assert chain.sigmas[-1] == 0 and (chain.sigmas.diff() < 0).all()
        assert torch.equal(schedule.step_of(chain.sigmas[:-1].float()), torch.tensor(kept[::-1]).float())
    for wrong in ("ddim999", "1001", "600,500", "many", "0", "-5", "ddim", "10,,5"):
        with pytest.raises(ValueError, match="respaced"):
            respaced(schedule, wrong)


def test_published_step_thresholds_come_out_as_intervals_of_noise_levels():
    """DiT with discriminator guidance: steps above 200 and 100 of 250; Kim et al. 2023, released script."""
    schedule = schedule_of("linear")
    chain = respaced(schedule, "250")
    main, early, late, disc = (Counted(lambda x, s, c: 0.5 * x) for _ in range(4))
    branch, last = (
        schedule.sigma_of(200.5),
        schedule.sigma_of(100.5),
    )  # between steps: rounding decides nothing

    def log_ratio(x, sigma, cond):
        disc(x, sigma, cond)
        return x.sum(1)

    guided = Guided(
        main,
        [
            Interval(Reference(early, 1.25), branch, math.inf),
            Interval(Reference(late, 3.0), 0.0, branch),
            Interval(Potential(log_ratio, 1.0), last, math.inf),
        ],
    )
    x = normal(2, 3, dtype=torch.float32)
    ddpm(guided, x, chain, None, variance="large", noise=lambda step: normal(2, 3, seed=step))
    assert [net.calls for net in (main, early, late, disc)] == [250, 200, 50, 224]
    steps = schedule.step_of(torch.tensor(late.sigmas))
    assert steps.max() <= 200 and schedule.step_of(torch.tensor(early.sigmas)).min() > 200


MEAN, STD = 0.7, 0.4


def gaussian(x, sigma, cond=None):
    share = per_sample(STD**2 / (STD**2 + sigma**2), x)
    return MEAN + share * (x - MEAN)


def test_ddpm_with_the_exact_denoiser_and_variance_draws_from_the_data():
    """Of Gaussian data every reverse step is Gaussian: eight of them are as exact as a thousand."""
    chain = respaced(schedule_of("linear"), 8)
    top = chain.transitions[-1].alpha_cumprod
    count = 200_000
    x = math.sqrt(top) * MEAN + math.sqrt(top * STD**2 + 1 - top) * normal(count, 1)
    asked = []

    def exact(x, sigma, cond, lo, hi):
        asked.append((lo, hi))
        level = float(sigma[0])
        t = next(t for t in chain.transitions if abs(t.sigma - level) < 1e-9 * level)
        left = STD**2 * level**2 / (STD**2 + level**2)  # variance of x0 given x
        posterior_variance = math.exp(lo) if t.sigma_prev else 0.0
        return torch.full_like(x, math.log(posterior_variance + t.denoised_factor**2 * left))

    out = ddpm(gaussian, x, chain, None, variance=exact, noise=lambda step: normal(count, 1, seed=step + 1))
    last = STD * float(chain.sigmas[-2]) / math.hypot(STD, float(chain.sigmas[-2]))  # its mean is the sample
    wanted = math.sqrt(STD**2 - last**2)
    assert float(out.mean()) == pytest.approx(MEAN, abs=4 * STD / count**0.5)
    assert float(out.std()) == pytest.approx(wanted, abs=4 * STD / (2 * count) ** 0.5)
    assert all(lo < hi for lo, hi in asked[:-1]) and len(asked) == 8
    narrow = ddpm(
        gaussian, x, chain, None, variance="small", noise=lambda step: normal(count, 1, seed=step + 1)
    )
    assert float(narrow.std()) < 0.95 * wanted  # what x0's uncertainty adds is missing


def test_a_long_chain_needs_no_exact_variance():
    count, chain = 20_000, respaced(schedule_of("linear"), "")
    for variance in ("small", "large"):
        noise = SeededNoise([5])
        out = ddpm(
            gaussian, normal(count, 1), chain, None, variance=variance,
            noise=lambda step, noise=noise: noise.randn((count,), torch.float64).T,
        )  # fmt: skip
        assert float(out.mean()) == pytest.approx(MEAN, abs=0.02)
        assert float(out.std()) == pytest.approx(STD, rel=0.02)


def test_ddim_is_an_euler_step_between_noise_levels_and_with_eta_one_it_is_ddpm():
    chain = respaced(schedule_of("cosine"), "12")
    blend = Blend([0.6, 0.4], [[-1.0, 0.2], [1.2, -0.3]], [0.3, 0.4])
    x = normal(16, 2)
    levels = chain.sigmas.tolist()
    euler = x / math.sqrt(chain.transitions[-1].alpha_cumprod)
    for now, below in pairwise(levels):
        d = blend(euler, torch.full((16,), now, dtype=torch.float64))
        euler = d + below * (euler - d) / now
    seen = []
    out = ddim(blend, x, chain, None, callback=lambda i, s, x: seen.append((i, s)))
    torch.testing.assert_close(out, euler, rtol=1e-8, atol=1e-8)
    assert [i for i, _ in seen] == list(range(13)) and [s for _, s in seen] == pytest.approx(levels)

    def noise(step):
        return normal(16, 2, seed=step)

    random = ddim(blend, x, chain, None, eta=1.0, noise=noise)
    ancestral = ddpm(blend, x, chain, None, variance="small", noise=noise)
    torch.testing.assert_close(random, ancestral, rtol=1e-9, atol=1e-9)
    assert (random - out).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"eta=0\.5"):
        ddim(blend, x, chain, None, eta=0.5)
    with pytest.raises(ValueError, match="medium"):
        ddpm(blend, x, chain, None, variance="medium", noise=noise)


def log_potential(x, sigma, cond):
    return -(x.square().sum(1) * (1 + cond)) / (1 + sigma**2)


def test_correction_is_the_published_guided_mean_and_guided_score():
    chain = respaced(schedule_of("linear"), "8")
    x, cond = normal(4, 2), torch.tensor([0, 1, 2, 0])
    terms = [Potential(log_potential, 1.5)]
    for index in range(8):
        t = chain.transitions[index]
        plain, guided = (
            posterior(other(), x, chain, index, cond, variance="large", correct=c)
            for c in (None, Correction(terms))
        )
        point = x.clone().requires_grad_(True)
        sigma = torch.full((4,), t.sigma, dtype=torch.float64)
        log_p = 1.5 * log_potential(point / math.sqrt(t.alpha_cumprod), sigma, cond)
        (gradient,) = torch.autograd.grad(log_p.sum(), point)  # with respect to the chain's own state
        torch.testing.assert_close(guided.mean, plain.mean + math.exp(t.log_variance_large) * gradient)
        assert torch.equal(guided.denoised, plain.denoised)
    beside = ddim(other(), x, chain, cond, correct=Correction(terms))
    inside = ddim(Guided(other(), terms), x, chain, cond)
    torch.testing.assert_close(beside, inside)
    clipped = ddim(other(), 3 * x, chain, cond, correct=Correction(terms), clip=True)
    assert clipped.abs().max() > 1  # what is added after clipping stays
    assert ddim(Guided(other(), terms), 3 * x, chain, cond, clip=True).abs().max() <= 1


def test_channels_guides_these_and_nothing_else():
    x, sigma = normal(2, 5, 3, 3), torch.ones(2, dtype=torch.float64)

    def main(x, sigma, cond):
        return 0.5 * x

    def ref(x, sigma, cond):
        return 0.2 * x

    guided = Guided(main, [Reference(ref, 2.0, 3)])(x, sigma, None)
    assert torch.equal(guided[:, 3:], 0.5 * x[:, 3:])
    torch.testing.assert_close(guided[:, :3], 0.8 * x[:, :3])
    colour = x[:, :3]
    assert torch.equal(
        Guided(main, [Reference(ref, 2.0, 3)])(colour, sigma, None),
        Guided(main, [Reference(ref, 2.0)])(colour, sigma, None),
    )
    counted = Counted(ref)
    assert torch.equal(Guided(main, [Reference(counted, Reference.neutral, 3)])(x, sigma, None), 0.5 * x)
    assert counted.calls == 0
    stepped = Reference(Guided(main, [Interval(Reference(ref, 3.0, 3), 1.0, 2.0)]), 2.0, 3)
    assert not torch.equal(
        stepped.at_step(2.0).delta(x, sigma, None, x), stepped.at_step(1.0).delta(x, sigma, None, x)
    )


@pytest.mark.parametrize(("name", "counts"), [("ddpm", (1, 1)), ("ddim", (1, 1)), ("heun", (2, 1))])
def test_a_chain_is_evaluated_once_a_step(name, counts):
    assert evaluations({"name": name}) == counts


def test_discrete_times_of_classifiers_are_the_chains_own_steps():
    for name, schedule in (("discrete", "linear"), ("discrete_cosine", "cosine")):
        chain = respaced(schedule_of(schedule), "250")
        sigmas = chain.sigmas[:-1].flip(0).float()
        x = normal(250, 1, 2, 2, dtype=torch.float32)
        scaled, steps = variance_preserving(x, sigmas, name)
        assert steps.tolist() == list(chain.steps_original)
        assert torch.equal(scaled, variance_preserving(x, sigmas)[0])
    edm = edm_sigmas(18, 0.01, 80.0, 7.0)[:-1].float()
    x = torch.zeros(18, 1, 2, 2)
    discrete, continuous = (variance_preserving(x, edm, name)[1] for name in ("discrete", "linear"))
    assert 0.5 < (discrete - continuous).abs().max() < 3  # not quite the same time, least alike at the top


def test_the_first_step_has_the_variance_of_the_second_posterior_not_zero_or_beta():
    """Both limits of a learned variance are log(exact posterior of the second step) at the first, as released."""
    transitions = respaced(schedule_of("linear"), "").transitions
    alphas = schedule_of("linear").alphas_cumprod
    second = float(schedule_of("linear").betas[1] * (1 - alphas[0]) / (1 - alphas[1]))
    assert transitions[0].log_variance_small == pytest.approx(math.log(second), rel=1e-12)
    assert transitions[0].log_variance_large == pytest.approx(math.log(second), rel=1e-12)
    assert transitions[1].log_variance_large == pytest.approx(math.log(2e-4), rel=0.5)
