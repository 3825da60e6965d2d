"""The autoencoder against diffusers' own arithmetic, under the two conventions; latents of folds and of samples."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from guidelab.autoencoder import build, load_autoencoder, save_autoencoder
from guidelab.core.latents import ENCODINGS, encoding
from guidelab.data.zip_reader import ZipLatents
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.io.shards import Shard, write_manifest, write_shard
from guidelab.jobs import encode

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="needs the extra `vae`: pip install 'guidelab[vae]'"
)
CONFIG = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "sample_size": 32,
}
LATENT = {"autoencoder": "vae", "encoding": "edm2", "side_px": 4, "channels": 4}
MEAN, STD = torch.tensor([5.81, 3.25, 0.12, -2.15]), torch.tensor([4.17, 4.62, 3.71, 3.28])


@pytest.fixture(scope="module")
def vae():
    net = build(CONFIG).eval()
    with torch.no_grad():
        for index, value in enumerate(
            net.parameters()
        ):  # spread out: the usual start gives deviations of almost one
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(index)) * 0.02)
    return net


@pytest.fixture(scope="module")
def saved(vae, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save_autoencoder(path, CONFIG, vae.state_dict(), {"released": {"name": "vae"}})
    return path


def pictures(n: int, side: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(n).integers(0, 256, (n, 3, side, side), dtype=np.uint8))


@torch.no_grad()
def test_encoding_is_diffusers_own_and_batches_change_nothing(vae, saved: Path):
    net, x = load_autoencoder(saved), pictures(5)
    assert (net.channels, net.factor, net.device.type) == (4, 4, "cpu")
    for how, pixels in (("edm2", x / 255), ("ldm", x / 127.5 - 1)):
        posterior = vae.encode(pixels).latent_dist
        found = net.encode(x, how, batch=2)
        assert found.shape == (5, 8, 4, 4) and found.dtype == torch.float32
        assert torch.allclose(found, torch.cat([posterior.mean, posterior.std], 1), atol=1e-5)
        assert torch.allclose(net.encode(x, how), found, atol=1e-5)
        again = posterior.sample(torch.Generator().manual_seed(1))
        drawn = encoding(how).sample(found, torch.Generator().manual_seed(1))
        wanted = again * 0.18215 if how == "ldm" else (again - MEAN[:, None, None]) / STD[:, None, None] * 0.5
        assert torch.allclose(drawn, wanted, atol=1e-5)
    assert not torch.allclose(net.encode(x, "edm2"), net.encode(x, "ldm"), atol=1e-2)


@torch.no_grad()
def test_decoding_is_diffusers_own_with_each_familys_bytes(vae, saved: Path):
    net = load_autoencoder(saved)
    z = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    x = vae.decode(z / 0.18215).sample
    found = net.decode(z, "ldm", batch=2)
    wanted = (127.5 * x + 128).clamp(0, 255).to(torch.uint8)  # as DiT rounds
    assert found.dtype == torch.uint8 and (found.int() - wanted.int()).abs().max() <= 1
    assert (found == wanted).float().mean() > 0.999
    x = vae.decode(z * 2 * STD[:, None, None] + MEAN[:, None, None]).sample
    wanted = (x.clamp(0, 1) * 255).to(torch.uint8)  # as EDM2 truncates
    assert (net.decode(z, "edm2") == wanted).float().mean() > 0.999


def test_bytes_of_both_conventions():
    assert ENCODINGS["ldm"].to_uint8(torch.tensor([-1.2, -1.0, 0.0, 0.999, 1.2])).tolist() == [
        0,
        0,
        128,
        255,
        255,
    ]
    assert ENCODINGS["edm2"].to_uint8(torch.tensor([-0.2, 0.5, 0.999, 1.0, 1.2])).tolist() == [
        0,
        127,
        254,
        255,
        255,
    ]
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for how in ENCODINGS.values():
        assert torch.allclose(how.restore(how.standardise(x)), x, atol=1e-5)


def test_wrong_tensors_and_files_are_refused(
    vae, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    net = load_autoencoder(saved, precision="bfloat16")  # on a CPU float32 all the same
    assert net.encode(pictures(1), "ldm").dtype == torch.float32
    for wrong in (pictures(1).float(), pictures(1)[:, :1], pictures(1, 18)):
        with pytest.raises(ValueError, match=r"wanted uint8 \[B, 3, H, W\], sides multiples of 4"):
            net.encode(wrong, "ldm")
    with pytest.raises(ValueError, match=r"wanted \[B, 4, h, w\]"):
        net.decode(torch.zeros(1, 3, 4, 4), "ldm")
    with pytest.raises(ValueError, match="encoding 'sd' is not known; wanted one of edm2, ldm"):
        net.decode(torch.zeros(1, 4, 4, 4), "sd")
    with pytest.raises(ValueError, match="given precision 'fp8'"):
        load_autoencoder(saved, precision="fp8")
    save_arrays(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {"kind": "model"})
    with pytest.raises(UserError, match="holds 'model', wanted an autoencoder"):
        load_autoencoder(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="not one written by guidelab"):
        load_autoencoder(tmp_path / "b.safetensors")
    state = vae.state_dict()
    del state["quant_conv.bias"]
    save_autoencoder(tmp_path / "c.safetensors", CONFIG, state, {})
    with pytest.raises(UserError, match=r"do not fit its configuration: quant_conv.bias is missing"):
        load_autoencoder(tmp_path / "c.safetensors")
    save_autoencoder(tmp_path / "d.safetensors", {**CONFIG, "latent_channels": 8}, vae.state_dict(), {})
    with pytest.raises(UserError, match="of another shape"):
        load_autoencoder(tmp_path / "d.safetensors")
    save_autoencoder(tmp_path / "e.safetensors", {**CONFIG, "no_such_entry": 1}, vae.state_dict(), {})
    with pytest.raises(UserError, match=r"diffusers does not know its configuration .*no_such_entry"):
        load_autoencoder(tmp_path / "e.safetensors")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'guidelab\[vae\]'"):
        load_autoencoder(saved)


def fold(path: Path, x: torch.Tensor) -> Path:
    with ZipWriter(path) as writer:
        for index, image in enumerate(x.numpy()):
            writer.add_image(image, index % 3)
    return path


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIDELAB_DEVICE", "cpu")


def job(saved: Path, images: Path, **entries) -> dict:
    return {"inputs": {"images": [str(images)], "autoencoder": [str(saved)]}, "latent": LATENT, **entries}


def test_a_fold_is_encoded_in_order_with_its_labels(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    x = pictures(7)
    images = fold(tmp_path / "fold.zip", x)
    encode.run(job(saved, images, batch=3), [tmp_path / "latents.zip"])
    found = ZipLatents(tmp_path / "latents.zip", "edm2")
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.allclose(found[:], load_autoencoder(saved).encode(x, "edm2"), atol=1e-5)
    for count in (1, 3):  # devices
        monkeypatch.setattr(encode, "_devices", lambda count=count: [torch.device("cpu")] * count)
        encode.run(job(saved, images, batch=3), [tmp_path / "again.zip"])
        assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "latents.zip").read_bytes()
    with pytest.raises(UserError, match="of encoding edm2, wanted ldm"):
        ZipLatents(tmp_path / "latents.zip", "ldm")


def test_samples_are_encoded_by_training_seed(saved: Path, tmp_path: Path):
    x, manifest = pictures(10), tmp_path / "dg.json"
    shards = [
        Shard(1, "generated", 0, 3),
        Shard(0, "generated", 0, 2),
        Shard(0, "generated", 3, 3),
        Shard(0, "other", 0, 1),
    ]
    start = 0
    for shard in shards:
        rows = x[start : start + shard.n]
        start += shard.n
        write_shard(tmp_path / "dg", shard, {}, lambda a, b, rows=rows: (rows, torch.arange(len(rows))))
    write_manifest(manifest, shards, {"blocks": {}})
    encode.run(job(saved, manifest, block="generated"), [tmp_path / "latents.zip"])
    found = ZipLatents(tmp_path / "latents.zip")
    assert found.parts == {0: range(0, 4), 1: range(4, 8)}
    order = [4, 5, 6, 7, 0, 1, 2, 3]
    assert torch.allclose(found[:], load_autoencoder(saved).encode(x[order], "edm2"), atol=1e-5)
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    with pytest.raises(UserError, match="holds no block 'report'"):
        encode.run(job(saved, manifest, block="report"), [tmp_path / "none.zip"])
    entry = json.loads(manifest.read_text())["shards"][1]
    (tmp_path / "dg" / entry["file"]).write_bytes(b"")
    with pytest.raises(UserError, match="is not the file its manifest lists"):
        encode.run(job(saved, manifest, block="generated"), [tmp_path / "none.zip"])
    assert not (tmp_path / "none.zip").exists()


def test_images_that_give_other_latents_than_planned_are_refused(saved: Path, tmp_path: Path):
    images = fold(tmp_path / "fold.zip", pictures(2, 32))
    with pytest.raises(
        UserError, match=r"become latents of 4 channels and 8 px by the autoencoder vae .* wanted 4 and 4 px"
    ):
        encode.run(job(saved, images), [tmp_path / "latents.zip"])
    assert not (tmp_path / "latents.zip").exists()
