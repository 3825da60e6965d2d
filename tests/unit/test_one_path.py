"""A user's own folder of pictures through the jobs that ImageNet uses: prepare, encode, train, discriminate, extract.

Each case is a capability and not a size: pixels with half precision requested, a net of the discrete chain, latents.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import CONFIG, NETS

from guidelab.assemble import load_net
from guidelab.io import load_arrays
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.jobs import discriminate, encode, extract, prepare, reconstruct, train

LATENT = {"autoencoder": "vae", "encoding": "ldm", "side_px": 4, "channels": 4}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "block_out_channels": [32, 32, 32], "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3, "layers_per_block": 1, "sample_size": 16,
}  # fmt: skip
JUDGED: dict[str, Any] = {
    "lr": 3e-3, "batch": 16, "iterations": 20, "evaluate_every": 10, "patience": 3, "sigma_min": 0.05, "sigma_max": 2.0,
    "validation": 0.25, "test": 0.25, "seed": 1, "precision": "bfloat16",
}  # fmt: skip
SMALL = {"channels": 8, "channel_mult": [1], "blocks": 1}
NEEDS_VAE = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="needs the extra `vae`: pip install 'guidelab[vae]'"
)


@pytest.fixture(autouse=True)
def fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.zip`: the training split of 72 pictures of three classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "states"))
    random = np.random.default_rng(0)
    for index in range(72):
        path = tmp_path / "pictures" / f"class{index % 3}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 18 + index % 4, 3), dtype=np.uint8)).save(path)
    dataset = {
        "name": "image_folder",
        "resolution_px": 16,
        "classes": 3,
        "source": str(tmp_path / "pictures"),
    }
    job = {"examples": "images", "dataset": dataset, "fold": "train", "split": "train"}
    prepare.run(job, [Path("train.zip")])


def examples(latents: bool) -> str:
    """The fold as nets see it: the ZIP of images, or of their latents."""
    if not latents:
        return "train.zip"
    from guidelab.autoencoder import build, save_autoencoder

    torch.manual_seed(0)
    save_autoencoder(Path("vae.safetensors"), VAE, build(VAE).state_dict(), {"released": {"name": "vae"}})
    inputs = {"images": ["train.zip"], "autoencoder": ["vae.safetensors"]}
    encode.run({"latent": LATENT, "inputs": inputs}, [Path("latents.zip")])
    return "latents.zip"


def samples(images: torch.Tensor, labels: torch.Tensor) -> str:
    shards = split(0, "generated", [0, len(images) - 1], 16)
    for shard in shards:
        write_shard(folder_of("samples.json"), shard, {}, lambda a, b: (images[a : b + 1], labels[a : b + 1]))
    write_manifest("samples.json", shards, {"seeds": [0], "blocks": {"generated": [0, len(images) - 1]}})
    return "samples.json"


@pytest.mark.parametrize("net", ["edm2", "adm", pytest.param("dit", marks=NEEDS_VAE)])
def test_a_users_folder_trains_what_imagenet_trains(net: str) -> None:
    latents = net == "dit"
    recipe = {key: value for key, value in CONFIG.items() if key not in ("net", "conditional", "classes")}
    shared = {"latent": LATENT if latents else None, "code": "c"}
    job = {
        "examples": "images", "net": NETS[net], "conditional": True, "dataset": {"classes": 3}, "seeds": [0], **shared,
        "train": recipe | {"precision": "bfloat16", "flip": not latents}, "inputs": {"data": [examples(latents)]},
    }  # fmt: skip
    train.run(job, [Path("kept.safetensors"), Path("kept.csv")])
    taken = {"model": "main", "nimg": 96, "ema_std": 0.1, "inputs": {"checkpoints": ["kept.safetensors"]}}
    reconstruct.run({**taken, "code": "c"}, [Path("model.safetensors")])
    event = (4, 4, 4) if latents else (3, 16, 16)
    found = load_net(Path("model.safetensors"), 0)(
        torch.zeros(2, *event), torch.ones(2), torch.tensor([0, 2])
    )
    assert found.shape == (2, *event) and torch.isfinite(found).all()


@pytest.mark.parametrize("latents", [False, pytest.param(True, marks=NEEDS_VAE)])
def test_a_users_folder_is_measured_as_imagenet_is(latents: bool) -> None:
    shared = {
        "examples": "images",
        "classes": 3,
        "latent": LATENT if latents else None,
        "code": "c",
        "train": JUDGED,
    }
    classifier = {"disc": "noisy", "role": "classifier", "net": {"name": "small_classifier", **SMALL}}
    real = {"real": [examples(latents)]}
    discriminate.run(shared | classifier | {"train_seeds": [1], "inputs": real}, [Path("noisy")])
    assert load_arrays("noisy")[1]["net"]["image_channels"] == (4 if latents else 3)
    generated = (
        examples(True) if latents else samples(torch.zeros(60, 3, 16, 16).byte(), torch.arange(60) % 3)
    )
    guide = {"disc": "guide", "role": "guide", "net": {"name": "small_discriminator", **SMALL}}
    inputs = real | {"generated": [generated], "extractor": ["noisy"]}
    discriminate.run(shared | guide | {"train_seeds": [0], "inputs": inputs}, [Path("guide")])
    report = load_arrays("guide")[1]["reports"]["0"]
    assert report["n_test"] >= 10 and np.isfinite(report["bce"])
    assert latents or report["accuracy"] > 0.9  # black images against noise


def test_features_of_a_users_folder_and_of_samples() -> None:
    made = samples(torch.zeros(20, 3, 16, 16).byte(), torch.arange(20) % 3)
    for path, prefix in (("train.zip", ""), (made, "seed0/generated/")):
        job = {"features": "t", "extractor": {"name": "tiny"}, "inputs": {"images": [path]}, "code": "c"}
        extract.run(job, [Path("features")])
        tensors, about = load_arrays("features")
        assert tensors[f"{prefix}features"].shape[1] == 32 and about["features_sha256"].startswith("tiny:")
