"""A small random network as extractor for tests of the workflow; metrics on it have no meaning."""

import hashlib
import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, silu

from guidelab.features.extractor import as_net_input, as_rgb, check_images
from guidelab.features.spatial import SpatialExtracted, spatial_features

FEATURES, CLASSES, SIDE, HIDDEN = 32, 10, 2, 16
_SHAPES = {"first": (HIDDEN, 3, 3, 3), "second": (FEATURES, HIDDEN, 3, 3), "classify": (CLASSES, FEATURES)}


class Tiny:
    """Extractor `tiny`: features [B, 32], logits [B, 10] and spatial features [B, 28] of two random convolutions.

    Its `sha256` begins with `tiny:`, so that no number made with it can be taken for another.
    """

    name = "tiny"

    def __init__(self, seed: int = 0) -> None:
        """Draw the weights from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        self.weights = {
            name: torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5
            for name, shape in _SHAPES.items()
        }
        digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in self.weights.values()))
        self.sha256 = f"tiny:{digest.hexdigest()}"

    def to(self, device: torch.device) -> "Tiny":
        """Move the weights."""
        self.weights = {name: weight.to(device) for name, weight in self.weights.items()}
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> SpatialExtracted:
        """Features, logits and spatial features of images [B, C, H, W] uint8, of any size."""
        w = self.weights
        x = as_rgb(as_net_input(check_images(images, self.name)))
        x = silu(conv2d(x, w["first"], stride=2, padding=1))
        x = silu(conv2d(x, w["second"], stride=2, padding=1))  # [B, 32, H/4, W/4]
        features = x.mean((2, 3))
        spatial = spatial_features(adaptive_avg_pool2d(x, SIDE))
        return SpatialExtracted(features, features @ w["classify"].mT, spatial)
