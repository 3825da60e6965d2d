from pathlib import Path

import numpy as np
import pytest
import torch
from exact import Blend, points
from safetensors.torch import load_file

from guidelab.core import ema
from guidelab.core.losses import edm2_loss, edm_loss, lognormal_sigma, loss_weight
from guidelab.core.precond import coefficients, precondition

FIXTURE = Path(__file__).parents[1] / "parity" / "data" / "posthoc_ema.safetensors"


def test_preconditioned_optimum_for_gaussian_data_is_zero():
    # data N(0, sigma_data^2): the posterior mean is c_skip x exactly, so the raw network has nothing to learn
    x, sigma = points()
    gaussian = Blend([1.0], [[0.0, 0.0]], [0.5])
    zero = precondition(lambda x, c_noise, cond: torch.zeros_like(x), 0.5)
    torch.testing.assert_close(zero(x, sigma, None), gaussian(x, sigma), rtol=1e-12, atol=1e-13)


def test_preconditioning_gives_unit_variances_and_noise_embedding():
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    c = coefficients(sigma, 0.5)
    torch.testing.assert_close(c.c_in**2 * (sigma**2 + 0.25), torch.ones(3, dtype=torch.float64))
    target_variance = (1 - c.c_skip) ** 2 * 0.25 + c.c_skip**2 * sigma**2  # of y - c_skip x
    torch.testing.assert_close(c.c_out**2, target_variance)
    torch.testing.assert_close(loss_weight(sigma, 0.5) * c.c_out**2, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(c.c_noise, sigma.log() / 4)
    seen = {}

    def raw(x, c_noise, cond):
        seen.update(x=x, c_noise=c_noise, cond=cond)
        return torch.ones_like(x)

    x = torch.full((3, 2, 4, 4), 2.0, dtype=torch.float64)
    cond = torch.tensor([1, 0, 2])
    out = precondition(raw, 0.5)(x, sigma, cond)
    assert out.shape == x.shape and torch.equal(seen["cond"], cond)
    torch.testing.assert_close(seen["x"][:, 0, 0, 0], 2 * c.c_in)
    torch.testing.assert_close(out[:, 1, 2, 3], 2 * c.c_skip + c.c_out)


def test_edm_loss_is_a_weighted_sum_over_the_event():
    x0 = torch.ones(2, 3, 4, 4)
    noise, sigma = torch.full_like(x0, 0.5), torch.tensor([0.5, 2.0])
    seen = {}

    def predict(x, s, cond):
        seen["x"] = x
        return torch.zeros_like(x)  # error 1 for each of 48 elements

    loss = edm_loss(predict, x0, noise, sigma, None, 0.5)
    assert loss.tolist() == pytest.approx([48 * 8.0, 48 * 4.25])
    assert seen["x"][:, 0, 0, 0].tolist() == pytest.approx([1.25, 2.0])


def test_edm2_loss_with_a_learned_log_variance():
    x0, sigma = torch.ones(2, 3, 4, 4), torch.tensor([0.5, 2.0])

    def predict(x, s, cond):
        return torch.zeros_like(x)

    plain = edm_loss(predict, x0, x0, sigma, None, 0.5)
    assert torch.equal(edm2_loss(predict, x0, x0, sigma, None, 0.5, torch.zeros(2)), plain)
    u = torch.tensor([0.3, -0.7], requires_grad=True)
    loss = edm2_loss(predict, x0, x0, sigma, None, 0.5, u)
    assert loss.tolist() == pytest.approx(
        [48 * (8 / np.exp(0.3) + 0.3), 48 * (4.25 / np.exp(-0.7) - 0.7)], rel=1e-6
    )
    best = (
        torch.tensor([8.0, 4.25]).log().requires_grad_(True)
    )  # the optimum is the log of the mean weighted error
    edm2_loss(predict, x0, x0, sigma, None, 0.5, best).sum().backward()
    assert best.grad is not None and best.grad.abs().max() < 1e-4


def test_training_sigmas_are_lognormal():
    assert lognormal_sigma(torch.tensor([-1.0, 0.0, 1.0]), -2.3, 1.5).log().tolist() == pytest.approx(
        [-3.8, -2.3, -0.8]
    )


def test_ema_against_reference_values():
    fixture = {name: tensor.numpy() for name, tensor in load_file(FIXTURE).items()}
    gamma = ema.std_to_gamma(fixture["in/out_std"])
    np.testing.assert_allclose(gamma, fixture["out/std_to_exp_out"], rtol=1e-11)
    np.testing.assert_allclose(ema.beta(1024, 32, gamma), fixture["out/beta_next1024_delta32"], rtol=1e-11)
    got = ema.reconstruct_coefficients(
        *(fixture[f"in/{k}"] for k in ("in_ofs", "in_std", "out_ofs", "out_std"))
    )
    np.testing.assert_allclose(got, fixture["out/coefficients"], rtol=0, atol=1e-11)


def test_std_and_gamma_are_inverse():
    stds = np.array([[0.01, 0.05], [0.1, 0.25]])
    assert ema.std_to_gamma(stds).shape == (2, 2)
    np.testing.assert_allclose(ema.gamma_to_std(ema.std_to_gamma(stds)), stds, rtol=1e-12)
    assert ema.std_to_gamma(0.05) == pytest.approx(16.97, abs=0.005)  # published values
    assert ema.std_to_gamma(0.10) == pytest.approx(6.94, abs=0.005)
    with pytest.raises(ValueError, match=r"0\.3"):
        ema.std_to_gamma(0.3)


def test_first_update_forgets_the_initial_weights():
    assert ema.beta(128, 128, 16.97) == 0
    with pytest.raises(ValueError, match="delta=256"):
        ema.beta(128, 256, 16.97)


def averages(stds, steps):
    """Averages of one random walk, by the updates a training loop makes: value at every step, [steps, stds]."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(steps, 6)), axis=0)
    gammas = ema.std_to_gamma(stds)
    state, history = np.zeros((len(stds), 6)), []
    for i, weights in enumerate(walk):
        beta = ema.beta(i + 1, 1, gammas)[:, None]
        state = beta * state + (1 - beta) * weights
        history.append(state)
    return np.array(history)


def test_reconstruction_recovers_an_average_that_was_never_stored():
    steps = 2048
    history = averages([0.05, 0.10, 0.07], steps)
    offsets = np.arange(64, steps + 1, 64)
    snapshots = [
        {"w": torch.tensor(history[o - 1, k]), "n": torch.tensor([o])} for o in offsets for k in (0, 1)
    ]
    rebuilt = ema.reconstruct(snapshots, np.repeat(offsets, 2), [0.05, 0.10] * len(offsets), steps, 0.07)
    spread = np.abs(history[-1, 0] - history[-1, 1]).max()
    error = np.abs(rebuilt["w"].numpy() - history[-1, 2]).max()
    assert error < 1e-3 * spread, (error, spread)
    assert rebuilt["w"].dtype == torch.float64 and rebuilt["n"].tolist() == [steps]
    same = ema.reconstruct(snapshots, np.repeat(offsets, 2), [0.05, 0.10] * len(offsets), 1024, 0.10)
    np.testing.assert_allclose(same["w"].numpy(), history[1023, 1], rtol=1e-8)


def test_reconstruction_mistakes_are_named():
    with pytest.raises(ValueError, match="2 snapshots for 1"):
        ema.reconstruct([{}, {}], [256], [0.05], 256, 0.1)
    with pytest.raises(ValueError, match="different tensors"):
        ema.reconstruct([{"a": torch.ones(1)}, {"b": torch.ones(1)}], [256, 512], [0.05, 0.05], 512, 0.1)
    with pytest.raises(ValueError, match="one std per offset"):
        ema.reconstruct_coefficients([256, 512], [0.05], [512], [0.1])
