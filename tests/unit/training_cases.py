"""Tiny data, nets and configurations for the tests of trainings."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab import registry
from guidelab.nets.edm2 import Edm2
from guidelab.train.denoisers import train_denoiser
from guidelab.train.distributed import TrainingGroup
from guidelab.train.images import Data, Images
from guidelab.train.loader import Draws, Loader
from guidelab.train.objectives import Objective, recipe_of
from guidelab.train.step import Trainer
from guidelab.train.streams import stream

NET: dict[str, Any] = {
    "name": "edm2",
    "size": None,
    "channels": 8,
    "channel_mult": [1.0, 2.0],
    "blocks": 1,
    "attention_px": [],
    "patch_px": 2,
    "dropout": 0.0,
}
CONFIG: dict[str, Any] = {
    "net": NET,
    "conditional": True,
    "classes": 3,
    "nimg": 12 * 8,
    "batch": 8,
    "microbatch": None,
    "lr": 1e-2,
    "decay_nimg": 4 * 8,
    "rampup_nimg": 3 * 8,
    "p_mean": -0.4,
    "p_std": 1.0,
    "ema_stds": [0.05, 0.10],
    "snapshot_nimg": 4 * 8,
}

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


def pictures(n: int = 20) -> tuple[Tensor, Tensor]:
    """One pattern for each class, with some noise: learnable."""
    labels = torch.arange(n) % 3
    plain = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(5))
    noise = torch.randint(-9, 10, (n, 1, 8, 8), generator=torch.Generator().manual_seed(6))
    return (plain[labels] + noise).clamp(0, 255).to(torch.uint8), labels


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
    """Train a tiny net; keyword arguments are those of the configuration, and some of `Images`."""
    own = {key: changes.pop(key) for key in ("workers", "group", "compile", "curves") if key in changes}
    config = {**CONFIG, "net": NETS[name], **changes}
    data = data or (latents_data() if name == "dit" else images_data())
    build = registry.load("net", name)
    return train_denoiser(Images(config, data, build, **own), seeds, folder, progress=False)


def trainer(
    net: nn.Module | None = None, dropout: float = 0.0, compile: bool = False, **changes: Any
) -> Trainer:
    """A trainer of a tiny EDM2 net, or of another net by the same loss, on images."""
    arguments = NET | {"dropout": dropout}
    config = {**CONFIG, "net": arguments, **changes}
    if net is None:
        kwargs = {key: value for key, value in arguments.items() if key != "name"}
        net = Edm2(8, 1, 3, **kwargs, generator=stream("image weights", 0)).train()
    images, labels = pictures()
    draws = Draws(config["p_mean"], config["p_std"])
    loader = Loader(images, (1, 8, 8), labels, 0, config["batch"], draws)
    return Trainer(net, loader, config, Objective(net, recipe_of(config), 0.5), TrainingGroup(), compile)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
