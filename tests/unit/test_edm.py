"""EDM's nets of 2022: sizes, labels, dropout, gradients, precision."""

import json
import math
from typing import Any

import pytest
import torch
from edm_cases import ARCHITECTURES, COMMON, fresh, inputs, net, relative
from torch import Tensor
from torch.nn.functional import one_hot

from guidelab.errors import UserError
from guidelab.nets.edm import Edm

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)
_CIFAR: dict[str, Any] = {
    **COMMON,
    "resolution_px": 32,
    "classes": 0,
    "channels": 128,
    "channel_mult": [2, 2, 2],
    "blocks": 4,
    "attention_px": [16],
    "augment_dim": 9,
}


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (55_733_891, {"architecture": "ddpmpp"}),  # CIFAR-10
        (55_733_891 + 128 * (10 + 1), {"architecture": "ddpmpp", "classes": 10}),
        (61_805_571, {"architecture": "ddpmpp", "resolution_px": 64, "channel_mult": [1, 2, 2, 2]}),  # FFHQ
    ],
)
def test_released_sizes(count: int, changes: dict[str, Any]) -> None:
    with torch.device("meta"):
        built = Edm(**{**_CIFAR, **changes})
        assert built(torch.ones(2, 3, *[built.resolution_px] * 2), torch.ones(2)).shape[0] == 2
    assert sum(parameter.numel() for parameter in built.parameters()) == count


@EVERY
def test_fresh_nets_repeat_and_hardly_act(architecture: str) -> None:
    one, two, other = (fresh(architecture, seed) for seed in (3, 3, 4))
    state, same = one.state_dict(), two.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert any(not torch.equal(state[name], value) for name, value in other.state_dict().items())
    x, sigma, cond = inputs(one)
    skipped = x * (0.25 / (sigma**2 + 0.25))[:, None, None, None]
    assert relative(one(x, sigma, cond), skipped) < 1e-3
    assert relative(net(architecture)(x, sigma, cond), skipped) > 1e-2
    assert json.loads(json.dumps(ARCHITECTURES[architecture])) == ARCHITECTURES[architecture]


def test_initial_weights_have_the_papers_spread() -> None:
    song, adm = (fresh(name, channels=64, classes=100).unet for name in ("ddpmpp", "adm"))
    xavier, kaiming = (unet.get_submodule("enc.8x8_block0.conv0") for unet in (song, adm))
    for unet in (song, adm):
        unet.requires_grad_(False)
    assert isinstance(xavier.weight, Tensor) and isinstance(kaiming.weight, Tensor)
    assert abs(xavier.weight).max() == pytest.approx(math.sqrt(6 / (2 * 64 * 9)), rel=1e-2)
    assert abs(kaiming.weight).max() == pytest.approx(1 / math.sqrt(64 * 9), rel=1e-2)
    assert abs(song.get_parameter("enc.8x8_block0.conv1.weight")).max() < 1e-6
    assert not adm.get_parameter("enc.8x8_block0.conv1.weight").any()
    assert adm.get_parameter("map_label.weight").std() == pytest.approx(1.0, rel=0.05)
    assert abs(adm.get_parameter("enc.8x8_block0.conv0.bias")).max() > 0
    assert not song.get_parameter("enc.8x8_block0.conv0.bias").any()


@EVERY
def test_labels(architecture: str) -> None:
    model = net(architecture).requires_grad_(False)
    x, sigma, cond = inputs(model)
    told = model(x, sigma, cond)
    assert relative(model(x, sigma, one_hot(cond, 4).float()), told) < 1e-6
    assert torch.equal(model(x, sigma), model(x, sigma, None))
    assert relative(model(x, sigma, torch.zeros(3, 4)), model(x, sigma)) < 1e-6
    assert relative(model(x, sigma), told) > 1e-3
    assert relative(model(x, sigma, (cond + 1) % 4), told) > 1e-3
    blind = net(architecture, classes=0).requires_grad_(False)
    assert torch.equal(blind(x, sigma, cond), blind(x, sigma))
    hiding = net(architecture, label_dropout=1.0).requires_grad_(False)
    assert relative(hiding(x, sigma, cond), told) < 1e-6
    assert relative(hiding.train()(x, sigma, cond), model(x, sigma)) < 1e-6


@EVERY
def test_augmentation_labels(architecture: str) -> None:
    model = net(architecture, augment_dim=5).requires_grad_(False)
    x, sigma, cond = inputs(model)
    assert relative(model(x, sigma, cond, torch.ones(3, 5)), model(x, sigma, cond)) > 1e-3
    assert torch.equal(model(x, sigma, cond, torch.zeros(3, 5)), model(x, sigma, cond))


@EVERY
def test_a_sample_does_not_depend_on_its_batch_and_inputs_stay(architecture: str) -> None:
    model = net(architecture).requires_grad_(False)
    x, sigma, cond = inputs(model)
    before = x.clone()
    together = model(x, sigma, cond)
    assert torch.equal(x, before)
    for index in range(3):
        part = slice(index, index + 1)
        assert relative(model(x[part], sigma[part], cond[part]), together[part]) < 1e-5
    faster = net(architecture).requires_grad_(False).to(memory_format=torch.channels_last)
    assert relative(faster(x.to(memory_format=torch.channels_last), sigma, cond), together) < 1e-5


