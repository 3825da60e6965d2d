"""Encode images to latents and decode them, in batches, with diffusers' AutoencoderKL."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.latents import encoding as encoding_of
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.metrics.torchvision_repair import import_torchvision

KIND = "autoencoder"
BATCH = 8  # images: at 512 px a decoder's activations take about 1 GiB each in float32
_PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_autoencoder(
    path: str | Path, config: dict[str, Any], tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Write an autoencoder in the form `load_autoencoder` reads.

    Args:
        path: a safetensors file.
        config: as in diffusers' config.json; entries that begin with an underscore are left out.
        tensors: by the names diffusers has now.
        meta: further entries of the description: where the file comes from.
    """
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    save_arrays(path, tensors, {**meta, "kind": KIND, "config": kept})


def load_autoencoder(
    path: str | Path, device: torch.device | str = "cpu", precision: str = "float32"
) -> "Autoencoder":
    """Read a file of `save_autoencoder`.

    Args:
        path: the file.
        device: where to work.
        precision: `float32`, `float16` or `bfloat16` of weights and activations; on a CPU always float32.
    Raises:
        UserError: no such file, one of another kind, weights that do not fit the description, or diffusers missing.
        ValueError: an unknown precision.
    """
    if precision not in _PRECISIONS:
        raise ValueError(
            f"load_autoencoder: given precision {precision!r}, wanted one of {', '.join(_PRECISIONS)}"
        )
    tensors, meta = load_arrays(path)
    if meta.get("kind") != KIND or not isinstance(meta.get("config"), dict):
        raise UserError(f"{path}: holds {meta.get('kind', 'something else')!r}, wanted an autoencoder")
    net = _built(path, meta["config"])
    _fill(path, net, tensors)
    device = torch.device(device)
    dtype = torch.float32 if device.type == "cpu" else _PRECISIONS[precision]
    return Autoencoder(net.to(device, dtype), dtype)


class Autoencoder:
    """An autoencoder ready to be called; without gradients, in evaluation mode.

    Attributes:
        channels: of its latents.
        factor: an image's side relative to its latent's.
        device: where it works, and where results are.
    """

    def __init__(self, net: Any, dtype: torch.dtype):
        self._net, self._dtype = net.eval().requires_grad_(False), dtype
        self.channels = int(net.config.latent_channels)
        self.factor = 2 ** (len(net.config.block_out_channels) - 1)
        self.device = next(net.parameters()).device

    def encode(self, images: Tensor, encoding: str, batch: int = BATCH) -> Tensor:
        """Means and standard deviations of the latents, as the autoencoder gives them: not standardised.

        Args:
            images: `[B, 3, H, W]` uint8 on any device; sides are multiples of `factor`.
            encoding: `edm2` or `ldm`: how pixels are scaled.
            batch: how many at a time.
        Returns:
            `[B, 2 channels, H / factor, W / factor]` float32; first means, then deviations.
        Raises:
            ValueError: another dtype or shape, or an unknown encoding.
        """
        how = encoding_of(encoding)
        sides = images.shape[2:]
        if (
            images.dtype != torch.uint8
            or images.ndim != 4
            or images.shape[1] != 3
            or any(s % self.factor for s in sides)
        ):
            raise ValueError(
                f"Autoencoder.encode: given {images.dtype} {tuple(images.shape)}, wanted uint8 [B, 3, H, W], sides "
                f"multiples of {self.factor}"
            )
        found = []
        with torch.no_grad():
            for part in torch.split(images, batch):
                posterior = self._net.encode(how.to_pixels(part.to(self.device)).to(self._dtype)).latent_dist
                found.append(torch.cat([posterior.mean, posterior.std], dim=1).float())
        return torch.cat(found)

    def decode(self, latents: Tensor, encoding: str, batch: int = BATCH) -> Tensor:
        """Images of standardised latents.

        Args:
            latents: `[B, channels, h, w]` as a diffusion net gives them.
            encoding: `edm2` or `ldm`: how latents are standardised, and how pixels become bytes.
            batch: how many at a time.
        Returns:
            `[B, 3, h factor, w factor]` uint8.
        Raises:
            ValueError: another shape, or an unknown encoding.
        """
        how = encoding_of(encoding)
        if latents.ndim != 4 or latents.shape[1] != self.channels:
            raise ValueError(
                f"Autoencoder.decode: given {tuple(latents.shape)}, wanted [B, {self.channels}, h, w]"
            )
        found = []
        with torch.no_grad():
            for part in torch.split(latents, batch):
                raw = how.restore(part.to(self.device, torch.float32))
                pixels = self._net.decode(raw.to(self._dtype)).sample
                if not bool(torch.isfinite(pixels).all()):  # as bytes they would be black, and counted
                    raise UserError(
                        f"autoencoder: decoded pixels are not finite in {self._dtype}. Decode in float32."
                    )
                found.append(how.to_uint8(pixels))
        return torch.cat(found)


def build(config: dict[str, Any]) -> nn.Module:
    """An autoencoder of a configuration, with random weights.

    Raises:
        UserError: diffusers is not installed.
        ValueError, TypeError: diffusers does not know the configuration.
    """
    import_torchvision()  # diffusers imports it, and it may lack what a CPU build of torch needs
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise UserError(
            f"autoencoders need the package diffusers, which is missing ({error}). Install it: pip install 'guidelab[vae]'"
        ) from error
    make: Any = AutoencoderKL  # carries no types
    net: nn.Module = make(**{key: value for key, value in config.items() if not key.startswith("_")})
    return net


def check_weights(path: str | Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuse weights that are not those of the autoencoder a configuration describes.

    Raises:
        UserError: they are not, or diffusers is not installed.
    """
    _fill(path, _built(path, config), tensors)


def _built(path: str | Path, config: dict[str, Any]) -> Any:
    try:
        return build(config)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: diffusers does not know its configuration ({error}). Import the released file again."
        ) from error


def _fill(path: str | Path, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load weights; every one must be there and fit."""
    own = net.state_dict()
    odd = sorted(own.keys() ^ tensors.keys()) or sorted(n for n in own if own[n].shape != tensors[n].shape)
    if odd:
        raise UserError(
            f"{path}: its weights do not fit its configuration: {', '.join(odd[:3])}{' ...' if len(odd) > 3 else ''} is "
            "missing, unexpected or of another shape. Import the released file again, with its config.json."
        )
    net.load_state_dict(tensors)
