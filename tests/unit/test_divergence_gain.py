"""The gain by denoising score matching: its target exactly, its interval, and the mistakes it must show."""

import numpy as np
import pytest
import torch
from divergence_cases import PLANE_P, PLANE_Q, covers, draw_plane, plane_log_density, plane_score

from guidelab.metrics.gain import (
    gain,
    gain_terms,
    gain_terms_denoised,
    score_error_difference,
    score_error_terms,
)
from guidelab.metrics.sigma_curve import sigma_curve
from guidelab.metrics.units import log_edges, stratified_sigmas

LOW, HIGH = 0.05, 5.0
EDGES = log_edges(LOW, HIGH, 20)


def scores(x, sigma):
    return plane_score(PLANE_P, x, sigma), plane_score(PLANE_Q, x, sigma)


def helpful(x, true, model, sigma):
    """Most of the missing score, and something else."""
    return 0.7 * (true - model) + 0.3 * np.sin(2 * x) / (1 + sigma[..., None])


def harmful(x, true, model, sigma):
    return -0.5 * (true - model) + 0.3 * np.sin(2 * x) / (1 + sigma[..., None])


def js_weight(x, sigma):
    """f''(r) r of the Jensen-Shannon divergence."""
    ratio = plane_log_density(PLANE_P, x, sigma) - plane_log_density(PLANE_Q, x, sigma)
    return 0.5 / (1 + np.exp(ratio))


def exact(guidance, weight=None, *, source=PLANE_P, low=LOW, high=HIGH):
    """The score-error difference by quadrature over the plane and over ln sigma."""
    nodes, levels = np.polynomial.legendre.leggauss(24)
    half, total = 0.5 * np.log(high / low), 0.0
    for place, share in zip(nodes, levels, strict=True):
        sigma = float(np.sqrt(low * high) * np.exp(half * place))
        reach = 1.8 + 5.5 * np.hypot(sigma, 0.4)
        axis = np.linspace(-reach, reach, int(2 * reach / min(0.2, np.hypot(sigma, 0.3) / 3)) + 1)
        x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        level = np.full(len(x), sigma)
        true, model = scores(x, level)
        change = guidance(x, true, model, level)
        density = np.exp(plane_log_density(source, x, level)) * (axis[1] - axis[0]) ** 2
        terms = density * (change * (2 * (true - model) - change)).sum(-1)
        total += half * share * sigma**2 * (terms if weight is None else terms * weight(x, level)).sum()
    return total


EXACT = {kind: exact(kind) for kind in (helpful, harmful)}


def draws(seed, n, source=PLANE_P):
    """sigma [n, 2] and noisy points, noise and real points [n, 2, 2]: rows are pairs +-eps."""
    rng = np.random.default_rng(seed)
    sigma = np.repeat(stratified_sigmas(rng.uniform(size=n), LOW, HIGH)[:, None], 2, 1)
    eps = rng.standard_normal((n, 1, 2)) * np.array([1.0, -1.0])[:, None]
    clean = np.repeat(draw_plane(source, rng, n)[:, None], 2, 1)
    return sigma, clean + sigma[..., None] * eps, eps, clean


def estimate(seed, n, guidance=helpful, *, source=PLANE_P, weight=None, change=lambda terms: terms):
    sigma, x, eps, _ = draws(seed, n, source)
    true, model = scores(x, sigma)
    terms = gain_terms(
        sigma=sigma,
        eps=eps,
        score=model,
        guidance=guidance(x, true, model, sigma),
        weight=None if weight is None else weight(x, sigma),
    )
    return gain(sigma=sigma, terms=change(terms), edges=EDGES)


def near(value, truth):
    return abs(value.value - truth) < 4 * value.std_error


@pytest.mark.parametrize("kind", [helpful, harmful])
def test_the_interval_covers_the_exact_score_error_difference(kind):
    hits = [covers(estimate(seed, 1000, kind).total, EXACT[kind]) for seed in range(400)]
    assert 0.92 <= np.mean(hits) <= 0.98, np.mean(hits)


