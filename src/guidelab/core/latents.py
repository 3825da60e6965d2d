"""Scale factors between an autoencoder's latents and a diffusion net's latents, in two conventions (EDM2; DiT)."""

from dataclasses import dataclass

import torch
from torch import Tensor

_EDM2_MEAN = (5.81, 3.25, 0.12, -2.15)  # of sd-vae-ft-mse on ImageNet, by channel
_EDM2_STD = (4.17, 4.62, 3.71, 3.28)
_EDM2_TARGET = 0.5  # EDM2's sigma_data
_LDM_SCALE = 0.18215  # 1 / the overall standard deviation of latent diffusion's autoencoder


@dataclass(frozen=True)
class Encoding:
    """How one family of models uses an autoencoder.

    Attributes:
        name: `edm2` or `ldm`.
        scale, shift: by channel or for all: standardised = raw * scale + shift.
        signed: whether the autoencoder sees pixels in [-1, 1]; in [0, 1] otherwise.
    Source: Karras et al. 2024, arXiv:2312.02696, and its StabilityVAEEncoder: pixels in [0, 1], latents shifted and
        scaled to standard deviation 0.5, bytes by truncation. Rombach et al. 2022, arXiv:2112.10752, and Peebles and
        Xie 2023, arXiv:2212.09748: pixels in [-1, 1], one factor, bytes as 127.5 x + 128.
    """

    name: str
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    signed: bool

    def to_pixels(self, images: Tensor) -> Tensor:
        """What the autoencoder is given: images uint8 as float32, of the same shape."""
        x = images.to(torch.float32)
        return x / 127.5 - 1 if self.signed else x / 255

    def to_uint8(self, pixels: Tensor) -> Tensor:
        """What an autoencoder returned, as uint8 images."""
        x = pixels.to(torch.float32)
        x = x * 127.5 + 128 if self.signed else x.clamp(0, 1) * 255
        return x.clamp(0, 255).to(torch.uint8)

    def standardise(self, raw: Tensor) -> Tensor:
        """Latents `[B, C, h, w]` of the autoencoder -> those a diffusion net works on."""
        scale, shift = self._affine(raw)
        return raw * scale + shift

    def restore(self, latents: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        scale, shift = self._affine(latents)
        return (latents - shift) / scale

    def sample(self, moments: Tensor, generator: torch.Generator | None) -> Tensor:
        """One draw of standardised latents `[B, C, h, w]` from means and standard deviations `[B, 2C, h, w]`.

        Args:
            moments: as the autoencoder gave them, not standardised.
            generator: of the normal numbers, on the device of `moments`; None for the mean.
        """
        mean, std = moments.chunk(2, dim=1)
        if generator is not None:
            mean = mean + std * torch.randn(mean.shape, generator=generator, device=mean.device)
        return self.standardise(mean)

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 4 or len(self.scale) not in (1, x.shape[1]):
            raise ValueError(
                f"encoding {self.name}: given latents {tuple(x.shape)}, wanted [B, {len(self.scale)}, h, w]"
            )
        scale, shift = (
            torch.tensor(value, dtype=x.dtype, device=x.device) for value in (self.scale, self.shift)
        )
        return scale[:, None, None], shift[:, None, None]


ENCODINGS = {
    "edm2": Encoding(
        "edm2",
        tuple(_EDM2_TARGET / std for std in _EDM2_STD),
        tuple(-mean * _EDM2_TARGET / std for mean, std in zip(_EDM2_MEAN, _EDM2_STD, strict=True)),
        signed=False,
    ),
    "ldm": Encoding("ldm", (_LDM_SCALE,), (0.0,), signed=True),
}


def encoding(name: str) -> Encoding:
    """A known encoding.

    Raises:
        ValueError: any other name.
    """
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r} is not known; wanted one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
