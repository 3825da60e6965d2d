import pytest
import torch
from exact import Blend, Counted, data, model, other, points

from guidelab.core.guidance import Correction, Guided, Interval, Potential, Reference, truncation
from guidelab.core.guidance.classifier import classifier
from guidelab.core.scores import denoiser_from_score, score_from_denoiser


def log_ratio(x, sigma, cond):
    return data().log_density(x, sigma) - model().log_density(x, sigma)


def test_exact_density_ratio_turns_the_model_into_the_data():
    x, sigma = points()
    guided = Guided(model(), [Potential(log_ratio, 1.0)])(x, sigma, None)
    assert (model()(x, sigma) - data()(x, sigma)).abs().max() > 0.05  # there is something to repair
    torch.testing.assert_close(guided, data()(x, sigma), rtol=0, atol=1e-12)


def test_classifier_guidance_with_the_exact_classifier_is_classifier_free_guidance():
    classes = [Blend([1.0], [[-1.0, 0.2]], [0.3]), Blend([1.0], [[1.2, -0.3]], [0.4])]
    prior = torch.tensor([0.6, 0.4], dtype=torch.float64)

    def conditional(x, sigma, cond):
        both = torch.stack([c(x, sigma) for c in classes])
        return both[cond, torch.arange(len(x))]

    def log_classifier(x, sigma, cond):
        both = torch.stack([c.log_density(x, sigma) for c in classes], 1) + prior.log()
        return both.log_softmax(1)[torch.arange(len(x)), cond]

    def log_probabilities(x, sigma, cond):
        assert cond is None
        return torch.stack([log_classifier(x, sigma, torch.full((len(x),), k)) for k in (0, 1)], 1)

    x, sigma = points()
    cond = torch.arange(len(x)) % 2
    for v in (0.5, 1.0, 2.5):
        by_classifier = Guided(conditional, [classifier(log_probabilities, v)])(x, sigma, cond)
        free = Guided(conditional, [Reference(data(), 1.0 + v)])(x, sigma, cond)
        torch.testing.assert_close(by_classifier, free, rtol=1e-11, atol=1e-11)
    sharpened = Guided(data(), [Potential(log_classifier, 1.0)])(x, sigma, cond)
    torch.testing.assert_close(sharpened, conditional(x, sigma, cond), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "term",
    [
        lambda ref: Reference(ref, 1.0),
        lambda ref: Potential(lambda x, s, c: ref(x, s, c).sum(1), 0.0),
        lambda ref: Interval(Reference(ref, 1.0), 0.0, 1.0),
        lambda ref: truncation(1.0),
    ],
)
def test_neutral_weight_is_the_main_net_bit_for_bit_without_a_second_call(term):
    x, sigma = points(dtype=torch.float32)
    main, ref = Counted(model()), Counted(other())
    guided = Guided(main, [term(ref)])(x, sigma, None)
    assert torch.equal(guided, model()(x, sigma))
    assert (main.calls, ref.calls) == (1, 0)


def test_guided_evaluation_calls_each_net_once():
    x, sigma = points()
    main, ref = Counted(model()), Counted(other())
    Guided(main, [Reference(ref, 2.0)])(x, sigma, None)
    assert (main.calls, ref.calls) == (1, 1)


def test_reference_equal_to_main_gives_main():
    x, sigma = points(dtype=torch.float32)
    assert torch.equal(Guided(model(), [Reference(model(), 3.7)])(x, sigma, None), model()(x, sigma))


def test_reference_weight_zero_gives_the_reference():
    x, sigma = points()
    guided = Guided(model(), [Reference(other(), 0.0)])(x, sigma, None)
    torch.testing.assert_close(guided, other()(x, sigma), rtol=0, atol=1e-12)


def test_terms_add_as_equation_6_of_autoguidance():
    x, sigma = points()
    w, blend = 2.4, 0.3  # a share `blend` of the guidance is the second reference's
    w_u, w_c = (1 - blend) * (w - 1) + 1, blend * (w - 1) + 1
    guided = Guided(data(), [Reference(model(), w_u), Reference(other(), w_c)])(x, sigma, None)
    d1, d_u, d_c = data()(x, sigma), model()(x, sigma), other()(x, sigma)
    torch.testing.assert_close(
        guided, d1 + (w_u - 1) * (d1 - d_u) + (w_c - 1) * (d1 - d_c), rtol=0, atol=1e-12
    )
    mean_ref = d_u + blend * (d_c - d_u)  # the same, as one blended reference
    torch.testing.assert_close(guided, mean_ref + w * (d1 - mean_ref), rtol=0, atol=1e-12)


def test_reference_and_potential_terms_add():
    x, sigma = points()
    both = Guided(model(), [Reference(other(), 1.8), Potential(log_ratio, 0.7)])(x, sigma, None)
    d1, d0, target = model()(x, sigma), other()(x, sigma), data()(x, sigma)
    torch.testing.assert_close(both, d1 + 0.8 * (d1 - d0) + 0.7 * (target - d1), rtol=0, atol=1e-12)


def test_truncation_scales_the_score():
    x, sigma = points()
    guided = Guided(model(), [truncation(1.4)])
    scaled = score_from_denoiser(guided)(x, sigma, None)
    torch.testing.assert_close(scaled, 1.4 * model().score(x, sigma), rtol=1e-10, atol=1e-10)