def test_the_gain_is_precise_and_its_curve_adds_up():
    found = estimate(0, 40_000)
    assert found.total.estimable and "sigma 0.05 to 5" in found.total.note
    assert found.total.std_error < 0.03 * EXACT[helpful] and near(found.total, EXACT[helpful])
    widths = np.diff(np.log(found.edges))
    assert found.total.value == pytest.approx(widths @ [value.value for value in found.curve])
    for k in (3, 8, 12):
        target = exact(helpful, low=EDGES[k], high=EDGES[k + 1]) / widths[k]
        assert near(found.curve[k], target), k


def test_no_guidance_beats_the_missing_score_and_the_missing_score_reaches_it():
    """The gain certifies: at most the score error, with equality for c = s_p - s."""
    perfect = exact(lambda x, true, model, sigma: true - model)
    assert EXACT[helpful] < perfect and EXACT[harmful] < 0
    assert near(estimate(1, 20_000, lambda x, true, model, sigma: true - model).total, perfect)
    total = estimate(1, 20_000, harmful).total
    assert total.value + 1.96 * total.std_error < 0  # harm is seen
    sigma, x, _, _ = draws(1, 20_000)
    true, model = scores(x, sigma)
    error = sigma_curve(
        sigma=sigma,
        contribution=score_error_terms(sigma=sigma, true_score=true, score=model),
        edges=EDGES,
    )
    assert near(error.total, perfect)


def test_the_sign_error_is_found():
    """c where -c is meant (a term for the ODE's slope instead of the score), and +eps for -eps."""
    assert not near(estimate(2, 20_000, lambda *a: -helpful(*a)).total, EXACT[helpful])
    sigma, x, eps, _ = draws(2, 20_000)
    true, model = scores(x, sigma)
    terms = gain_terms(sigma=sigma, eps=-eps, score=model, guidance=helpful(x, true, model, sigma))
    assert not near(gain(sigma=sigma, terms=terms, edges=EDGES).total, EXACT[helpful])


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_factor_two_error_is_found(factor):
    """A half too many (half of g^2 = 2 sigma is sigma already) or too few."""
    found = estimate(3, 20_000, change=lambda terms: factor * terms).total
    assert not near(found, EXACT[helpful]) and near(found, factor * EXACT[helpful])


def test_the_wrong_measure_is_found():
    """Noise on the model's samples instead of real points: the score of q, and another number."""
    assert not near(estimate(4, 20_000, source=PLANE_Q).total, EXACT[helpful])


def test_the_weighted_gain_has_the_weighted_target():
    target = exact(helpful, js_weight)
    found = estimate(5, 20_000, weight=js_weight).total
    assert near(found, target) and not near(found, EXACT[helpful])
    hits = [covers(estimate(seed, 1000, weight=js_weight).total, target) for seed in range(200)]
    assert 0.91 <= np.mean(hits) <= 0.985, np.mean(hits)


def test_antithetic_pairs_lower_the_variance():
    """As many network calls: n pairs against 2n single draws."""
    paired = estimate(6, 4000).total
    rng = np.random.default_rng(7)
    sigma = stratified_sigmas(rng.uniform(size=8000), LOW, HIGH)
    eps = rng.standard_normal((8000, 2))
    x = draw_plane(PLANE_P, rng, 8000) + sigma[:, None] * eps
    true, model = scores(x, sigma)
    terms = gain_terms(sigma=sigma, eps=eps, score=model, guidance=helpful(x, true, model, sigma))
    single = gain(sigma=sigma, terms=terms, edges=EDGES).total
    assert near(single, EXACT[helpful])
    assert paired.std_error < single.std_error
    # what pairing is for: the lowest noise levels
    low_pair, low_single = estimate(6, 4000).curve[0], gain(sigma=sigma, terms=terms, edges=EDGES).curve[0]
    assert low_pair.std_error < 0.6 * low_single.std_error


