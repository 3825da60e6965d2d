"""Tiny data, nets and configurations for the tests of large trainings."""

from pathlib import Path
from typing import Any

import torch
from test_train_images import CONFIG, NET, pictures
from torch import Tensor

from guidelab import registry
from guidelab.train.large.denoisers import Data, train_denoiser

NETS: dict[str, dict[str, Any]] = {
    "edm2": NET,
    "edm": {
        "name": "edm",
        "architecture": "ddpmpp",
        "precond": "edm",
        "channels": 8,
        "channel_mult": [1, 2],
        "blocks": 1,
        "attention_px": [],
        "augment_dim": 9,
    },
    "adm": {
        "name": "adm",
        "channels": 32,
        "channel_mult": [1],
        "blocks": 1,
        "attention_px": [],
        "head_channels": 16,
    },
    "dit": {"name": "dit", "width": 16, "depth": 2, "heads": 2, "patch_px": 2},
}


def moments(n: int = 20) -> tuple[Tensor, Tensor]:
    """Means and deviations `[n, 4, 8, 8]` of latents with 2 channels, one pattern for each class."""
    labels = torch.arange(n) % 3
    generator = torch.Generator().manual_seed(5)
    mean = 5 * torch.randn(3, 2, 8, 8, generator=generator)[labels]
    return torch.cat([mean, torch.full_like(mean, 0.1)], dim=1), labels


def images_data() -> Data:
    images, labels = pictures()
    return Data(images, labels, (1, 8, 8))


def latents_data() -> Data:
    found, labels = moments()
    return Data(found, labels, (2, 8, 8), "ldm")


def train(folder: Path, name: str, seeds=(0,), data: Data | None = None, **changes: Any) -> Any:
    """Train a tiny net; keyword arguments of `train_denoiser` are told from those of the configuration."""
    own = {key: changes.pop(key) for key in ("workers", "world", "compile") if key in changes}
    config = {**CONFIG, "net": NETS[name], **changes}
    data = data or (latents_data() if name == "dit" else images_data())
    build = registry.load("net", name)
    return train_denoiser(config, seeds, folder, data, progress=False, build=build, **own)
