"""The loss of ADM and DiT against hand computations."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from guidelab.core.chain import Schedule
from guidelab.core.hybrid_loss import Tables, byte_nll, hybrid_loss

SCHEDULE = Schedule("linear", 50)
TABLES = Tables.of(SCHEDULE)


def given(batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0 = (torch.randint(0, 256, (batch, 1, 2, 2), generator=generator).float() / 127.5) - 1
    return x0, torch.randn(batch, 1, 2, 2, generator=generator)


@pytest.mark.parametrize("step", [1, 20, 49])
def test_the_kl_of_two_normals(step: int) -> None:
    """Everything again from the betas alone, in Python floats."""
    x0, noise = given()
    epsilon, share = 0.3, 0.4

    def raw(x: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        assert steps.dtype == torch.float32 and steps.tolist() == [step]
        return torch.cat([torch.full_like(x, epsilon), torch.full_like(x, share)], dim=1)

    found = float(hybrid_loss(raw, x0, noise, torch.tensor([step]), None, TABLES))
    betas = [20 * (1e-4 + (0.02 - 1e-4) * i / 49) for i in range(50)]
    before = math.prod(1 - b for b in betas[:step])
    now, beta = before * (1 - betas[step]), betas[step]
    exact = beta * (1 - before) / (1 - now)
    log_variance = (share + 1) / 2 * math.log(beta) + (1 - share) / 2 * math.log(exact)
    wanted = 0.0
    for x, n in zip(x0.flatten().tolist(), noise.flatten().tolist(), strict=True):
        noisy = math.sqrt(now) * x + math.sqrt(1 - now) * n
        guess = (noisy - math.sqrt(1 - now) * epsilon) / math.sqrt(now)
        means = [
            math.sqrt(before) * beta / (1 - now) * clean
            + math.sqrt(1 - beta) * (1 - before) / (1 - now) * noisy
            for clean in (x, guess)
        ]
        first = math.log(math.exp(log_variance / 2) / math.sqrt(exact))
        kl = first + (exact + (means[0] - means[1]) ** 2) / (2 * math.exp(log_variance)) - 0.5
        wanted += (epsilon - n) ** 2 + kl / math.log(2) * 50 / 1000
    assert found == pytest.approx(wanted, rel=1e-4)


def test_at_the_first_step_bytes_are_likely() -> None:
    x0, noise = given()

    def raw(x: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        return torch.cat([noise, torch.ones_like(x)], dim=1)  # the noise itself, and beta

    found = float(hybrid_loss(raw, x0, noise, torch.tensor([0]), None, TABLES))
    normal = stats.norm(scale=math.sqrt(float(SCHEDULE.betas[0])))
    bits = -math.log2(float(normal.cdf(1 / 255) - normal.cdf(-1 / 255)))
    assert float(x0.min()) > -1 and float(x0.max()) < 1
    assert found == pytest.approx(4 * bits * 50 / 1000, rel=1e-3)


def test_all_bytes_together_are_certain() -> None:
    x = torch.arange(256) / 127.5 - 1
    for mean, log_variance in ((0.2, -4.0), (-1.5, -1.0), (0.999, -9.0)):
        nll = byte_nll(x, torch.full_like(x, mean), torch.full_like(x, log_variance))
        assert float(torch.exp(-nll).sum()) == pytest.approx(1, abs=1e-5)


def test_the_variational_term_leaves_the_noise_alone() -> None:
    x0, noise = given(3)
    steps = torch.tensor([0, 10, 49])
    epsilon = torch.full_like(x0, 0.1, requires_grad=True)
    share = torch.full_like(x0, 0.2, requires_grad=True)
    loss = hybrid_loss(lambda *_: torch.cat([epsilon, share], dim=1), x0, noise, steps, None, TABLES)
    loss.sum().backward()
    assert epsilon.grad is not None and share.grad is not None
    torch.testing.assert_close(epsilon.grad, 2 * (0.1 - noise))
    assert bool((share.grad[1:] != 0).all())
    simple = hybrid_loss(lambda *_: epsilon, x0, noise, steps, None, TABLES)
    torch.testing.assert_close(simple, ((0.1 - noise) ** 2).flatten(1).sum(1))


def test_what_the_net_is_given() -> None:
    x0, noise = given(2)
    steps, cond = torch.tensor([3, 44]), torch.tensor([1, 0])
    seen = []

    def raw(x: Tensor, at: Tensor, told: Tensor | None) -> Tensor:
        seen.append((x, at, told))
        return x

    hybrid_loss(raw, x0, noise, steps, cond, TABLES)
    ((x, at, told),) = seen
    signal = SCHEDULE.alphas_cumprod[steps].sqrt()[:, None, None, None]
    torch.testing.assert_close(x, (signal * x0 + (1 - signal**2).sqrt() * noise).float())
    assert at.tolist() == [3, 44] and told is cond