def test_pairs_taken_for_independent_draws_give_the_wrong_error():
    sigma, x, eps, _ = draws(8, 4000)
    true, model = scores(x, sigma)
    terms = gain_terms(sigma=sigma, eps=eps, score=model, guidance=helpful(x, true, model, sigma))
    rows = gain(sigma=sigma, terms=terms, edges=EDGES).total
    flat = gain(sigma=sigma.reshape(-1), terms=terms.reshape(-1), edges=EDGES).total
    assert flat.value == pytest.approx(rows.value)
    assert abs(flat.std_error / rows.std_error - 1) > 0.1


def test_the_denoisers_form_is_the_same_number():
    sigma, x, eps, clean = draws(9, 500)
    true, model = scores(x, sigma)
    guidance = helpful(x, true, model, sigma)
    variance = sigma[..., None] ** 2
    denoised = x + variance * model
    by_score = gain_terms(sigma=sigma, eps=eps, score=model, guidance=guidance)
    by_denoiser = gain_terms_denoised(
        sigma=sigma, clean=clean, denoised=denoised, guided=denoised + variance * guidance
    )
    np.testing.assert_allclose(by_denoiser, by_score, rtol=1e-8, atol=1e-10)
    loss = ((clean - denoised) ** 2).sum(-1) - ((clean - denoised - variance * guidance) ** 2).sum(-1)
    np.testing.assert_allclose(by_denoiser, loss / sigma**2, rtol=1e-8, atol=1e-8)


def test_the_difference_from_the_true_score_is_the_target_with_less_noise():
    sigma, x, _, _ = draws(10, 4000)
    true, model = scores(x, sigma)
    found = score_error_difference(
        sigma=sigma,
        true_score=true,
        score=model,
        guidance=helpful(x, true, model, sigma),
        edges=EDGES,
    ).total
    assert near(found, EXACT[helpful]) and found.std_error < estimate(10, 4000).total.std_error


def test_images_flatten_and_a_wild_guidance_is_not_estimable():
    rng = np.random.default_rng(11)
    eps, score, guidance = rng.standard_normal((3, 300, 1, 4, 4))
    sigma = stratified_sigmas(rng.uniform(size=300), LOW, HIGH)
    terms = gain_terms(sigma=sigma, eps=eps, score=score, guidance=guidance)
    assert terms.shape == (300, 1)
    flat = [values.reshape(300, 16) for values in (eps, score, guidance)]
    np.testing.assert_allclose(terms, gain_terms(sigma=sigma, eps=flat[0], score=flat[1], guidance=flat[2]))
    guidance[7] *= 1e4
    wild = gain_terms(sigma=sigma, eps=eps, score=score, guidance=guidance)
    assert not gain(sigma=sigma, terms=wild, edges=log_edges(LOW, HIGH, 3)).total.estimable


def test_refusals():
    ones = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"guidance: shape \(5, 3\), wanted \[4, '\*event'\]"):
        gain_terms(sigma=np.ones(4), eps=ones, score=ones, guidance=np.ones((5, 3)))
    with pytest.raises(ValueError, match="eps: shape"):
        gain_terms(sigma=np.ones((4, 3)), eps=ones, score=ones, guidance=ones)
    with pytest.raises(ValueError, match="weight: shape"):
        gain_terms(sigma=np.ones(4), eps=ones, score=ones, guidance=ones, weight=np.ones(3))


def test_the_plane_of_these_tests_is_the_exact_mixture():
    sigma, x, _, _ = draws(12, 20)
    points, levels = torch.from_numpy(x.reshape(-1, 2)), torch.from_numpy(sigma.reshape(-1))
    for law in (PLANE_P, PLANE_Q):
        np.testing.assert_allclose(
            plane_score(law, x, sigma).reshape(-1, 2), law.score(points, levels), rtol=1e-9
        )
        np.testing.assert_allclose(
            plane_log_density(law, x, sigma).reshape(-1), law.log_density(points, levels), rtol=1e-9
        )
