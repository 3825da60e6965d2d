"""DiT: against a plain evaluation of the released names, in several configurations; released files imported."""

import math

import pytest
import torch
from torch.nn import functional

from guidelab.checkpoints.from_dit import convert
from guidelab.errors import UserError
from guidelab.nets.dit import Dit
from guidelab.nets.dit_blocks import position_embedding

TINY = {
    "resolution_px": 8,
    "image_channels": 4,
    "classes": 4,
    "patch_px": 2,
    "width": 32,
    "depth": 2,
    "heads": 4,
}
VARIANTS = [
    {},
    {"patch_px": 4, "width": 48, "heads": 3, "depth": 1, "learn_sigma": False},
    {"patch_px": 1, "mlp_ratio": 2.5, "image_channels": 3, "schedule": "cosine", "steps": 500},
]


def awake(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = Dit(**{k: v for k, v in config.items() if k != "name"}, generator=generator)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


def plain(p, config, x, steps, labels):
    """The network from its parameters' names alone, patch by patch."""
    size, width = config["patch_px"], config["width"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()

    side = x.shape[-1] // size
    kernel = p["x_embedder.proj.weight"].reshape(width, -1)
    patches = [
        x[:, :, size * i : size * (i + 1), size * j : size * (j + 1)].flatten(1)
        for i in range(side)
        for j in range(side)
    ]
    h = torch.stack(patches, 1) @ kernel.T + p["x_embedder.proj.bias"] + p["pos_embed"]
    angles = steps[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    c = linear(torch.cat([angles.cos(), angles.sin()], 1), "t_embedder.mlp.0")
    c = linear(functional.silu(c), "t_embedder.mlp.2") + p["y_embedder.embedding_table.weight"][labels]
    for block in range(config["depth"]):
        name = f"blocks.{block}"
        s1, g1, a1, s2, g2, a2 = linear(functional.silu(c), f"{name}.adaLN_modulation.1")[:, None].chunk(
            6, dim=2
        )
        q, k, v = linear(norm(h) * (1 + g1) + s1, f"{name}.attn.qkv").split(width, dim=2)
        heads = []
        for q_, k_, v_ in zip(*(part.chunk(config["heads"], dim=2) for part in (q, k, v)), strict=True):
            heads.append(torch.softmax(q_ @ k_.mT / math.sqrt(q_.shape[2]), dim=2) @ v_)
        h = h + a1 * linear(torch.cat(heads, 2), f"{name}.attn.proj")
        inner = linear(norm(h) * (1 + g2) + s2, f"{name}.mlp.fc1")
        inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        h = h + a2 * linear(inner, f"{name}.mlp.fc2")
    shift, scale = linear(functional.silu(c), "final_layer.adaLN_modulation.1")[:, None].chunk(2, dim=2)
    h = linear(norm(h) * (1 + scale) + shift, "final_layer.linear")
    channels = h.shape[2] // size**2
    out = torch.zeros(len(x), channels, *x.shape[2:])
    for token in range(side**2):
        i, j = divmod(token, side)
        patch = h[:, token].reshape(-1, size, size, channels).permute(0, 3, 1, 2)
        out[:, :, size * i : size * (i + 1), size * j : size * (j + 1)] = patch
    return out


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(v) or "released")
def test_the_transformer_and_its_imported_file_are_the_published_one(variant):
    config = {"name": "dit", **TINY, **variant}
    net = awake(config)
    state = net.transformer.state_dict()
    x = torch.randn(2, config["image_channels"], 8, 8, generator=torch.Generator().manual_seed(3))
    steps, cond = torch.tensor([3.0, 871.0]), torch.tensor([3, 4])  # 4: the null class
    wanted = plain(state, config, x, steps, cond)
    found = net.raw(x, steps, cond)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    hints = {key: config[key] for key in ("heads", "schedule", "steps") if key in config}
    made, tensors = convert(state, hints)
    assert {key: made[key] for key in config} == config
    again = Dit(**{k: v for k, v in made.items() if k != "name"})
    again.load_state_dict(tensors)
    assert torch.equal(again.eval().raw(x, steps, cond), found)


def test_no_class_is_the_null_class():
    net = awake(TINY)
    x, sigma = (
        torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.1, 1.0, 90.0]),
    )
    null = net(x, sigma, torch.full((3,), 4))
    assert torch.equal(net(x, sigma, None), null)
    assert not torch.equal(net(x, sigma, torch.zeros(3, dtype=torch.int64)), null)
    torch.testing.assert_close(net(x[1:2], sigma[1:2], None), null[1:2])


def test_position_codes_are_column_first_then_row():
    table = position_embedding(3, 8)[0].reshape(3, 3, 8)
    frequencies = [1.0, 0.01]
    for row in range(3):
        for column in range(3):
            wave = [
                f(place * w) for place in (column, row) for f in (math.sin, math.cos) for w in frequencies
            ]
            torch.testing.assert_close(table[row, column], torch.tensor(wave))


def test_it_starts_as_published():
    net = Dit(**TINY, generator=torch.Generator().manual_seed(0))
    state = net.transformer.state_dict()
    zero = {
        "final_layer.linear.weight",
        *(k for k in state if "adaLN" in k),
        *(k for k in state if k.endswith("bias")),
    }
    assert all(bool(value.any()) != (name in zero) for name, value in state.items())
    assert not net.transformer.pos_embed.requires_grad
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert net(x, torch.ones(2), None).equal(x)
    other = Dit(**TINY, generator=torch.Generator().manual_seed(0)).state_dict()
    assert all(torch.equal(other[name], value) for name, value in net.state_dict().items())
    for wrong in ({"patch_px": 3}, {"heads": 5}, {"width": 30, "heads": 2}):
        with pytest.raises(ValueError, match="DiT"):
            Dit(**{**TINY, **wrong})


@pytest.mark.parametrize(("side", "width", "depth", "heads", "patch", "count"), [
    (32, 1152, 28, 16, 2, 675e6), (64, 1152, 28, 16, 2, 676e6), (32, 1024, 24, 16, 4, 458e6),
    (32, 768, 12, 12, 2, 130e6), (32, 384, 12, 6, 8, 33e6),
])  # fmt: skip
def test_released_sizes_are_recognised(side, width, depth, heads, patch, count):
    """Millions of parameters: Peebles & Xie 2023, table 4 (they do not count the fixed positions)."""
    with torch.device("meta"):
        net = Dit(side, 4, 1000, patch, width, depth, heads)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(count, rel=0.005)
    config, tensors = convert(net.transformer.state_dict())
    assert (config["resolution_px"], config["heads"], config["depth"], config["patch_px"]) == (
        side,
        heads,
        depth,
        patch,
    )
    assert config["learn_sigma"] and config["classes"] == 1000 and set(tensors) == set(net.state_dict())


def test_what_does_not_fit_is_refused_with_a_reason():
    state = awake(TINY).transformer.state_dict()
    short = {key: value for key, value in state.items() if key != "blocks.1.attn.proj.bias"}
    for given, hints, words in (
        (state, None, "width 32.*`heads`"),
        (state, {"heads": 5}, "heads"),
        (short, {"heads": 4}, "blocks.1.attn.proj.bias holds nothing"),
        ({**state, "final_layer.linear.weight": torch.zeros(48, 32)}, {"heads": 4}, "12 output"),
        ({"a": torch.zeros(1)}, {"heads": 4}, "x_embedder"),
        (state, {"heads": 4, "colour": 1}, "colour"),
    ):
        with pytest.raises(UserError, match=words):
            convert(given, hints)
