"""Inception pool3 features: what FID, and recall in the ADM protocol, are defined on."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.errors import UserError, brief
from guidelab.features.extractor import as_rgb, check_images, checked_weights
from guidelab.features.spatial import SpatialExtracted, spatial_features
from guidelab.features.weights import read_state_dict, wanted_path
from guidelab.metrics.torchvision_repair import import_torchvision

FILE = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
RELEASED = "6726825d"  # the released file's sha256 begins so, as its name says
MAP = "Mixed_6d"  # the block whose first branch the original graph calls mixed_6/conv: [B, 192, 17, 17]


class Inception:
    """Extractor `inception`: pool3 features [B, 2048], and logits without bias [B, 1008] for the Inception score.

    Also spatial features [B, 2023], those of sFID. The network is torch-fidelity's `inception-v3-compat`, with the
    released weights read as tensors alone. It resizes images to 299 pixels as the original graph does: bilinear from the
    top left corner, no antialiasing.
    """

    name = "inception"

    def __init__(self, path: str | Path | None = None, *, sha256: str | None = None) -> None:
        """Read the weights.

        Args:
            path: of the weights' file, of any name.
            sha256: of the file; without it, the released file is recognised by the hash's beginning in its name.

        Raises:
            UserError: absent (says what to fetch), another file, or parameters that do not fit.
        """
        found = wanted_path(path, self.name, FILE, SOURCE)
        self.sha256 = checked_weights(found, sha256, self.name)
        if sha256 is None and not self.sha256.startswith(RELEASED):
            raise UserError(
                f"{self.name}: {found}: sha256 {self.sha256}, wanted the released file, {RELEASED}...; give `sha256:` "
                "to use other weights"
            )
        self.net = network(read_state_dict(found, self.name), f"{self.name}: {found}")
        self.net.get_submodule(MAP).register_forward_hook(self._keep)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _keep(self, block: nn.Module, inputs: Any, output: Tensor) -> None:
        """Spatial features: the first branch of the block, after its ReLU, begins what the block returns."""
        self._spatial = spatial_features(output)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> SpatialExtracted:
        """Features [B, 2048], logits [B, 1008] and spatial features [B, 2023] of images [B, C, H, W] uint8."""
        features, logits = self.net(as_rgb(check_images(images, self.name)))
        return SpatialExtracted(features, logits, self._spatial)


def network(weights: dict[str, Tensor], where: str) -> nn.Module:
    """torch-fidelity's network with these weights: images [B, 3, H, W] uint8 to features [B, 2048] and logits [B, 1008].

    Its constructor downloads weights, or unpickles a file and runs what is in it; so it gets the tensors that were read,
    written again by torch.save.

    Args:
        weights: by the names of the released file.
        where: the extractor and its file, for messages.

    Raises:
        UserError: parameters that do not fit.
    """
    import_torchvision()  # torch-fidelity imports it at the top of every module
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    written = io.BytesIO()
    torch.save({name: t.float() if t.is_floating_point() else t for name, t in weights.items()}, written)
    written.seek(0)
    layers = ["2048", "logits_unbiased"]
    try:
        net: nn.Module = FeatureExtractorInceptionV3(
            "inception", layers, feature_extractor_weights_path=written
        )
    except RuntimeError as error:
        raise UserError(f"{where}: its parameters do not fit: {brief(error)}") from error
    return net