def test_score_and_denoiser_are_inverse():
    x, sigma = points()
    torch.testing.assert_close(
        denoiser_from_score(model().score)(x, sigma, None), model()(x, sigma), rtol=0, atol=1e-14
    )


def test_guidance_inside_guidance():
    x, sigma = points()
    inner = Guided(model(), [Reference(other(), 1.5)])
    outer = Guided(data(), [Reference(inner, 2.0)])(x, sigma, None)
    ref = model()(x, sigma) + 0.5 * (model()(x, sigma) - other()(x, sigma))
    torch.testing.assert_close(outer, 2 * data()(x, sigma) - ref, rtol=0, atol=1e-12)


def test_saturated_logit_still_guides():
    x, sigma = points(dtype=torch.float32)

    def logit(x, sigma, cond):
        return 400.0 + 30.0 * x[:, 0]  # d = 1 to the last bit in float32

    def clipped(x, sigma, cond):
        p = torch.sigmoid(logit(x, sigma, cond)).clip(1e-5, 1 - 1e-5)
        return (p / (1 - p)).log()

    delta = Potential(logit, 2.0).delta(x, sigma, None, x)
    torch.testing.assert_close(delta[:, 0], 60.0 * sigma**2)
    assert torch.equal(delta[:, 1], torch.zeros_like(sigma))
    assert Potential(clipped, 2.0).delta(x, sigma, None, x).abs().max() == 0  # why the logit is used


def test_potential_leaves_parameters_and_its_input_alone():
    x, sigma = points(dtype=torch.float32)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    before = x.clone()
    delta = Potential(lambda x, s, c: net(x)[:, 0], 1.0).delta(x, sigma, None, x)
    assert all(p.grad is None for p in net.parameters())
    assert not x.requires_grad and torch.equal(x, before)
    assert not delta.requires_grad and delta.abs().max() > 0


def test_potential_works_without_gradients_and_can_be_differentiated_again():
    x, sigma = points(4)
    term = Potential(log_ratio, 1.0)
    with torch.no_grad():
        plain = term.delta(x, sigma, None, x)
    point = x.clone().requires_grad_(True)
    again = term.delta(point, sigma, None, x)
    torch.testing.assert_close(plain, again.detach(), rtol=0, atol=0)
    (second,) = torch.autograd.grad(again[:, 0].sum(), point)
    step = torch.tensor([1e-5, 0.0], dtype=torch.float64)
    numeric = (term.delta(x + step, sigma, None, x) - term.delta(x - step, sigma, None, x))[:, 0] / 2e-5
    torch.testing.assert_close(second[:, 0], numeric, rtol=1e-5, atol=1e-6)


def test_interval_needs_a_step_and_is_half_open():
    x, sigma = points()
    term = Interval(Reference(other(), 2.0), 0.2, 1.5)
    with pytest.raises(ValueError, match="at_step"):
        Guided(model(), [term])(x, sigma, None)
    assert [term.at_step(s) is not None for s in (0.1, 0.2, 0.2001, 1.5, 1.5001)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(ValueError, match=r"lo=2\.0, hi=1\.0"):
        Interval(Reference(other(), 2.0), 2.0, 1.0)


def test_interval_inside_a_reference_is_resolved_too():
    x, sigma = points()
    weak = Guided(model(), [Interval(Reference(other(), 3.0), 0.0, 1.0)])
    guided = Guided(data(), [Reference(weak, 2.0)])
    off, on = guided.at_step(5.0)(x, sigma, None), guided.at_step(0.5)(x, sigma, None)
    torch.testing.assert_close(off, 2 * data()(x, sigma) - model()(x, sigma), rtol=0, atol=1e-12)
    assert (on - off).abs().max() > 0.01


def test_correction_is_the_sum_of_its_terms_and_obeys_intervals():
    x, sigma = points()
    main_out = model()(x, sigma)
    terms = [Potential(log_ratio, 0.5), Interval(Potential(log_ratio, 1.0), 0.5, 2.0)]
    repaired = data()(x, sigma) - main_out
    torch.testing.assert_close(
        Correction(terms).at_step(1.0)(x, sigma, None, main_out), 1.5 * repaired, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        Correction(terms).at_step(3.0)(x, sigma, None, main_out), 0.5 * repaired, rtol=0, atol=1e-12
    )


def test_a_guided_main_learns_the_step_too():
    """An interval inside the main denoiser is decided by the step, also when guidance wraps it once more."""
    x, sigma = points()
    inner = Guided(model(), [Interval(Reference(other(), 2.0), 0.2, 1.5)])
    outer = Guided(inner, [Reference(data(), 1.5)])
    inside, outside = outer.at_step(1.0)(x, sigma, None), outer.at_step(3.0)(x, sigma, None)
    guided = Guided(Guided(model(), [Reference(other(), 2.0)]), [Reference(data(), 1.5)])(x, sigma, None)
    plain = Guided(model(), [Reference(data(), 1.5)])(x, sigma, None)
    torch.testing.assert_close(inside, guided, rtol=0, atol=1e-12)
    torch.testing.assert_close(outside, plain, rtol=0, atol=1e-12)
