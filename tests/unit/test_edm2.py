"""Arithmetic and architecture of the EDM2 net, against a plain implementation and by their own laws."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from edm2_cases import inputs, net, relative
from torch import Tensor

from guidelab.errors import UserError
from guidelab.nets import edm2_layers
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm2_block import Block
from guidelab.nets.edm2_sizes import CHANNELS


def benchmark() -> ModuleType:
    """The plain implementation, from the benchmark that times it."""
    path = Path(__file__).parents[2] / "benchmarks" / "edm2_forward.py"
    spec = importlib.util.spec_from_file_location("edm2_forward", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLAIN = benchmark().Plain


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "blocks": 2,
            "channel_mult": [1, 1.5, 3],
            "attention_px": [8, 2],
            "sigma_data": 1.3,
            "image_channels": 3,
        },
        {"channels": 32, "channel_mult": [2, 1], "classes": 3},  # the decoder gets wider
        {"channel_mult": [1], "resolution_px": 6},  # no resampling at all
        {"classes": 0, "attention_px": []},
    ],
)
def test_kept_weights_give_what_weights_normalised_at_every_call_give(changes: dict[str, Any]) -> None:
    model = net(**changes)
    x, sigma, cond = inputs(model)
    plain = PLAIN(model, head_channels=16)
    with torch.no_grad():
        for labels in (cond, None):
            assert relative(model(x, sigma, labels), plain(x, sigma, labels)) < 1e-5
    # with gradients on, nothing is overwritten, and weights that could get a gradient are fresh
    assert relative(model(x, sigma, cond), plain(x, sigma, cond)) < 1e-5
    assert relative(model.requires_grad_(False)(x, sigma, cond), plain(x, sigma, cond)) < 1e-5


def test_float64_parameters_compute_in_float64() -> None:
    model = net().double()
    x, sigma, cond = inputs(model)
    exact = model(x.double(), sigma.double(), cond)
    assert exact.dtype == torch.float64
    assert 0 < relative(net()(x, sigma, cond).double(), exact) < 1e-5
    assert net()(x.double(), sigma.double(), cond).dtype == torch.float32


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def test_layers_preserve_magnitude() -> None:
    def rms(x: Tensor) -> float:
        return float(x.detach().square().mean().sqrt())

    x, y = normal(64, 8, 8, 32), normal(64, 8, 8, 32).roll(7)
    conv = edm2_layers.MPConv(32, 48, (3, 3), torch.Generator().manual_seed(1))
    with torch.no_grad():
        conv.weight.mul_(torch.logspace(-2, 2, 48)[:, None, None, None])  # the stored scale has no effect
    inner = edm2_layers.conv3x3(x, conv.effective())[:, 1:-1, 1:-1]  # padding pulls the border down
    assert rms(inner) == pytest.approx(1, abs=0.02)
    assert rms(torch.nn.functional.silu(x) * edm2_layers.SILU) == pytest.approx(1, abs=0.01)
    for t in (0.3, 0.5):
        keep, add = edm2_layers.balance(t)
        assert rms(keep * x + add * y) == pytest.approx(1, abs=0.01)
    ours, theirs = edm2_layers.join(32, 8)
    parts = ours * x, theirs * y[..., :8]
    assert rms(torch.cat(parts, -1)) == pytest.approx(1, abs=0.01)
    assert rms(parts[0]) * math.sqrt(32) == pytest.approx(rms(parts[1]) * math.sqrt(8), rel=0.01)
    features = edm2_layers.MPFourier(512, torch.Generator().manual_seed(1))(normal(64))
    assert rms(features) == pytest.approx(1, abs=0.02)
    assert torch.allclose(edm2_layers.unit(3 * x).square().mean(-1), torch.ones(()), atol=1e-3)


def test_resampling_is_mean_and_repetition() -> None:
    x = normal(2, 4, 6, 3)
    assert torch.allclose(edm2_layers.halved(x)[0, 1, 2, 0], x[0, 2:4, 4:6, 0].mean(), atol=1e-6)
    twice = edm2_layers.doubled(x)
    assert twice.shape == (2, 8, 12, 3) and torch.equal(twice[:, 3, 5], x[:, 1, 2])
    assert torch.allclose(edm2_layers.halved(twice), x, atol=1e-6)


@pytest.mark.parametrize(("skip", "outputs"), [(0, 16), (8, 16), (8, 24), (8, 32)])
@pytest.mark.parametrize("overwrite", [True, False])
@torch.no_grad()
def test_a_doubling_block_equals_one_given_the_doubled_input(
    skip: int, outputs: int, overwrite: bool
) -> None:
    """Whether the skip makes the block wider than its output, narrower, or exactly as wide (no 1x1 convolution)."""
    blocks = [
        Block(16 + skip, skip, outputs, 12, "dec", resample, 1, 0, torch.Generator().manual_seed(2))
        for resample in ("up", "keep")
    ]
    x, scale = normal(2, 4, 4, 16), 1 + normal(2, outputs)
    side = normal(2, 8, 8, skip) if skip else None
    twice = edm2_layers.doubled(x)
    before = x.clone()
    up, keep = (
        block.run(value, side, block.weights(force=False), scale, None, overwrite)
        for block, value in zip(blocks, (x, twice), strict=True)
    )
    assert up.shape == (2, 8, 8, outputs) and relative(up, keep) < 1e-5
    assert torch.equal(x, before) and torch.equal(twice, edm2_layers.doubled(before))  # inputs are left alone


def test_activations_are_clipped() -> None:
    model = net()
    seen: list[Tensor] = []
    block = model.unet.stack[0]
    weights = model.unet.weights().blocks[0]
    with torch.no_grad():
        loud = torch.full((3, 16), 1e6)
        for overwrite in (True, False):
            seen.append(block.run(normal(3, 8, 8, 16), None, weights, loud, None, overwrite))
    assert torch.equal(seen[0], seen[1]) and float(seen[0].abs().max()) == 256


def test_labels() -> None:
    model = net()
    x, sigma, cond = inputs(model)
    with torch.no_grad():
        labelled = model(x, sigma, cond)
        one_hot = torch.nn.functional.one_hot(cond, 5).float()
        assert relative(model(x, sigma, one_hot), labelled) < 1e-6
        assert relative(model(x, sigma, torch.zeros(3, 5)), model(x, sigma, None)) < 1e-6
        assert relative(model(x, sigma, None), labelled) > 1e-3
        free = net(classes=0)
        assert free.unet.emb_label is None
        assert torch.equal(
            free(x, sigma, cond), free(x, sigma, None)
        )  # a guide is given labels it has no use for


def test_a_fresh_net_returns_the_scaled_input() -> None:
    model = Edm2(8, 2, 5, 16, [1, 2], 1, generator=torch.Generator().manual_seed(0)).eval()
    x, sigma, cond = inputs(model)
    expected = x * (0.25 / (0.25 + sigma**2))[:, None, None, None]  # out_gain is 0
    assert torch.allclose(model(x, sigma, cond), expected)


@pytest.mark.parametrize("lean", [False, True])
def test_patch_stem(lean: bool) -> None:
    model = net(resolution_px=16, patch_px=2, lean=lean)
    x, sigma, cond = inputs(model)
    assert model(x, sigma, cond).shape == x.shape
    assert next(iter(model.unet.enc)) == "8x8_conv"
    assert model.unet.enc["8x8_conv"].weight.shape == (16, 2 * 4 + 1, 3, 3)
    assert model.unet.out_conv.weight.shape[0] == 2 * 4


def test_convolution_of_a_doubled_image() -> None:
    x, weight = normal(2, 5, 4, 3), normal(6, 3, 3, 3)
    slow = edm2_layers.conv3x3(edm2_layers.doubled(x), weight)
    fast = edm2_layers.conv_doubled(x, edm2_layers.doubling(weight))
    assert fast.shape == (2, 10, 8, 6) and relative(fast, slow) < 1e-6


def test_patches_keep_their_place() -> None:
    """With a first and last convolution that only look at the centre, pixels of a patch stay in that patch."""
    model = net(resolution_px=16, patch_px=2, channel_mult=[1], attention_px=[], head_channels=64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4 and parameter.shape[-1] == 3:
                centre = parameter[..., 1:2, 1:2].clone()
                parameter.zero_()
                parameter[..., 1:2, 1:2] = centre
            assert "attn" not in name
    x, sigma, cond = inputs(model, 1)
    other = x.clone()
    other[0, 0, 6, 11] += 1  # patch (3, 5)
    moved = (model(other, sigma, cond) != model(x, sigma, cond)).any(1)[0]
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[6:8, 10:12] = True
    assert moved[inside].all() and not moved[~inside].any()


def test_logvar_head() -> None:
    model = net()
    sigma = torch.tensor([0.1, 1.0, 10.0])
    out = model.logvar(sigma)
    assert out.shape == (3,) and out.dtype == torch.float32
    (gradient,) = torch.autograd.grad(out.sum(), model.logvar_linear.weight)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        ("XXS", 31.31),
        ("XS", 124.71),
        ("S", 280.21),
        ("M", 497.8),
        ("L", 777.5),
        ("XL", 1119.3),
        ("XXL", 1523.2),
    ],
)
def test_named_sizes_have_the_published_parameter_counts(size: str, millions: float) -> None:
    with torch.device("meta"):
        model = Edm2(64, 4, 1000, size=size)
    count = sum(parameter.numel() for parameter in model.unet.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.06 if millions > 300 else 0.006)
    assert model.unet.plan.channels == CHANNELS[size]


def test_structure_of_the_published_net() -> None:
    with torch.device("meta"):
        unet = Edm2(64, 4, 1000, size="XS").unet
    assert (len(unet.enc), len(unet.dec)) == (16, 21)
    assert sum(block.attn_qkv is not None for block in unet.stack) == 15
    assert unet.dec["8x8_in0"].heads == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "XS"}, "wanted one of them"),
        ({"channels": None}, "wanted one of them"),
        ({"channels": None, "size": "XZ"}, "XXS"),
        ({"resolution_px": 9}, "multiple of 2"),
        ({"patch_px": 8}, "multiple of 16"),
        ({"blocks": 0}, "at least 1 block"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        net(**changes)


def test_wrong_shapes_are_named() -> None:
    model = net()
    x, sigma, cond = inputs(model)
    with pytest.raises(ValueError, match="wanted"):
        model(x[:, :1], sigma, cond)
    with pytest.raises(ValueError, match="wanted"):
        model(x, sigma[:1], cond)
    with pytest.raises(ValueError, match="wanted"):
        model(x, sigma, cond[:1])
