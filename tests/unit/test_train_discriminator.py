import math
from typing import Any

import pytest
import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.nets.toy_discriminator import ToyDiscriminator
from guidelab.train import discriminator
from guidelab.train.discriminator import train_discriminator

CONFIG: dict[str, Any] = {
    "net": {"name": "toy_discriminator", "width": 32, "layers": 2},
    "lr": 3e-3,
    "batch": 256,
    "iterations": 400,
    "evaluate_every": 25,
    "patience": 4,
    "sigma_min": 0.05,
    "sigma_max": 1.0,
    "validation": 0.1,
    "test": 0.2,
    "seed": 0,
}


def gaussian(n: int, mean: float, seed: int) -> Tensor:
    return 0.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + torch.tensor([mean, 0.0])


def test_untrained_it_guides_nowhere_and_its_gradient_is_in_the_points_own_units() -> None:
    net = ToyDiscriminator(16, 2, torch.Generator().manual_seed(0))
    x, sigma = gaussian(5, 0.0, 1), torch.tensor([0.002, 0.1, 1.0, 5.0, 80.0])
    assert torch.equal(net(x, sigma, None), torch.zeros(5))
    torch.nn.init.normal_(net.out.weight, generator=torch.Generator().manual_seed(2))
    net.double()
    x64 = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: net(y, sigma.double(), None), (x64,))
    # far more noise than detail: the logit must not depend on details of the position
    near = net(torch.tensor([[1.0, 0.0], [1.01, 0.0]]).double(), torch.tensor([80.0, 80.0]).double(), None)
    assert (near[0] - near[1]).abs() < 1e-3


def test_finds_the_log_ratio_of_two_gaussians() -> None:
    real, generated = gaussian(4000, 0.3, 3), gaussian(4000, -0.3, 4)
    state, report = train_discriminator(CONFIG, real, generated, seed=0, progress=False)
    net = ToyDiscriminator(32, 2)
    net.load_state_dict(state)
    x = torch.tensor([[0.3, 0.0], [-0.3, 0.1], [0.0, 0.2]])
    for sigma in (0.05, 0.5):
        exact = 2 * 0.3 * x[:, 0] / (0.25 + sigma**2)  # log N(x; .3, v) - log N(x; -.3, v)
        found = net(x, torch.full((3,), sigma), None)
        assert (found - exact).abs().max() < 0.35
    assert 0.6 < report["accuracy"] < 0.8
    assert report["js_bound"] == pytest.approx(math.log(2) - report["bce"])
    assert 0 < report["js_bound"] < 0.15 and 0 < report["kl_dv"] < 1
    assert report["mean_ratio"] == pytest.approx(1, abs=0.2)


def test_same_seed_same_result_and_parts_do_not_overlap() -> None:
    short = {**CONFIG, "iterations": 30}
    real, generated = gaussian(500, 0.3, 5), gaussian(700, -0.3, 6)
    one, two, other = (
        train_discriminator(short, real, generated, seed=s, progress=False)[0] for s in (1, 1, 2)
    )
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)
    parts = discriminator._split(
        torch.arange(500.0)[:, None], CONFIG, torch.Generator().manual_seed(0), "real"
    )
    joined = torch.cat([parts.train, parts.validation, parts.test])[:, 0]
    assert sorted(joined.tolist()) == list(range(500))
    assert (len(parts.validation), len(parts.test)) == (50, 100)


def test_equal_distributions_stop_early_and_show_no_divergence_on_the_test_part() -> None:
    real, generated = gaussian(600, 0.0, 7), gaussian(600, 0.0, 8)
    _, report = train_discriminator(
        {**CONFIG, "lr": 1e-2, "iterations": 3000}, real, generated, seed=0, progress=False
    )
    assert report["iterations"] < 3000
    assert report["best_at"] <= report["iterations"] - 4 * 25 or report["best_at"] == 0
    assert report["js_bound"] < 0.01  # on its training part the same net claims more
    assert (report["n_train"], report["n_validation"], report["n_test"]) == (420, 60, 120)


def test_points_that_are_not_finite_are_counted_and_too_few_are_refused() -> None:
    generated = gaussian(300, 0.0, 9)
    generated[:7, 0] = float("nan")
    short = {**CONFIG, "iterations": 5}
    state, report = train_discriminator(short, gaussian(300, 0.0, 1), generated, seed=0, progress=False)
    assert report["not_finite"] == 7
    assert all(torch.isfinite(value).all() for value in state.values())
    with pytest.raises(UserError, match="Give it more seeds"):
        train_discriminator(short, gaussian(300, 0.0, 1), generated[:50], seed=0, progress=False)
