"""Convert pretrained EDM checkpoints (2022) to configuration and tensors of `guidelab.nets.edm.Edm`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidelab.checkpoints.architecture import shapes
from guidelab.errors import UserError, closest
from guidelab.nets.edm import SONG, Edm
from guidelab.nets.edm_layers import filter_of
from guidelab.nets.edm_precond import precond_of

# constants of each preconditioning, by released name, and what we call them
_CONSTANTS: Mapping[str, Mapping[str, str]] = {
    "EDMPrecond": {"sigma_min": "sigma_min", "sigma_max": "sigma_max"},
    "VPPrecond": {"beta_d": "beta_d", "beta_min": "beta_min", "M": "steps", "epsilon_t": "epsilon_t"},
    "VEPrecond": {"sigma_min": "sigma_min", "sigma_max": "sigma_max"},
    "iDDPMPrecond": {"C_1": "C_1", "C_2": "C_2", "M": "steps"},
}
_PRECOND = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
_DEFAULT_MODEL = {"VPPrecond": "SongUNet", "VEPrecond": "SongUNet"}  # the others: DhariwalUNet
_NAMES = {
    "img_resolution": "resolution_px",
    "img_channels": "image_channels",
    "label_dim": "classes",
    "model_channels": "channels",
    "channel_mult": "channel_mult",
    "num_blocks": "blocks",
    "attn_resolutions": "attention_px",
    "dropout": "dropout",
    "augment_dim": "augment_dim",
    "sigma_data": "sigma_data",
    "channel_mult_emb": "emb_mult",
    "label_dropout": "label_dropout",
}
_SONG_NAMES = {
    "embedding_type": "embedding",
    "encoder_type": "encoder",
    "decoder_type": "decoder",
    "resample_filter": "resample_filter",
    "channel_mult_noise": "noise_mult",
}
_SIZES = {"label_dim": 0, "augment_dim": 0, "channel_mult_emb": 4, "label_dropout": 0.0, "dropout": 0.1}
# what the released classes take for an argument that was not given
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "SongUNet": {
        **_SIZES,
        "model_channels": 128,
        "channel_mult": [1, 2, 2, 2],
        "num_blocks": 4,
        "attn_resolutions": [16],
        "embedding_type": "positional",
        "encoder_type": "standard",
        "decoder_type": "standard",
        "channel_mult_noise": 1,
        "resample_filter": [1, 1],
    },
    "DhariwalUNet": {
        **_SIZES,
        "model_channels": 192,
        "channel_mult": [1, 2, 3, 4],
        "num_blocks": 3,
        "attn_resolutions": [32, 16, 8],
    },
}
_IGNORED = ("precond", "model_type", "use_fp16")  # precision is chosen where samples are drawn


def convert(
    state: Mapping[str, Tensor], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of one released network.

    Args:
        state: parameters and buffers by released name (`model.enc....`).
        kwargs: arguments of the released preconditioner (`_init_kwargs`), and as `precond` the name of its class;
            `EDMPrecond` when absent.
    Returns:
        Config of the net (`name` is `edm`; the rest are arguments of `Edm`), and its state dict in float32.
    Raises:
        UserError: a class or an argument that is not known, a tensor that is missing, unexpected or of another shape.
    """
    config = config_of(kwargs)
    wanted = shapes(Edm, config)
    style = {**SONG.get(config["architecture"], {}), **config}
    taps: Sequence[float] = style.get("resample_filter", (1, 1))
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(".resample_filter"):
            _check_filter(name, value, taps)
        else:
            tensors[_ours(name)] = value.to(torch.float32)
    if "precond.u" in wanted and "precond.u" not in tensors:  # a table that follows from the configuration
        tensors["precond.u"] = precond_of("iddpm", config.get("precond_options", {})).state_dict()["u"]
    _check_tensors(tensors, wanted)
    return config, {name: tensors[name].contiguous() for name in wanted}


