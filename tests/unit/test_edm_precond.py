"""EDM's four preconditionings: their oracles, their noise levels, the network's noise input."""

import math
from typing import Any

import pytest
import torch
from edm_cases import fresh, inputs, net, relative
from torch import Tensor, nn

from guidelab.nets.edm_precond import EdmPrecond, IddpmPrecond, VePrecond, VpPrecond, precond_of


@pytest.mark.parametrize("name", ["edm", "vp", "ve"])
def test_an_exact_noise_prediction_gives_the_clean_image(name: str) -> None:
    """D(x0 + sigma n) = x0 for the raw output that each preconditioning trains for."""
    x0, noise = (torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    sigma = torch.tensor([0.03, 1.0, 50.0])
    level = sigma[:, None, None, None]
    told: dict[str, Tensor] = {}

    class Oracle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map_layer0 = nn.Linear(1, 1)

        def forward(self, x: Tensor, c_noise: Tensor, *_: Any) -> Tensor:
            told["x"], told["c_noise"] = x, c_noise
            if name == "edm":
                return (x0 * level / 0.5 - noise * 0.5) / (level**2 + 0.25).sqrt()
            return noise if name == "vp" else -noise

    model = fresh("ddpmpp", precond=name)
    model._modules["unet"] = Oracle()
    denoised = model(x0 + level * noise, sigma)
    assert (denoised - x0).abs().max() < 1e-4
    if name != "ve":
        data = 0.25 if name == "edm" else 1.0
        assert relative(told["x"], (x0 + level * noise) / (level**2 + data).sqrt()) < 1e-6
    if name == "ve":
        assert relative(told["c_noise"], (sigma / 2).log()) < 1e-6


def test_vp_times() -> None:
    vp = VpPrecond()
    for time in (1e-3, 0.2, 0.7, 1.0):
        sigma = torch.tensor([vp.sigma_at(time)], dtype=torch.float64)
        assert float(vp.time_of(sigma)) == pytest.approx(time, rel=1e-9)
        assert float(vp.coefficients(sigma).c_noise) == pytest.approx(999 * time, rel=1e-9)
    assert vp.sigma_range == pytest.approx((1e-3, 152.17), rel=1e-3)
    assert VePrecond().sigma_range == (0.02, 100.0)
    assert EdmPrecond().sigma_range == (0.0, math.inf)


def test_iddpm_has_the_levels_of_its_cosine_schedule() -> None:
    precond = IddpmPrecond()
    u = precond.u.double()
    assert u.shape == (1001,) and u[-1] == 0 and (u[:-1] > u[1:]).all()
    # the signal power 1 / (1 + u^2) follows the cosine, but for its first steps, whose ratio is bounded below
    powers = (0.5 * math.pi * torch.arange(1001, dtype=torch.float64) / 1000 / 1.008).sin() ** 2
    known = powers > 0.01
    assert (1 / (1 + u**2) / (powers / powers[-1]) - 1)[known].abs().max() < 1e-4
    assert precond.sigma_range == (float(precond.u[999]), float(precond.u[0]))
    between = torch.tensor([[0.0101, 0.5], [3.0, 70.0]], dtype=torch.float64)
    rounded = precond.round_sigma(between)
    assert rounded.dtype == torch.float64 and rounded.shape == (2, 2)
    assert torch.equal(precond.round_sigma(rounded), rounded) and not torch.equal(rounded, between)
    assert ((rounded - between).abs() <= (u[:, None, None] - between).abs().min(0).values + 1e-6).all()
    index = torch.tensor([0, 500, 999])
    assert torch.equal(precond.coefficients(precond.u[index]).c_noise, 999.0 - index)


def test_iddpm_rounds_only_the_time_input_of_the_network() -> None:
    model = net("adm", precond="iddpm").requires_grad_(False)
    assert model.unet.get_parameter("out_conv.weight").shape[0] == 6
    assert model.state_dict()["precond.u"].shape == (1001,)
    x, sigma, cond = inputs(model)
    apart = (model(x, sigma, cond) - x) / sigma[:, None, None, None]
    level = model.round_sigma(sigma)
    scaled = x * ((level**2 + 1) / (sigma**2 + 1)).sqrt()[:, None, None, None]
    rounded = (model(scaled, level, cond) - scaled) / level[:, None, None, None]
    assert relative(apart, rounded) < 1e-5
    sigma_free = net("ddpmpp")
    assert sigma_free.round_sigma(sigma) is sigma


def test_constants_of_a_preconditioning() -> None:
    assert precond_of("ve", {"sigma_max": 50.0}).sigma_range == (0.02, 50.0)
    assert fresh("ddpmpp", sigma_data=0.7).precond.sigma_data == 0.7
