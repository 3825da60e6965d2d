"""Projected and independent-condition guidance, boosting, and their sums with other terms."""

import itertools
import math

import pytest
import torch
from exact import Counted, data, model, other, points

from guidelab.core.degrade import input_noise
from guidelab.core.denoiser import at_step, cast
from guidelab.core.guidance import Correction, Guided, Interval, Potential, Reference
from guidelab.core.guidance.boosting import Boosting
from guidelab.core.guidance.independent import Independent, classes_of, independent_class
from guidelab.core.guidance.projected import Projected
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers import heun
from guidelab.core.samplers.boosted import boosted
from guidelab.core.schedules import edm_sigmas


class Shifted:
    """A conditional denoiser of four classes; records the classes it is called with."""

    classes = 4

    def __init__(self):
        self.received = []

    def __call__(self, x, sigma, cond):
        self.received.append(cond)
        return model()(x, sigma, None) + cond[:, None].to(x.dtype) / 10


def log_ratio(x, sigma, cond):
    return data().log_density(x, sigma) - model().log_density(x, sigma)


def test_projected_with_eta_one_is_reference_guidance_bit_for_bit():
    for dtype in (torch.float32, torch.float64):
        x, sigma = points(dtype=dtype)
        plain, projected = (
            Guided(model(), [term])(x, sigma, None)
            for term in (Reference(other(), 2.5), Projected(other(), 2.5, eta=1.0))
        )
        assert torch.equal(plain, projected)


def test_projected_adds_nothing_along_the_output_and_keeps_the_rest():
    x, sigma = points()
    main_out = model()(x, sigma, None)
    added = Projected(other(), 3.0).delta(x, sigma, None, main_out)
    full = Reference(other(), 3.0).delta(x, sigma, None, main_out)
    assert (added * main_out).sum(1).abs().max() < 1e-14 and added.abs().max() > 0.01
    left = full - added  # what was left out is along the output
    cross = left[:, 0] * main_out[:, 1] - left[:, 1] * main_out[:, 0]
    assert cross.abs().max() < 1e-14
    half = Projected(other(), 3.0, eta=0.5).delta(x, sigma, None, main_out)
    torch.testing.assert_close(half, added + 0.5 * left)


def test_projected_threshold_limits_each_samples_difference():
    x, sigma = points()
    main_out = model()(x, sigma, None)
    norms = (main_out - other()(x, sigma, None)).norm(dim=1)
    limit = float(norms.median())
    found = Projected(other(), 2.0, eta=1.0, threshold=limit).delta(x, sigma, None, main_out).norm(dim=1)
    torch.testing.assert_close(found, norms.clamp_max(limit))
    same = Projected(model(), 2.0, threshold=limit).delta(x, sigma, None, main_out)
    assert torch.equal(same, torch.zeros_like(same))  # no difference, no nan
    assert not Projected(model(), 2.0).delta(x, sigma, None, torch.zeros_like(x)).isnan().any()
    with pytest.raises(ValueError, match="threshold"):
        Projected(other(), 2.0, threshold=0.0)


@pytest.mark.parametrize("make", [Projected, Independent])
def test_neutral_weight_adds_nothing_and_costs_nothing(make):
    x, sigma = points(dtype=torch.float32)
    ref = Counted(other())
    guided = Guided(model(), [make(ref, make.neutral)])(x, sigma, None)
    assert torch.equal(guided, model()(x, sigma, None)) and ref.calls == 0


def test_independent_classes_are_uniform_and_depend_only_on_noise_level_and_class():
    sigma = torch.linspace(0.002, 80, 4000)
    cond = torch.arange(4000) % 10
    found = independent_class(sigma, cond, 10)
    counts = torch.bincount(found, minlength=10)
    assert counts.sum() == 4000 and (counts - 400).abs().max() < 80  # 4 standard deviations
    assert abs((found == cond).double().mean() - 0.1) < 0.02
    assert torch.equal(
        independent_class(sigma.double(), cond, 10), found
    )  # the sampler's dtype changes nothing
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(independent_class(sigma[order], cond[order], 10), found[order])


def test_independent_guidance_is_deterministic_and_independent_of_the_sample():
    ref = Shifted()
    x, sigma = points()
    cond = torch.arange(len(x)) % 4
    term = Independent(ref, 2.0)
    for moved in (x, x + 1, 100 * x):
        term.delta(moved, sigma, cond, moved)
    assert all(torch.equal(received, ref.received[0]) for received in ref.received)
    expected = Reference(lambda x, s, c: Shifted()(x, s, ref.received[0]), 2.0).delta(x, sigma, cond, x)
    assert torch.equal(term.delta(x, sigma, cond, x), expected)
    with pytest.raises(ValueError, match="no condition"):
        term.delta(x, sigma, None, x)


def test_independent_class_stays_through_both_evaluations_of_a_step():
    ref = Shifted()
    sigmas = edm_sigmas(6, 0.002, 5.0, 7.0)
    x = 5 * torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    cond = torch.arange(8) % 4
    heun(Guided(Shifted(), [Independent(ref, 2.0)]), x, sigmas, cond)
    assert len(ref.received) == 11
    first, second = ref.received[0:10:2], ref.received[1:10:2]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert any(not torch.equal(a, b) for a, b in itertools.pairwise(first))


