"""What training and evaluation do to an EDM2 net: forced normalisation, kept weights, dropout, gradients."""

import copy
from typing import Any

import pytest
import torch
from edm2_cases import inputs, net, relative
from torch import Tensor

from guidelab.core.degrade import dropout_mask


def lengths(weight: Tensor) -> Tensor:
    return weight.detach().flatten(1).square().mean(1).sqrt()


def test_training_normalises_the_stored_weights_and_evaluation_does_not() -> None:
    model = net()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.mul_(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, sigma, cond = inputs(model)
    evaluated = model(x, sigma, cond)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trained = model.train()(x, sigma, cond)
    model.logvar(sigma)
    for name, parameter in model.named_parameters():
        if parameter.ndim:
            assert torch.allclose(lengths(parameter), torch.ones(()), atol=1e-3), name
    assert relative(trained, evaluated) < 1e-3  # the stored scale never matters, but for the epsilon
    stored = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()(x, sigma, cond)
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("lean", [False, True])
def test_gradients_reach_every_parameter_and_are_finite(lean: bool) -> None:
    model = net(resolution_px=16, patch_px=2, lean=lean).train()
    x, sigma, cond = inputs(model, 4)
    x.requires_grad_()
    logvar = model.logvar(sigma)[:, None, None, None]
    loss = ((model(x, sigma, cond) ** 2) / logvar.exp() + logvar).sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0, name
    assert x.grad is not None and torch.isfinite(x.grad).all()
    weight = model.unet.out_conv.weight
    along = (weight.grad * weight).flatten(1).sum(1).abs() / weight.grad.flatten(1).norm(dim=1)  # type: ignore[operator, union-attr]
    assert (
        float(along.detach().max()) < 1e-3 * weight[0].numel() ** 0.5
    )  # the gradient is tangent to the sphere


def test_gradients_of_evaluation_equal_those_in_double_precision() -> None:
    model = net(channel_mult=[1, 1.5])
    x, sigma, cond = inputs(model)
    exact = copy.deepcopy(model).double()
    for frozen in (False, True):
        grads = []
        for each in (model, exact):
            each.requires_grad_(not frozen)
            point = x.to(each.unet.out_gain.dtype).requires_grad_()
            wanted = [point] if frozen else [point, *each.unet.parameters()]
            grads.append(torch.autograd.grad(each(point, sigma.to(point), cond).square().sum(), wanted))
        for a, b in zip(*grads, strict=True):
            assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


def changed(how: str, model: torch.nn.Module, other: dict[str, Tensor]) -> None:
    """Give `model` the weights `other`, one of the ways people do."""
    if how == "load_state_dict":
        model.load_state_dict(other)
    elif how == "load_state_dict assign":
        model.load_state_dict(other, assign=True)
    elif how == "copy_":
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(other[name])
    elif how == "optimiser":
        model.train().requires_grad_(True)
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        for name, parameter in model.named_parameters():
            parameter.grad = parameter.detach() - other[name]
        optimiser.step()
        model.eval()
    elif how == "data under train()":
        model.train()
        for name, parameter in model.named_parameters():
            parameter.data.copy_(other[name])
        model.eval()


@pytest.mark.parametrize(
    "how", ["load_state_dict", "load_state_dict assign", "copy_", "optimiser", "data under train()"]
)
@torch.no_grad()
def test_kept_weights_follow_the_parameters(how: str) -> None:
    model, other = net(seed=0), net(seed=9)
    x, sigma, cond = inputs(model)
    before = model(x, sigma, cond)
    buffers = dict(model.named_buffers())
    state = {name: value for name, value in other.state_dict().items() if name not in buffers}
    expected = net(seed=0)
    expected.load_state_dict({**{k: v.clone() for k, v in state.items()}, **buffers})
    changed(how, model, {**{k: v.clone() for k, v in state.items()}, **buffers})
    after = model(x, sigma, cond)
    assert relative(after, expected(x, sigma, cond)) < 1e-6
    assert relative(before, after) > 1e-3


@torch.no_grad()
def test_weights_are_kept_between_evaluations_and_dropped_when_they_may_not_be() -> None:
    model = net()
    x, sigma, cond = inputs(model)
    model(x, sigma, cond)
    kept = model._kept
    model(x, sigma, cond)
    assert kept is not None and model._kept is kept
    assert model.to(torch.float64)._kept is None
    assert model(x, sigma, cond).dtype == torch.float64
    assert model.float().train()._kept is None
    model(x, sigma, cond)
    assert model._kept is None  # training keeps nothing


@torch.no_grad()
def test_weights_loaded_twice_in_a_row_are_not_mistaken_for_the_first() -> None:
    """The memory of replaced parameters may be used again, at the same address, by other parameters."""
    model = net()
    x, sigma, cond = inputs(model)
    before = model(x, sigma, cond)
    for seed in range(1, 5):
        model.load_state_dict(net(seed=seed).state_dict(), assign=True)
    expected = net()
    expected.load_state_dict(model.state_dict())
    assert torch.equal(model(x, sigma, cond), expected(x, sigma, cond))
    assert relative(model(x, sigma, cond), before) > 1e-3


def test_weights_kept_in_inference_mode_can_be_differentiated_through() -> None:
    model = net().requires_grad_(False)
    x, sigma, cond = inputs(model)
    with torch.inference_mode():
        model(x, sigma, cond)
    x.requires_grad_()
    assert torch.isfinite(torch.autograd.grad(model(x, sigma, cond).sum(), x)[0]).all()


def test_a_deep_copy_is_independent() -> None:
    model = net()
    x, sigma, cond = inputs(model)
    with torch.no_grad():
        before = model(x, sigma, cond)
        twin = copy.deepcopy(model)
        twin.load_state_dict(net(seed=3).state_dict())
        assert torch.equal(model(x, sigma, cond), before)
        assert relative(twin(x, sigma, cond), before) > 1e-3


@torch.no_grad()
def test_a_dropout_hook_acts_in_evaluation_and_does_not_leak() -> None:
    model = net()
    x, sigma, cond = inputs(model)
    before = model(x, sigma, cond)
    calls: list[tuple[int, tuple[int, ...]]] = []

    def drop(layer: int, level: Tensor, shape: tuple[int, ...]) -> Tensor:
        calls.append((layer, shape))
        return dropout_mask(torch.arange(3), level, shape[1:], 0.3, salt=layer)

    masked = copy.copy(model)
    masked.dropout = drop
    dropped = masked(x, sigma, cond)
    assert relative(dropped, before) > 1e-2
    assert torch.equal(masked(x, sigma, cond), dropped)  # the mask is a function of seed, sigma and layer
    assert torch.equal(model(x, sigma, cond), before)
    assert [layer for layer, _ in calls[: len(calls) // 2]] == list(range(len(model.unet.stack)))
    assert calls[0][1] == (3, 16, 8, 8)
    # row by row: a sample's result does not depend on its batch
    masked.dropout = lambda layer, level, shape: dropout_mask(
        torch.arange(1, 2), level, shape[1:], 0.3, salt=layer
    )
    assert relative(masked(x[1:2], sigma[1:2], cond[1:2]), dropped[1:2]) < 1e-5
    masked.dropout = lambda layer, level, shape: torch.ones(shape)
    assert relative(masked(x, sigma, cond), before) < 1e-6


def test_training_dropout_comes_from_its_generator() -> None:
    model = net(dropout=0.25)
    x, sigma, cond = inputs(model)
    with torch.no_grad():
        assert relative(model(x, sigma, cond), net()(x, sigma, cond)) < 1e-6  # none in evaluation
        model.train()(x, sigma, cond)  # stored weights have unit length from here on
        outs = []
        for seed in (5, 5, 6):
            model.dropout_generator = torch.Generator().manual_seed(seed)
            outs.append(model(x, sigma, cond))
    assert relative(outs[0], outs[1]) < 1e-4 and relative(outs[2], outs[0]) > 1e-3


@pytest.mark.slow
def test_compiled_equals_eager_and_follows_the_weights() -> None:
    small: dict[str, Any] = {"patch_px": 2, "channel_mult": [1], "lean": True}
    model = net(**small).requires_grad_(False)
    x, sigma, cond = inputs(model)
    fast = model.compiled(dynamic=False)
    with torch.no_grad():
        assert relative(fast(x, sigma, cond), model(x, sigma, cond)) < 1e-5
        assert fast._compiled is not None
        built = fast._compiled.constant
        fast(x, sigma, cond)
        assert built is not None and fast._compiled.constant is built  # not again for the same weights
        model.load_state_dict(net(seed=5, **small).state_dict())
        assert relative(fast(x, sigma, cond), model(x, sigma, cond)) < 1e-5
    x.requires_grad_()
    ours, eager = (torch.autograd.grad(each(x, sigma, cond).square().sum(), x)[0] for each in (fast, model))
    assert relative(ours, eager) < 1e-5
    fast.dropout = lambda layer, level, shape: torch.zeros(shape)
    with torch.no_grad():
        assert relative(fast(x, sigma, cond), model(x, sigma, cond)) > 1e-3
