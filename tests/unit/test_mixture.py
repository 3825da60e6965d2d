import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal

from guidelab.core.line_mixture import Lines, line_sums
from guidelab.core.mixture import Mixture


def small(dtype: torch.dtype = torch.float64, dim: int = 3) -> Mixture:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(5, dim, dim, generator=g, dtype=torch.float64)
    return Mixture(
        torch.rand(5, generator=g) + 0.1, torch.randn(5, dim, generator=g), root @ root.mT * 0.05, dtype=dtype
    )


def test_log_density_is_the_sum_of_gaussians() -> None:
    mixture = small()
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sigma = torch.linspace(0.1, 2, 7, dtype=torch.float64)
    for point, s, found in zip(x, sigma, mixture.log_density(x, sigma), strict=True):
        parts = [
            w * multivariate_normal(m, c + s.item() ** 2 * np.eye(3)).pdf(point)
            for w, m, c in zip(mixture.weights, mixture.means.numpy(), mixture.covs.numpy(), strict=True)
        ]
        assert found.exp().item() == pytest.approx(sum(float(p) for p in parts), rel=1e-9)


def test_score_is_the_gradient_of_the_log_density_and_gives_the_posterior_mean() -> None:
    mixture = small()
    x = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (gradient,) = torch.autograd.grad(mixture.log_density(x, 0.3).sum(), x)
    torch.testing.assert_close(mixture.score(x, 0.3), gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mixture.posterior_mean(x, 0.3), x + 0.09 * gradient)


def test_posterior_mean_of_one_gaussian_is_the_textbook_one() -> None:
    one = Mixture(torch.ones(1), torch.tensor([[1.0, -2.0]]), torch.diag(torch.tensor([0.25, 4.0]))[None])
    shrink = torch.tensor([0.25 / 1.25, 4 / 5])
    x = torch.tensor([[3.0, 5.0]])
    torch.testing.assert_close(one.posterior_mean(x, 1.0), one.means + shrink * (x - one.means))


def test_far_points_are_finite_and_float32_follows_float64() -> None:
    exact, quick = small(), small(torch.float32)
    x = torch.tensor([[50.0, -80.0, 20.0], [0.1, 0.2, 0.3]])
    assert torch.isfinite(quick.log_density(x, 0.01)).all()
    torch.testing.assert_close(
        quick.log_density(x, 0.01).double(), exact.log_density(x, 0.01), rtol=2e-5, atol=2e-5
    )
    assert torch.isfinite(quick.score(x, 0.01)).all()


def test_batches_larger_than_one_piece_agree_with_single_points(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = small()
    x = torch.randn(23, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    sigma = torch.linspace(0.1, 1, 23, dtype=torch.float64)
    whole = mixture.score(x, sigma)
    monkeypatch.setattr("guidelab.core.mixture._CELLS", 60)  # 4 points at a time
    torch.testing.assert_close(mixture.score(x, sigma), whole, rtol=1e-12, atol=1e-12)
    assert mixture.log_density(x[:0], sigma[:0]).shape == (0,)


def test_samples_follow_the_law_at_every_noise_level() -> None:
    mixture = small(dim=1)
    for sigma in (0.0, 0.7):
        x = mixture.sample(torch.randn(20000, 2, generator=torch.Generator().manual_seed(4)), sigma)[:, 0]
        deviation = (mixture.covs[:, 0, 0] + sigma**2).sqrt()

        def law(at, deviation=deviation):
            z = (torch.as_tensor(at)[:, None] - mixture.means[:, 0]) / deviation
            return (mixture.weights * torch.special.ndtr(z)).sum(1).numpy()

        assert kstest(x.numpy(), law).pvalue > 0.01


def test_sample_depends_on_its_own_row_alone() -> None:
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(5))
    mixture = small()
    torch.testing.assert_close(mixture.sample(z, 0.1)[2:3], mixture.sample(z[2:3], 0.1), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("weights", "means", "covs", "says"),
    [
        (torch.ones(2), torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2), r"\[K, d\]"),
        (torch.tensor([1.0, -1.0]), torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2), "positive"),
        (torch.ones(1), torch.zeros(1, 2), -torch.eye(2)[None], "positive"),
    ],
)
def test_nonsense_is_refused(
    weights: torch.Tensor, means: torch.Tensor, covs: torch.Tensor, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Mixture(weights, means, covs)
    with pytest.raises(ValueError, match="wanted"):
        small().sample(torch.zeros(2, 2))


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_lines_equal_the_general_mixture(count: int) -> None:
    g = torch.Generator().manual_seed(count)
    root = torch.randn(6, 2, 2, generator=g, dtype=torch.float64)
    covs = root @ root.mT * 0.02 + 0.01 * torch.eye(2)
    mids, steps = torch.randn(6, 2, generator=g), torch.randn(6, 2, generator=g) * 0.1
    weights = torch.rand(6, generator=g, dtype=torch.float64) + 0.1
    places = torch.arange(count) - (count - 1) / 2
    means = mids[:, None].double() + places[:, None] * steps[:, None].double()
    mixture = Mixture(
        weights.repeat_interleave(count), means.view(-1, 2), covs.repeat_interleave(count, 0), torch.float64
    )
    lines = Lines.build(weights / (count * weights.sum()), mids, steps, covs, count, torch.float64)
    x = torch.cat([torch.randn(50, 2, generator=g), 30 * torch.randn(10, 2, generator=g)]).double()
    sigma = torch.logspace(-3, 2, 60, dtype=torch.float64)
    log_density, score = line_sums(x, sigma, lines)
    torch.testing.assert_close(log_density, mixture.log_density(x, sigma), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(score, mixture.score(x, sigma), rtol=1e-9, atol=1e-9)


def test_lines_too_coarse_for_the_recurrence_are_refused() -> None:
    with pytest.raises(ValueError, match="use Mixture"):
        Lines.build(
            torch.ones(1), torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), 1e-4 * torch.eye(2)[None].double(), 8,
            torch.float32,
        )  # fmt: skip
