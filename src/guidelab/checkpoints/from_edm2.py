"""Convert pretrained EDM2 checkpoints to configuration and tensors of `guidelab.nets.edm2`."""

import math
from typing import Any

from torch import Tensor

from guidelab.checkpoints.architecture import fits
from guidelab.data import limits
from guidelab.errors import UserError, closest
from guidelab.nets.edm2 import Edm2

_NAMES = {
    "img_resolution": "resolution_px",
    "img_channels": "image_channels",
    "label_dim": "classes",
    "model_channels": "channels",
    "channel_mult": "channel_mult",
    "num_blocks": "blocks",
    "attn_resolutions": "attention_px",
    "sigma_data": "sigma_data",
    "channels_per_head": "head_channels",
    "dropout": "dropout",
    "channel_mult_noise": "noise_mult",
    "channel_mult_emb": "emb_mult",
    "logvar_channels": "logvar_channels",
    "label_balance": "label_balance",
    "concat_balance": "concat_balance",
    "res_balance": "res_balance",
    "attn_balance": "attn_balance",
    "clip_act": "clip_act",
    "resample_filter": "resample_filter",
}
# Defaults of the class that are also defaults of our net: not repeated in a configuration.
_SAME = {
    "channel_mult_noise": None, "channel_mult_emb": None, "logvar_channels": 128, "label_balance": 0.5, "concat_balance": 0.5,
    "res_balance": 0.3, "attn_balance": 0.3, "clip_act": 256, "resample_filter": [1, 1],
}  # fmt: skip
_DEFAULTS = {"model_channels": 192, "attn_resolutions": [16, 8], "label_dim": 0}  # of the released class
_LARGEST = 1e6  # of any setting
_IGNORED = ("use_fp16", "precond")  # precision is chosen where samples are drawn


def convert(state: dict[str, Tensor], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration (with `name`) and state dict of our net.

    Args:
        state: parameters by their released names, which our net shares; any float dtype, kept (released: float16).
        kwargs: what the released class was constructed with.
    Raises:
        UserError: a setting our net does not have, or parameters that do not fit.
    """
    given = {key: value for key, value in kwargs.items() if key not in _IGNORED}
    for key, value in given.items():
        if key not in _NAMES:
            raise UserError(
                f"EDM2 weights: were made with {key}={str(value)[:80]}, which is not known{closest(key, list(_NAMES))}"
            )
    given = {key: value for key, value in given.items() if key not in _SAME or value != _SAME[key]}
    config: dict[str, Any] = {_NAMES[k]: v for k, v in (_DEFAULTS | given).items() if k in _NAMES}
    missing = [key for key in ("img_resolution", "img_channels") if _NAMES[key] not in config]
    if missing:
        raise UserError(f"EDM2 weights: were made without {', '.join(missing)}; the file is no EDM2 network")
    if not (_is_sized(config) and _has_valid_settings(config)):
        raise UserError(f"EDM2 weights: no such network can be built from {str(config)[:300]}")
    try:
        fits(Edm2, {"name": "edm2", **config}, state)
    except (
        TypeError,
        ValueError,
        ZeroDivisionError,
        OverflowError,
        RuntimeError,
    ) as error:  # settings that are no numbers, or too large
        raise UserError(f"EDM2 weights: no such network can be built from {config} ({error})") from error
    return {"name": "edm2", **config}, dict(state)


def _is_sized(config: dict[str, Any]) -> bool:
    """Whether the sizes are whole numbers within the budget, so that building the net to compare with costs little."""
    most = {
        "channels": limits.NET_CHANNELS,
        "blocks": limits.NET_BLOCKS,
        "head_channels": limits.NET_CHANNELS,
    }
    most |= {
        "resolution_px": limits.NET_CHANNELS,
        "image_channels": limits.NET_CHANNELS,
        "logvar_channels": limits.NET_CHANNELS,
    }
    mult = config.get("channel_mult") or [1]
    return (
        all(type(config.get(key, 1)) is int and 1 <= config.get(key, 1) <= top for key, top in most.items())
        and type(config["classes"]) is int
        and 0 <= config["classes"] <= 1 << 20
        and isinstance(mult, list | tuple)
        and len(mult) <= limits.NET_LEVELS
        and all(
            isinstance(m, int | float) and 0 < m * config["channels"] <= limits.NET_CHANNELS for m in mult
        )
    )


def _has_valid_settings(config: dict[str, Any]) -> bool:
    """Whether the settings that no shape of the net shows are numbers it can compute with."""
    taps, attention = config.get("resample_filter", [1, 1]), config["attention_px"]
    return (
        _is_number(config.get("sigma_data", 0.5), above=0)
        and _is_number(config.get("dropout", 0), least=0, below=1)
        and isinstance(taps, list | tuple)
        and len(taps) <= limits.NET_LEVELS
        and all(map(_is_number, taps))
        and isinstance(attention, list | tuple)
        and all(type(px) is int for px in attention)
    )


def _is_number(
    value: Any, least: float = -_LARGEST, above: float = -math.inf, below: float = math.inf
) -> bool:
    """Whether a value is a number within bounds; truth values and NaN are none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and least <= value <= _LARGEST and above < value < below
