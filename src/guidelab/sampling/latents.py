"""The storage format of latents: decoded to images by the autoencoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidelab.autoencoder import Autoencoder, load_autoencoder
from guidelab.compute.device import memory_named
from guidelab.sampling.pixels import save_shards

if TYPE_CHECKING:
    from guidelab.sampling.interfaces import Draw


class Latents:
    """Latents `[B, C, h, w]` to images `[B, 3, H, W]` uint8, in float32 as the references.

    Args:
        job: `latent`, `decode_batch` and the input `autoencoder` of a sampling job.
        where: the device.
    """

    finite = True

    def __init__(self, job: Mapping[str, Any], where: torch.device) -> None:
        self.encoding, self.batch = job["latent"]["encoding"], job["decode_batch"]
        self.path, self.where = job["inputs"]["autoencoder"][0], where
        self._autoencoder: Autoencoder | None = None  # read when first needed: not at all if all shards exist

    def decode(self, x: Tensor) -> Tensor:
        """See `interfaces.Codec`."""
        if self._autoencoder is None:
            self._autoencoder = load_autoencoder(self.path, self.where)
        with memory_named("sample: decoding latents", f"`decode_batch` (now {self.batch})"):
            return self._autoencoder.decode(x, self.encoding, batch=self.batch)

    def save(self, job: Mapping[str, Any], output: Path, draw: "Draw") -> None:
        """See `save_shards`."""
        save_shards(job, output, self.where, draw)
