import pytest
import torch

from guidelab.nets import toy
from guidelab.nets.toy import ToyDenoiser, energy_score


def net(width: int = 16, layers: int = 3, seed: int = 0) -> ToyDenoiser:
    built = ToyDenoiser(width, layers, generator=torch.Generator().manual_seed(seed))
    built.gain.data.fill_(-0.3)
    return built.eval().requires_grad_(False)


def inputs(n: int = 50, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 2, generator=g).to(dtype), torch.rand(n, generator=g).to(dtype) + 0.05


def test_score_written_out_is_the_gradient_of_the_log_density() -> None:
    x, sigma = inputs()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net().log_density(x, sigma).sum(), x)
    torch.testing.assert_close(net().score(x, sigma), gradient, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net()(x, sigma, None), x + sigma[:, None] ** 2 * gradient)


def test_parameter_gradients_of_a_score_loss_equal_double_backward() -> None:
    x, sigma = inputs()
    model = net().double().requires_grad_(True)
    target = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((model.score(x, sigma) - target).square().sum(), list(model.parameters()))
    y = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(model.log_density(y, sigma).sum(), y, create_graph=True)
    twice = torch.autograd.grad((score - target).square().sum(), list(model.parameters()))
    for a, b in zip(ours, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_gain_of_silu_is_its_root_mean_square() -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5
    silu = torch.nn.functional.silu(x)
    assert pytest.approx(float(torch.trapezoid(silu**2 * density, x)) ** 0.5, abs=5e-4) == toy._SILU_GAIN


def test_denoiser_is_differentiable_in_x() -> None:
    x, sigma = inputs(4)
    model = net().double()
    assert torch.autograd.gradcheck(lambda y: model(y, sigma, None), (x.requires_grad_(),))


def test_scale_of_the_weights_has_no_effect_and_an_untrained_net_is_a_gaussian() -> None:
    x, sigma = inputs()
    model, louder = net().double(), net().double()
    model.load_state_dict({k: v if k == "gain" else 50 * v for k, v in model.state_dict().items()})
    louder.load_state_dict({k: v if k == "gain" else 100 * v for k, v in model.state_dict().items()})
    torch.testing.assert_close(louder.score(x, sigma), model.score(x, sigma), rtol=1e-3, atol=1e-4)
    fresh = ToyDenoiser(16)
    assert fresh.gain == 0
    torch.testing.assert_close(fresh.score(x, sigma), -x / (sigma**2 + 0.25)[:, None])


def test_pieces_and_stacks_agree_with_one_net_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, sigma = inputs(50, torch.float32)
    one, two = net(seed=0), net(seed=1)
    whole = one(x, sigma)
    stacked = {k: torch.stack([v, two.state_dict()[k]]) for k, v in one.state_dict().items()}
    both = one.functional(stacked, torch.stack([x, 2 * x]), torch.stack([sigma, sigma]))
    torch.testing.assert_close(both[0], one.score(x, sigma), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(both[1], two.score(2 * x, sigma), rtol=1e-5, atol=1e-4)
    monkeypatch.setattr("guidelab.nets.toy._CELLS", 16 * 7)  # 7 points at a time
    torch.testing.assert_close(one(x, sigma), whole, rtol=1e-5, atol=1e-5)


def test_dropout_mask_is_used_in_value_and_gradient_and_sees_the_whole_batch() -> None:
    x, sigma = inputs()
    model = net()
    plain = model.score(x, sigma)
    seen: list[tuple[int, tuple[int, ...]]] = []

    def mask(layer: int, level: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        seen.append((layer, shape))
        assert torch.equal(level, sigma)
        g = torch.Generator().manual_seed(layer)
        return (torch.rand(shape, generator=g) > 0.3).double() / 0.7

    model.dropout = mask
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_density(y, sigma).sum(), y)
    assert seen == [(0, (50, 16)), (1, (50, 16)), (2, (50, 16))]
    masked = model.score(x, sigma)
    torch.testing.assert_close(masked, gradient, rtol=1e-10, atol=1e-10)
    assert (masked - plain).abs().max() > 0.1


def test_forced_normalisation_leaves_the_function_and_sets_the_rows() -> None:
    model = net()
    kept = model.constrained(model.state_dict())
    assert kept["gain"] == model.gain
    for name in model.weight_names():
        torch.testing.assert_close(kept[name].square().mean(-1), torch.ones(16), rtol=1e-3, atol=1e-3)


def test_parameter_names_are_those_of_the_released_example() -> None:
    assert set(ToyDenoiser(8, 2).state_dict()) == {"gain", *(f"layers.{i}.weight" for i in (0, 2, 4))}


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted \[B, 2\], \[B\]"):
        net().score(torch.zeros(3, 2), torch.ones(2))
    assert energy_score.__doc__
