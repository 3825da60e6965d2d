"""ADM's networks: against a plain evaluation of the released names, in many configurations."""

import math

import pytest
import torch
from torch.nn import functional

from guidelab.checkpoints.from_adm import convert_unet
from guidelab.nets.adm import Adm

TINY = {
    "resolution_px": 16, "image_channels": 3, "classes": 4, "channels": 32, "channel_mult": [1, 2], "blocks": 1,
    "attention_px": [8], "head_channels": 32,
}  # fmt: skip
VARIANTS = [
    {},
    {"channel_mult": [1, 1, 2], "blocks": 2, "attention_px": [16, 4], "classes": 0},
    {"head_channels": None, "heads": 4, "split_first": True, "scale_shift": False},
    {"resblock_updown": False, "learn_sigma": False, "schedule": "cosine", "channel_mult": [2, 1, 2]},
    {"resblock_updown": False, "learned_resampling": False, "image_channels": 1, "channel_mult": [1, 1]},
    {"channel_mult": [1], "attention_px": []},
    {"channel_mult": [1, 1, 1], "attention_px": [], "steps": 4000},
]


def awake(net, seed=1):
    """Every parameter random, so that what starts at zero takes part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


def build(make, config, seed=0):
    arguments = {key: value for key, value in config.items() if key != "name"}
    return make(**arguments, generator=torch.Generator().manual_seed(seed))


class Plain:
    """A U-Net evaluated from its parameters' names alone, operation for operation as published."""

    def __init__(self, state, config):
        self.p, self.c = state, config

    def conv(self, x, name, **how):
        return functional.conv2d(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"], **how)

    def linear(self, x, name):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def norm(self, x, name):
        groups = x.reshape(len(x), 32, -1)
        groups = (groups - groups.mean(2, keepdim=True)) / (
            groups.var(2, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        shape = (1, -1, *[1] * (x.ndim - 2))
        return groups.reshape(x.shape) * self.p[f"{name}.weight"].view(shape) + self.p[f"{name}.bias"].view(
            shape
        )

    def res(self, x, emb, name, resize):
        h = functional.silu(self.norm(x, f"{name}.in_layers.0"))
        h, x = resize(h), resize(x)
        h = self.conv(h, f"{name}.in_layers.2", padding=1)
        e = self.linear(functional.silu(emb), f"{name}.emb_layers.1")[:, :, None, None]
        if self.c.get("scale_shift", True):
            scale, shift = e.chunk(2, dim=1)
            h = self.norm(h, f"{name}.out_layers.0") * (1 + scale) + shift
        else:
            h = self.norm(h + e, f"{name}.out_layers.0")
        h = self.conv(functional.silu(h), f"{name}.out_layers.3", padding=1)
        skip = f"{name}.skip_connection"
        return h + (self.conv(x, skip) if f"{skip}.weight" in self.p else x)

    def attention(self, x, name):
        b, c, height, width = x.shape
        each = self.c["head_channels"]
        heads = self.c["heads"] if each is None else c // each
        flat = self.norm(x.reshape(b, c, -1), f"{name}.norm")
        qkv = torch.einsum("oc,bct->bot", self.p[f"{name}.qkv.weight"][:, :, 0], flat)
        qkv = qkv + self.p[f"{name}.qkv.bias"][:, None]
        if self.c.get("split_first"):
            q, k, v = (part.reshape(b, heads, -1, height * width) for part in qkv.chunk(3, dim=1))
        else:
            q, k, v = qkv.reshape(b, heads, -1, height * width).chunk(3, dim=2)
        weight = torch.softmax(torch.einsum("bhct,bhcs->bhts", q, k) / math.sqrt(q.shape[2]), dim=-1)
        out = torch.einsum("bhts,bhcs->bhct", weight, v).reshape(b, c, -1)
        out = torch.einsum("oc,bct->bot", self.p[f"{name}.proj_out.weight"][:, :, 0], out)
        return x + (out + self.p[f"{name}.proj_out.bias"][:, None]).reshape(x.shape)

    def layers(self, x, emb, name, resize=lambda h: h):
        number = 0
        while any(key.startswith(f"{name}.{number}.") for key in self.p):
            part = f"{name}.{number}"
            if f"{part}.qkv.weight" in self.p:
                x = self.attention(x, part)
            elif f"{part}.op.weight" in self.p:
                x = self.conv(x, f"{part}.op", stride=2, padding=1)
            elif f"{part}.conv.weight" in self.p:
                x = self.conv(resize(x), f"{part}.conv", padding=1)
            elif f"{part}.in_layers.0.weight" in self.p:
                x = self.res(x, emb, part, resize if number or name.startswith("input") else lambda h: h)
            else:
                x = self.conv(x, part, padding=1)
            number += 1
        return resize(x) if not number else x  # a resampling without parameters

    def __call__(self, x, steps, labels):
        half = self.c["channels"] // 2
        angles = steps[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        emb = self.linear(torch.cat([angles.cos(), angles.sin()], 1), "time_embed.0")
        emb = self.linear(functional.silu(emb), "time_embed.2")
        if "label_emb.weight" in self.p:
            emb = emb + self.p["label_emb.weight"][labels]
        h, skips, levels, blocks = x, [], len(self.c["channel_mult"]), self.c["blocks"]
        for i in range(levels * (blocks + 1)):
            down = i and i % (blocks + 1) == 0
            h = self.layers(
                h, emb, f"input_blocks.{i}", (lambda h: functional.avg_pool2d(h, 2)) if down else lambda h: h
            )
            skips.append(h)
        h = self.layers(h, emb, "middle_block")

        def up(h):
            return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

        for i in range(levels * (blocks + 1)):
            last = (i + 1) % (blocks + 1) == 0 and i + 1 < levels * (blocks + 1)
            h = self.layers(
                torch.cat([h, skips.pop()], 1), emb, f"output_blocks.{i}", up if last else lambda h: h
            )
            bare = (
                last
                and not self.c.get("learned_resampling", True)
                and not self.c.get("resblock_updown", True)
            )
            h = up(h) if bare else h
        return self.conv(functional.silu(self.norm(h, "out.0")), "out.2", padding=1)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(v) or "released")
def test_the_unet_and_its_imported_file_are_the_published_one(variant):
    config = {"name": "adm", **TINY, **variant}
    net = awake(build(Adm, config))
    state = net.unet.state_dict()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, config["image_channels"], 16, 16, generator=generator)
    steps, cond = torch.tensor([3.0, 871.0]), torch.tensor([3, 0])
    wanted = Plain(state, config)(x, steps, cond)
    found = net.raw(x, steps, cond)
    assert len(found[0]) == config["image_channels"] * (2 if config.get("learn_sigma", True) else 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    hints = {
        key: config[key]
        for key in ("resolution_px", "head_channels", "heads", "schedule", "split_first", "steps")
        if config.get(key) is not None
    }
    if variant.get("learned_resampling") is False:
        assert "input_blocks.2.0.op.weight" not in state  # nothing but a gap in the numbers tells
    made, tensors = convert_unet(state, hints)
    assert {k: made[k] for k in config} == config
    assert all(torch.equal(tensors[k], v) for k, v in net.state_dict().items()) and len(tensors) == len(
        net.state_dict()
    )
    again = Adm(**{k: v for k, v in made.items() if k != "name"})
    again.load_state_dict(tensors)
    torch.testing.assert_close(again.eval().raw(x, steps, cond), found)


def test_a_conditional_network_requires_a_class_and_depends_on_the_step():
    net = awake(build(Adm, TINY))
    x, sigma, cond = (
        torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        torch.ones(2),
        torch.tensor([0, 1]),
    )
    assert net(x, sigma, cond).shape == x.shape
    assert not torch.equal(net(x, sigma, cond), net(x, sigma, cond.flip(0)))
    torch.testing.assert_close(net(x, sigma, cond)[1:], net(x[1:], sigma[1:], cond[1:]))
    with pytest.raises(ValueError, match="given no class"):
        net(x, sigma, None)
    blind = awake(build(Adm, {**TINY, "classes": 0}))
    assert torch.equal(blind(x, sigma, cond), blind(x, sigma, None))
    with pytest.raises(ValueError, match="halved"):
        build(Adm, {**TINY, "resolution_px": 9})
    with pytest.raises(ValueError, match="multiple of 32"):
        build(Adm, {**TINY, "channels": 48})
    one, other = build(Adm, TINY), build(Adm, TINY)
    assert all(torch.equal(one.state_dict()[k], v) for k, v in other.state_dict().items())
    assert one(x, sigma, cond).equal(x)  # its last layer starts at zero
