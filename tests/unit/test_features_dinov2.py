"""The DINOv2 extractor: its transformer against a plain one, its resize against PIL's, its refusals."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from guidelab.errors import UserError
from guidelab.features.dinov2 import Dinov2, resize
from guidelab.features.vit import VisionTransformer


def pictures(n, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)


def plain_vit(weights, x, heads, patch, registers):
    """The same transformer from its description, one token and one head at a time where that is clearer."""
    w = {k: v.double() for k, v in weights.items()}
    x = x.double()
    b, _, side, _ = x.shape
    grid = side // patch
    rows = [
        x[:, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].reshape(b, -1)
        for i in range(grid)
        for j in range(grid)
    ]
    kernel = w["patch_embed.proj.weight"].flatten(1)
    tokens = torch.stack(rows, 1) @ kernel.T + w["patch_embed.proj.bias"]
    learned = int((w["pos_embed"].shape[1] - 1) ** 0.5)
    position = w["pos_embed"][:, 1:].reshape(1, learned, learned, -1).permute(0, 3, 1, 2)
    if learned != grid and registers:
        position = interpolate(position, (grid, grid), mode="bicubic", antialias=True)
    elif learned != grid:
        factor = (grid + 0.1) / learned
        position = interpolate(position, scale_factor=(factor, factor), mode="bicubic")
    tokens = tokens + position.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
    first = (w["cls_token"] + w["pos_embed"][:, :1]).expand(b, -1, -1)
    extra = [w["register_tokens"].expand(b, -1, -1)] if registers else []
    tokens = torch.cat([first, *extra, tokens], 1)

    def norm(t, name):
        t = (t - t.mean(-1, keepdim=True)) / (t.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return t * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(t, name):
        return t @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    depth = len({k.split(".")[1] for k in w if k.startswith("blocks.")})
    for i in range(depth):
        at = f"blocks.{i}"
        d = tokens.shape[-1]
        q, k, v = linear(norm(tokens, f"{at}.norm1"), f"{at}.attn.qkv").split(d, -1)
        parts = []
        for h in range(heads):
            s = slice(h * d // heads, (h + 1) * d // heads)
            scores = q[..., s] @ k[..., s].transpose(1, 2) / (d / heads) ** 0.5
            parts.append(scores.softmax(-1) @ v[..., s])
        tokens = tokens + w[f"{at}.ls1.gamma"] * linear(torch.cat(parts, -1), f"{at}.attn.proj")
        middle = linear(norm(tokens, f"{at}.norm2"), f"{at}.mlp.fc1")
        middle = middle * 0.5 * (1 + torch.erf(middle / 2**0.5))
        tokens = tokens + w[f"{at}.ls2.gamma"] * linear(middle, f"{at}.mlp.fc2")
    return norm(tokens, "norm")[:, 0]


def random_vit(registers, patch=14, grid=5, width=128, depth=2):
    net = VisionTransformer(
        width=width,
        depth=depth,
        heads=width // 64,
        hidden=4 * width,
        patch_px=patch,
        grid=grid,
        registers=registers,
    )
    generator = torch.Generator().manual_seed(1)
    return {
        k: 1.0 * ("norm" in k and k.endswith("weight"))
        + 0.3 * torch.randn(v.shape, generator=generator) / v.shape[-1] ** 0.25
        for k, v in net.state_dict().items()
    }


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_dinov2_equals_a_plain_transformer(tmp_path, registers, suffix):
    weights = random_vit(registers)
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(weights, path)
    else:
        from safetensors.torch import save_file

        save_file(weights, path)
    extractor = Dinov2(path, model=None)
    x = pictures(2, side=32)
    enlarged = interpolate(x.float(), (224, 224), mode="bicubic", antialias=True) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (enlarged - mean[:, None, None]) / std[:, None, None]
    expected = plain_vit(weights, normalised, 2, 14, registers)
    torch.testing.assert_close(extractor(x).features.double(), expected, rtol=1e-4, atol=1e-4)
    assert extractor(x).logits is None


def test_dinov2_at_the_learned_grid_takes_positions_as_they_are():
    weights = random_vit(0, grid=16)
    net = VisionTransformer(width=128, depth=2, heads=2, hidden=512, patch_px=14, grid=16)
    net.load_state_dict(weights)
    assert net.positions(16) is net.pos_embed


def test_dinov2_by_name_takes_no_other_size(tmp_path):
    torch.save(random_vit(0), tmp_path / "tiny.pth")
    with pytest.raises(UserError, match=r"width 128 and depth 2, wanted \(1024, 24\) of vitl14"):
        Dinov2(tmp_path / "tiny.pth")
    with pytest.raises(UserError, match="'vith14' is not known"):
        Dinov2(tmp_path / "tiny.pth", model="vith14")
    torch.save({"cls_token": torch.zeros(1, 1, 4)}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="holds no DINOv2 weights"):
        Dinov2(tmp_path / "none.pth", model=None)
    weights = random_vit(0)
    weights["blocks.0.mlp.w12.weight"] = torch.zeros(3)
    torch.save(weights, tmp_path / "giant.pth")
    with pytest.raises(UserError, match="do not fit"):
        Dinov2(tmp_path / "giant.pth", model=None)


@pytest.mark.parametrize("side", [32, 64, 512])
def test_the_papers_resize_is_near_pil_and_neither_rounds_nor_clamps(side):
    """Root mean square against PIL's bicubic: PIL's own two roundings, 0.34 to 0.41 of 255; bilinear misses by 5 to 17."""
    x = pictures(1, side=side) // 2 + 64  # PIL also clamps between its two passes: no overshoot here
    by_pil = Image.fromarray(x[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(by_pil)).permute(2, 0, 1).float()
    found = resize(x)[0]
    assert (found - expected).square().mean().sqrt() < 0.42
    blurred = interpolate(x.float(), (224, 224), mode="bilinear")[0]
    assert (blurred - expected).square().mean().sqrt() > 4
    stark = resize(255 * (pictures(1, side=side) // 128))
    assert not torch.equal(stark, stark.round()) and stark.min() < 0 and stark.max() > 255
