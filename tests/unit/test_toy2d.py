import pytest
import torch

from guidelab.data import toy2d_truth
from guidelab.data.toy2d import Shape, Toy2d, fractal


@pytest.fixture(scope="module")
def tree() -> Toy2d:
    return fractal("A")


def points(tree: Toy2d, n: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    sigma = torch.exp(-2.3 + 1.5 * torch.randn(n, generator=g))
    return tree.sample(torch.randn(n, 3, generator=g), sigma), sigma


def test_counts_and_index(tree: Toy2d) -> None:
    both = fractal("AB")
    assert tree.weights.shape == (1016,) and tree.branch.max() == 126 and both.branch.max() == 253
    assert torch.bincount(tree.branch).tolist() == [8] * 127
    assert [int((tree.depth == d).sum()) for d in range(7)] == [8 * 2**d for d in range(7)]
    assert both.label.tolist() == [0] * 1016 + [1] * 1016
    assert tree.weights.sum() == pytest.approx(1)


def test_the_weight_of_a_branch_is_its_length_halved_at_every_fork(tree: Toy2d) -> None:
    shape = Shape()
    ends = (tree.means.view(127, 8, 2)[:, -1] - tree.means.view(127, 8, 2)[:, 0]) / torch.tensor(shape.scale)
    wanted = ends.norm(dim=1) * 0.5 ** tree.depth.view(127, 8)[:, 0]
    torch.testing.assert_close(tree.weights.view(127, 8).sum(1), wanted / wanted.sum())


def test_the_region_holds_its_mass_of_fresh_points(tree: Toy2d, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy2d_truth, "_REGION_DRAWS", 1 << 13)
    fresh = tree.log_density(tree.draw(4096, torch.Generator().manual_seed(5)))
    assert float((fresh >= toy2d_truth.region("A")).double().mean()) == pytest.approx(0.99, abs=0.006)


def test_class_b_is_the_same_alone_and_together_with_class_a() -> None:
    assert torch.equal(fractal("B").means, fractal("AB").means[1016:])
    assert not torch.allclose(fractal("A").means, fractal("B").means)


@pytest.mark.parametrize("classes", ["A", "AB"])
def test_line_form_agrees_with_the_general_mixture_in_float64(classes: str) -> None:
    tree = fractal(classes)
    x, sigma = points(tree)
    exact = tree.mixture.to(torch.float64)
    x64, s64 = x.double(), sigma.double()
    torch.testing.assert_close(tree.log_density(x64, s64), exact.log_density(x64, s64), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(tree.score(x64, s64), exact.score(x64, s64), rtol=1e-9, atol=1e-8)
    # float32 as used: errors of sigma * score well below what a trained network errs (about 0.1)
    worst = (sigma[:, None] * (tree.score(x, sigma) - exact.score(x64, s64))).abs().max()
    assert worst < 2e-5
    assert (tree.log_density(x, sigma) - exact.log_density(x64, s64)).abs().max() < 1e-4


def test_log_density_never_underflows(tree: Toy2d) -> None:
    far = torch.tensor([[0.5, -1.0], [100.0, -100.0]])
    found = tree.log_density(far, 0.002)
    assert found[0].item() == pytest.approx(-1406.6, abs=0.5)
    exact = tree.mixture.to(torch.float64)
    assert found[1].item() == pytest.approx(exact.log_density(far[1:], 0.002).item(), rel=1e-4)
    torch.testing.assert_close(tree.score(far, 0.002).double(), exact.score(far, 0.002), rtol=1e-4, atol=1e-2)


def test_score_and_posterior_mean_are_differentiable_and_consistent(tree: Toy2d) -> None:
    x, sigma = points(tree, 40)
    x = x.double().requires_grad_()
    sigma = sigma.double()
    (gradient,) = torch.autograd.grad(tree.log_density(x, sigma).sum(), x)
    torch.testing.assert_close(tree.score(x, sigma), gradient, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(tree(x, sigma, None), x + sigma[:, None] ** 2 * gradient)
    assert torch.autograd.gradcheck(
        lambda y: tree.score(y, sigma[:3]), (x[:3],), eps=1e-7, atol=1e-3, rtol=1e-3
    )


def test_samples_follow_the_tree(tree: Toy2d) -> None:
    x = tree.draw(40000, torch.Generator().manual_seed(1))
    mean = (tree.weights[:, None] * tree.means).sum(0)
    assert (x.mean(0) - mean).abs().max() < 0.01
    # published and measured: 1.4 % of the mass lies outside the contour at 2.12^2 nats below the peak
    assert (tree.log_density(x, 0.0) < -1.594).float().mean().item() == pytest.approx(0.014, abs=0.003)
    blurred = tree.sample(torch.randn(40000, 3, generator=torch.Generator().manual_seed(2)), 0.5)
    assert (blurred.var(0) - x.var(0)).sub(0.25).abs().max() < 0.02


def test_shape_is_not_fixed() -> None:
    shrub = fractal("A", Shape(seed=5, depth=2, per_branch=5))
    assert shrub.weights.shape == (35,)
    x, sigma = points(shrub, 50)
    exact = shrub.mixture.to(torch.float64).score(x, sigma)
    assert (sigma[:, None] * (shrub.score(x, sigma) - exact)).abs().max() < 2e-5


def test_nonsense_is_refused(tree: Toy2d) -> None:
    with pytest.raises(ValueError, match="wanted 'A', 'B' or 'AB'"):
        fractal("C")
    with pytest.raises(ValueError, match=r"wanted float32 or float64 \[B, 2\]"):
        tree.score(torch.zeros(3, 3), 1.0)