def config_of(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of our net that a released network's arguments stand for; see `convert`."""
    precond = str(kwargs.get("precond", "EDMPrecond")).rpartition(".")[2]
    if precond not in _PRECOND:
        raise UserError(f"EDM checkpoint: given class {precond!r}, wanted one of {', '.join(_PRECOND)}")
    model = str(kwargs.get("model_type") or _DEFAULT_MODEL.get(precond, "DhariwalUNet"))
    if model not in _DEFAULTS:
        raise UserError(f"EDM checkpoint: given model_type {model!r}, wanted one of {', '.join(_DEFAULTS)}")
    names = {**_NAMES, **(_SONG_NAMES if model == "SongUNet" else {})}
    if precond != "EDMPrecond":
        del names["sigma_data"]
    constants = _CONSTANTS[precond]
    known = [*names, *constants, *_IGNORED]
    unknown = [key for key in kwargs if key not in known]
    if unknown:
        raise UserError(
            f"EDM checkpoint: {precond} with {model} has no argument {', '.join(unknown)}"
            f"{closest(unknown[0], known)}"
        )
    missing = [key for key in ("img_resolution", "img_channels") if key not in kwargs]
    if missing:
        raise UserError(f"EDM checkpoint: its configuration lacks {', '.join(missing)}")
    merged = {**_DEFAULTS[model], **{key: value for key, value in kwargs.items() if key in names}}
    ours = {names[key]: _plain(value) for key, value in merged.items()}
    options = {
        constants[key]: int(value) if key == "M" else float(value)
        for key, value in kwargs.items()
        if key in constants and math.isfinite(value)  # no limit is the default
    }
    config = {"name": "edm", **ours, "precond": _PRECOND[precond], "architecture": "adm"}
    if options:
        config["precond_options"] = options
    if model == "SongUNet":
        config["architecture"] = "ncsnpp" if ours["embedding"] == "fourier" else "ddpmpp"
        preset = SONG[config["architecture"]]
        for name in _SONG_NAMES.values():  # what the architecture says already is not repeated
            if _plain(preset[name]) == config[name]:
                del config[name]
    return config


def _plain(value: Any) -> Any:
    """Lists of numbers, so that the configuration reads the same after a trip through JSON."""
    return list(value) if isinstance(value, list | tuple) else value


def _ours(name: str) -> str:
    if name == "u":
        return "precond.u"
    return "unet." + name.removeprefix("model.") if name.startswith("model.") else name


def _released(name: str) -> str:
    return "u" if name == "precond.u" else "model." + name.removeprefix("unet.")


def _check_filter(name: str, value: Tensor, taps: Sequence[float]) -> None:
    """The filter in the file must be the one its configuration names: ours is made from the configuration."""
    wanted = filter_of(torch.tensor(list(taps), dtype=torch.float32))
    if value.shape != wanted.shape or not torch.allclose(value.to(torch.float32), wanted, rtol=1e-3):
        raise UserError(
            f"EDM checkpoint: {name} {tuple(value.shape)} is not the filter its configuration names "
            f"(resample_filter {list(taps)})"
        )


def _check_tensors(tensors: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]) -> None:
    missing = [_released(name) for name in wanted if name not in tensors]
    unexpected = [
        _released(name) if name.startswith("unet.") else name for name in tensors if name not in wanted
    ]
    shaped = [
        f"{_released(name)} is {tuple(tensors[name].shape)}, wanted {tuple(size)}"
        for name, size in wanted.items()
        if name in tensors and tensors[name].shape != size
    ]
    if missing or unexpected or shaped:
        parts = [_some("lacks", missing), _some("has unexpected", unexpected), _some("shapes:", shaped)]
        raise UserError(
            f"EDM checkpoint: does not fit its own configuration: {'; '.join(part for part in parts if part)}. "
            "Is it the file of another network?"
        )


def _some(what: str, names: list[str]) -> str:
    """The first few of the names, and how many there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}" if names else ""
