"""Spatial features, whose Fréchet distance is sFID."""

from dataclasses import dataclass

from torch import Tensor

from guidelab.features.extractor import Extracted

CHANNELS = 7  # the first of a layer's channels, as in ADM's evaluation


@dataclass(frozen=True)
class SpatialExtracted(Extracted):
    """Features and logits as of `Extracted`, and spatial features [B, H * W * 7] float32."""

    spatial: Tensor | None = None


def spatial_features(layer: Tensor) -> Tensor:
    """The first seven channels of a map [B, C, H, W], pixel by pixel: [B, H * W * 7].

    Rows first, then columns, then channels: the order of reference statistics made by TensorFlow.

    Source: Nash et al. 2021, arXiv:2103.03841; Dhariwal & Nichol 2021, arXiv:2105.05233 (released evaluation).
    """
    return layer[:, :CHANNELS].permute(0, 2, 3, 1).flatten(1)
