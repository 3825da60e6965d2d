"""Small EDM nets of every architecture, and inputs, shared by their tests."""

from typing import Any

import torch
from torch import Tensor

from guidelab.nets.edm import Edm

COMMON: dict[str, Any] = {
    "resolution_px": 8,
    "image_channels": 3,
    "classes": 4,
    "precond": "edm",
    "channels": 16,
    "channel_mult": [1, 2],
    "blocks": 1,
    "attention_px": [4],
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "ddpmpp": {**COMMON, "architecture": "ddpmpp"},
    "ncsnpp": {**COMMON, "architecture": "ncsnpp"},
    "adm": {**COMMON, "architecture": "adm", "channels": 32},
}


def fresh(architecture: str, seed: int = 0, **changes: Any) -> Edm:
    """A net with EDM's initial weights."""
    settings = {**ARCHITECTURES[architecture], **changes}
    return Edm(**settings, generator=torch.Generator().manual_seed(seed)).eval()


def net(architecture: str, seed: int = 0, **changes: Any) -> Edm:
    """A net in which no weight is zero or tiny, so that every part of it matters."""
    built = fresh(architecture, seed, **changes)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            fan = parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 8
            drawn = torch.randn(parameter.shape, generator=generator) / fan
            parameter.copy_(drawn + 1 if "norm" in name and name.endswith("weight") else drawn)
    return built


def inputs(of: Edm, batch: int = 3, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, noise levels and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, of.image_channels, of.resolution_px, of.resolution_px, generator=generator)
    sigma = torch.rand(batch, generator=generator) * 3 + 0.05
    return x, sigma, torch.randint(max(of.classes, 1), (batch,), generator=generator)


def relative(ours: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest magnitude of `other`."""
    return float(((ours - other).abs().max() / other.abs().max()).detach())
