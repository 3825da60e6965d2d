"""Read Stable Diffusion's autoencoder in the format of diffusers: a folder, or weights next to a config.json."""

from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from guidelab.checkpoints.tensors import read_tensors
from guidelab.data.strict_json import read_json
from guidelab.errors import UserError, brief

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
CONFIG = "config.json"
MAX_CONFIG = 1 << 16
KIND = "AutoencoderKL"
# Names of attention layers before diffusers 0.18, in which the released files are written.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def files(path: str | Path) -> list[Path]:
    """The files an autoencoder is read from: its config.json, then its weights.

    Args:
        path: the folder, or the weights' file with a config.json in the same folder (or `<name>.json`).
    Raises:
        UserError: one is absent; says which names were looked for.
    """
    given = Path(path)
    if given.is_dir():
        weights = next((given / name for name in WEIGHTS if (given / name).is_file()), None)
        configs = [given / CONFIG]
    else:
        weights = given if given.is_file() else None
        configs = [given.with_suffix(".json"), given.parent / CONFIG]
    config = next((c for c in configs if c.is_file()), None)
    if weights is None:
        raise UserError(
            f"{given}: holds no autoencoder; wanted {' or '.join(WEIGHTS)}, and {CONFIG} in the same folder"
        )
    if config is None:
        raise UserError(f"{given}: its {CONFIG} is absent; fetch it from where the weights came from")
    return [config, weights]


def names(file: str) -> set[str]:
    """The paths that a row's folder, or its file of weights, may be read from; see `files`."""
    own = PurePosixPath(file)
    configs = {own.with_suffix(".json"), own.parent / CONFIG}
    return {str(path) for path in {own, *(own / name for name in (*WEIGHTS, CONFIG)), *configs}}


def read_autoencoder(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of diffusers' AutoencoderKL, and its state dict by the present names of its layers.

    Raises:
        UserError: a file is absent, broken or of another model.
    """
    config_file, weights = files(path)
    if config_file.stat().st_size > MAX_CONFIG:
        raise UserError(f"{config_file}: more than {MAX_CONFIG} bytes; wanted an autoencoder's settings")
    try:
        found = read_json(config_file.read_bytes())
    except ValueError as error:
        raise UserError(f"{config_file}: is not JSON ({brief(error)})") from error
    if not isinstance(found, dict) or found.get("_class_name") != KIND:
        given = found.get("_class_name") if isinstance(found, dict) else type(found).__name__
        raise UserError(f"{config_file}: describes {given}, wanted diffusers' {KIND}")
    config = {key: value for key, value in found.items() if not key.startswith("_")}
    tensors = {_present(name): tensor for name, tensor in read_tensors(weights).items()}
    first, latent = tensors.get("encoder.conv_in.weight"), config.get("latent_channels")
    if first is None or "decoder.conv_out.weight" not in tensors or type(latent) is not int:
        raise UserError(
            f"{weights}: lacks encoder.conv_in.weight or decoder.conv_out.weight, or {config_file.name} lacks latent_channels; "
            f"wanted the folder of a diffusers {KIND}"
        )
    if tensors["decoder.conv_in.weight"].shape[1] != latent or first.shape[1] != config.get("in_channels"):
        raise UserError(
            f"{weights}: has {first.shape[1]} image channels and {tensors['decoder.conv_in.weight'].shape[1]} of latents, "
            f"but {config_file.name} says {config.get('in_channels')} and {latent}: they are of two models"
        )
    return config, _squeezed(tensors)


def _present(name: str) -> str:
    """A layer's name as diffusers has it now."""
    parts = name.split(".")
    if "attentions" in parts and len(parts) > 1 and parts[-2] in _RENAMED:
        parts[-2] = _RENAMED[parts[-2]]
    return ".".join(parts)


def _squeezed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention written as 1x1 convolutions, as linear layers: [O, I, 1, 1] -> [O, I]."""
    return {
        name: t[:, :, 0, 0].contiguous() if ".attentions." in name and t.ndim == 4 else t
        for name, t in tensors.items()
    }
