"""Small EDM2 nets and inputs shared by their tests."""

from typing import Any

import torch
from torch import Tensor

from guidelab.nets.edm2 import Edm2


def net(seed: int = 0, **changes: Any) -> Edm2:
    """A net with random weights and gains away from 0, so that every part of it matters."""
    settings: dict[str, Any] = {
        "resolution_px": 8,
        "image_channels": 2,
        "classes": 5,
        "channels": 16,
        "channel_mult": [1, 2],
        "blocks": 1,
        "attention_px": [4],
        "head_channels": 16,
    }
    generator = torch.Generator().manual_seed(seed)
    built = Edm2(**{**settings, **changes}, generator=generator)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("_gain"):
                parameter.copy_(0.5 + 0.1 * torch.randn((), generator=generator))
    return built.eval()


def inputs(of: Edm2, batch: int = 3, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, noise levels and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, of.image_channels, of.resolution_px, of.resolution_px, generator=generator)
    sigma = torch.rand(batch, generator=generator) * 3 + 0.05
    return x, sigma, torch.randint(max(of.classes, 1), (batch,), generator=generator)


def relative(ours: Tensor, other: Tensor) -> float:
    """Largest difference relative to the largest magnitude of `other`."""
    return float(((ours - other).abs().max() / other.abs().max()).detach())