def test_number_of_classes_is_found_inside_wrappers():
    net = Shifted()
    seeds = torch.arange(3)
    wrapped = cast(Guided(input_noise(net, seeds, 0.1, salt=1), []), torch.float32)
    assert classes_of(wrapped) == classes_of(at_step(wrapped, 1.0)) == 4
    with pytest.raises(ValueError, match="attribute `classes`"):
        classes_of(lambda x, sigma, cond: x)
    net.classes = 0
    with pytest.raises(ValueError, match="unconditional"):
        classes_of(net)


def test_terms_add_with_discriminator_guidance_inside_an_interval():
    x, sigma = points()
    cond = torch.arange(len(x)) % 4
    main, terms = Shifted(), [Potential(log_ratio, 0.7), Projected(other(), 2.0), Independent(Shifted(), 1.5)]
    together = Guided(main, terms)(x, sigma, cond)
    out = main(x, sigma, cond)
    apart = out + sum(term.delta(x, sigma, cond, out) for term in terms)
    torch.testing.assert_close(together, apart)
    off = at_step(Guided(main, [Interval(term, 0.1, 1.0) for term in terms]), 2.0)
    assert torch.equal(off(x, sigma, cond), out)


# ---- boosting ------------------------------------------------------------------------------------------------


def start(n, dtype):
    return 5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_low_ratio_the_boosted_sampler_is_heun_bit_for_bit(dtype):
    def confident(x, sigma, cond):
        return log_ratio(x, sigma, cond).abs() + 1

    sigmas, x = edm_sigmas(11, 0.002, 5.0, 7.0), start(40, dtype)
    boosting = Boosting(confident, 2.0, sigma_lo=0.05, sigma_hi=3.0, dtype=dtype)
    seen = []
    found = boosted(
        model(), x, sigmas, None, boosting=boosting, noise=SeededNoise(range(40)),
        callback=lambda step, sigma, x: seen.append(step),
    )  # fmt: skip
    correct = Correction([Interval(Potential(confident, 2.0), 0.05, 3.0)])
    assert torch.equal(found, heun(model(), x, sigmas, None, correct=correct))
    assert seen == list(range(12))
    further = Correction([Reference(other(), 2.0)])
    both = boosted(model(), x, sigmas, None, boosting=boosting, noise=SeededNoise(range(40)), correct=further)
    assert not torch.equal(both, found)


def test_only_low_ratios_are_pushed_harder_and_only_at_every_second_step():
    x, sigma = start(6, torch.float64), torch.full((6,), 1.0, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0], dtype=torch.float64)

    def judge(x, sigma, cond):
        return signs * (1 + x.square().sum(1))

    boosting = Boosting(judge, 1.5, sigma_lo=0.5, dtype=torch.float64)
    plain = Potential(judge, 1.5).delta(x, sigma, None, x)
    factors = torch.where(signs < 0, 2.0, 1.0)[:, None]
    for step, factor in ((0, factors), (1, 1.0), (2, factors)):
        delta, ratio = boosting.delta(step, 1.0, x, sigma, None)
        assert torch.equal(delta, factor * plain) and torch.equal(ratio, judge(x, sigma, None))
    delta, ratio = boosting.delta(
        0, 0.5, x, sigma, None
    )  # outside its interval: off, and nothing boosted next
    assert not delta.any() and torch.equal(ratio, torch.full((6,), math.inf).double())
    upper = Boosting(judge, 1.5, sigma_hi=2.0, dtype=torch.float64)  # the upper end belongs to the interval
    assert upper.delta(0, 2.0, x, sigma, None)[0].any() and not upper.delta(0, 2.1, x, sigma, None)[0].any()


def test_churn_follows_the_step_before_and_a_sample_depends_on_its_own_seed():
    ratio = torch.tensor([-1.0, 1.0, -0.1, math.inf])
    boosting = Boosting(log_ratio, 1.0, dtype=torch.float64)
    expected = torch.tensor([4 / 18, 0, 4 / 18, 0], dtype=torch.float64)
    assert torch.equal(boosting.gamma(5, 18, ratio), expected)
    assert not boosting.gamma(6, 18, ratio).any()
    assert float(boosting.gamma(5, 4, ratio).max()) == math.sqrt(2) - 1
    assert [step for step in range(18) if boosting.churns(step)] == [5, 10, 15]
    sigmas, x = edm_sigmas(12, 0.002, 5.0, 7.0), start(30, torch.float64)
    together = boosted(model(), x, sigmas, None, boosting=boosting, noise=SeededNoise(range(30)))
    part = boosted(model(), x[7:19], sigmas, None, boosting=boosting, noise=SeededNoise(range(7, 19)))
    torch.testing.assert_close(together[7:19], part, rtol=1e-12, atol=1e-12)
    other_seeds = boosted(model(), x, sigmas, None, boosting=boosting, noise=SeededNoise(range(100, 130)))
    moved = (other_seeds - together).abs().amax(1) > 1e-6
    assert moved.any() and not moved.all()  # churned samples feel their noise, the others do not


def test_the_noise_of_churn_has_the_deviation_it_is_given():
    def end(S_noise):
        boosting = Boosting(
            lambda x, sigma, cond: 0 * x.sum(1) - 1, 1.0, S_noise=S_noise, dtype=torch.float64
        )
        x, noise = start(4, torch.float64), SeededNoise(range(4))
        return boosted(
            lambda x, sigma, cond: 0.5 * x,
            x,
            edm_sigmas(8, 0.1, 5.0, 7.0),
            None,
            boosting=boosting,
            noise=noise,
        )

    none, one, three = (end(deviation) for deviation in (0.0, 1.0, 3.0))
    assert (one - none).abs().min() > 1e-3  # all samples are classified as generated
    torch.testing.assert_close(three - none, 3 * (one - none))