@EVERY
def test_precision(architecture: str) -> None:
    model = net(architecture).requires_grad_(False)
    x, sigma, cond = inputs(model)
    single = model(x, sigma, cond)
    assert torch.equal(model(x.double(), sigma.double(), cond), single)
    exact = net(architecture).requires_grad_(False).double()(x.double(), sigma.double(), cond)
    assert exact.dtype == torch.float64 and 0 < relative(single.double(), exact) < 1e-5
    model.bfloat16()  # the noise level and the sum that gives D stay in float32
    low = model(x, sigma, cond)
    assert low.dtype == torch.float32 and 1e-5 < relative(low, single) < 0.1
    assert all(buffer.dtype == torch.float32 for name, buffer in model.named_buffers() if "taps" not in name)


@EVERY
def test_nothing_stops_the_compiler(architecture: str) -> None:
    model = net(architecture).requires_grad_(False)
    x, sigma, cond = inputs(model)
    traced = torch.compile(model, fullgraph=True, backend="eager")
    assert relative(traced(x, sigma, cond), model(x, sigma, cond)) < 1e-6


@EVERY
def test_gradients_agree_with_differences(architecture: str) -> None:
    model = net(architecture, resolution_px=4, attention_px=[2], classes=2).double().requires_grad_(False)
    x, sigma, _ = inputs(model, batch=1)
    x, sigma = x.double().requires_grad_(), sigma.double()
    weight = model.get_parameter("unet.enc.4x4_block0.conv0.weight").requires_grad_()
    wanted = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def loss() -> Tensor:
        return (model(x, sigma, torch.tensor([1])) * wanted).sum()

    by_x, by_weight = torch.autograd.grad(loss(), [x, weight])
    with torch.no_grad():
        for tensor, gradient in ((x, by_x), (weight, by_weight)):
            towards = torch.randn(
                tensor.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64
            )
            step, sides = 1e-5, []
            for sign in (1, -1):
                tensor += sign * step * towards
                sides.append(loss())
                tensor -= sign * step * towards
            assert float((gradient * towards).sum()) == pytest.approx(
                float((sides[0] - sides[1]) / (2 * step)), rel=1e-6
            )


@EVERY
def test_dropout_acts_in_training_and_masks_always(architecture: str) -> None:
    model = net(architecture, dropout=0.3).requires_grad_(False)
    x, sigma, cond = inputs(model)
    whole = model(x, sigma, cond)
    assert torch.equal(whole, net(architecture)(x, sigma, cond))
    model.train()
    drawn = []
    for seed in (1, 1, 2):
        model.dropout_generator = torch.Generator().manual_seed(seed)
        drawn.append(model(x, sigma, cond))
    assert torch.equal(drawn[0], drawn[1]) and relative(drawn[0], whole) > 1e-3
    assert relative(drawn[2], drawn[0]) > 1e-3
    seen: list[int] = []

    def mask(block: int, level: Tensor, shape: tuple[int, ...]) -> Tensor:
        assert torch.equal(level, sigma) and shape[0] == 3 and len(shape) == 4
        seen.append(block)
        return torch.full(shape, 0.5)

    model.eval().dropout = mask
    assert relative(model(x, sigma, cond), whole) > 1e-3
    blocks = sum(type(module).__name__ == "UNetBlock" for module in model.modules())
    assert sorted(seen) == list(range(blocks)) and blocks > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "unet"}, "architecture 'unet', wanted one of ddpmpp, ncsnpp, adm"),
        ({"precond": "v"}, "precond 'v', wanted one of edm, vp, ve, iddpm"),
        ({"resolution_px": 9}, "resolution_px=9.*multiple of 2"),
        ({"blocks": 0}, "at least 1 block"),
        ({"channel_mult": []}, "0 levels"),
        ({"channels": 132, "channel_mult": [1, 1]}, "132 channels"),
        ({"encoder": "dense"}, "encoder 'dense'.*standard, skip, residual"),
        ({"architecture": "adm", "encoder": "skip"}, "encoder with architecture 'adm'"),
        ({"precond_options": {"steps": 10}}, "do not fit precond 'edm'"),
    ],
)
def test_sizes_and_names_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message), torch.device("meta"):
        Edm(**{**ARCHITECTURES["ddpmpp"], **changes})


def test_shapes_that_do_not_fit() -> None:
    model = fresh("ddpmpp", augment_dim=2)
    x, sigma, cond = inputs(model)
    for bad in ((x[:, :1], sigma, cond), (x, sigma[:1], cond), (x, sigma, cond[:1])):
        with pytest.raises(ValueError, match=r"Edm: given x .*wanted \['B', 3, 8, 8\]"):
            model(*bad)
    with pytest.raises(ValueError, match="augment_labels"):
        model(x, sigma, cond, torch.ones(3, 9))
