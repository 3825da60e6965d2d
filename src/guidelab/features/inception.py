"""Inception pool3 features: what FID, and recall in the ADM protocol, are defined on."""

from pathlib import Path

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.features.extractor import as_rgb, check_images, checked_weights
from guidelab.features.inception_net import INPUT_PX, InceptionNet
from guidelab.features.spatial import SpatialExtracted, spatial_features
from guidelab.features.weights import read_state_dict, wanted_path

FILE = "weights-inception-2015-12-05-6726825d.pth"
SOURCE = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
RELEASED = "6726825d"  # the released file's sha256 begins so, as its name says


class Inception:
    """Extractor `inception`: pool3 features [B, 2048], and logits without bias [B, 1008] for the Inception score.

    In addition spatial features [B, 2023], those of sFID. The values are those of torch-fidelity's
    `inception-v3-compat` (tested against it), from the same weights' file, which is read as tensors alone. Images are
    resized to 299 pixels as the original graph does: bilinear from the top left corner, no antialiasing.
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
        self.net = InceptionNet()
        lacking = self.net.load_state_dict(_floats(read_state_dict(found, self.name)), strict=False)
        # counters of training steps: absent from some conversions, without influence
        missing = [name for name in lacking.missing_keys if not name.endswith("num_batches_tracked")]
        if missing or lacking.unexpected_keys:
            raise UserError(
                f"{self.name}: {found}: lacks {missing[:3]}, holds unknown {lacking.unexpected_keys[:3]}"
            )
        self.net.eval().requires_grad_(False)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> SpatialExtracted:
        """Features [B, 2048], logits [B, 1008] and spatial features [B, 2023] of images [B, C, H, W] uint8."""
        gray = resize_tf1(check_images(images, self.name).to(torch.float32), INPUT_PX)
        x = as_rgb((gray - 128) / 128).contiguous(memory_format=torch.channels_last)
        features, logits, middle = self.net.with_map(x)
        return SpatialExtracted(features, logits, spatial_features(middle))


def _floats(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}


def resize_tf1(x: Tensor, side: int) -> Tensor:
    """Bilinear interpolation [B, C, H, W] to [B, C, side, side] as TensorFlow 1 does: output i samples i * H / side.

    No half-pixel centres and no antialiasing; both are part of the features' definition.
    """
    for dim in (3, 2):
        size = x.shape[dim]
        # made on the CPU, so that every device samples at the same places
        at = torch.arange(side, dtype=torch.float32) * torch.tensor(size / side, dtype=torch.float32)
        at = at.to(x.device)
        low = at.long()
        part = (at - low).reshape(-1, *([1] * (3 - dim)))
        below, above = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp_max(size - 1))
        x = below + (above - below) * part
    return x
