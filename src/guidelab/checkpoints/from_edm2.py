"""Released EDM2 networks in the names of `guidelab.nets.edm2`."""

from typing import Any

from torch import Tensor

from guidelab.checkpoints.architecture import fits
from guidelab.errors import UserError
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
}
_DEFAULTS = {"model_channels": 192, "attn_resolutions": [16, 8], "label_dim": 0}  # of the released class
# What our net does not vary: the released value.
_FIXED: dict[str, tuple[Any, ...]] = {
    "use_fp16": (True, False),
    "logvar_channels": (128,),
    "channel_mult_noise": (None, 1),
    "channel_mult_emb": (None,),
    "label_balance": (0.5,),
    "concat_balance": (0.5,),
    "res_balance": (0.3,),
    "attn_balance": (0.3,),
    "clip_act": (256,),
    "resample_filter": ([1, 1],),
}


def convert(state: dict[str, Tensor], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration (with `name`) and state dict of our net.

    Args:
        state: parameters by their released names, which our net shares; any float dtype, kept (released: float16).
        kwargs: what the released class was constructed with.
    Raises:
        UserError: a setting our net does not have, or parameters that do not fit.
    """
    given = {key: value for key, value in kwargs.items() if key != "precond"}
    for key, value in given.items():
        if key not in _NAMES and value not in _FIXED.get(key, ()):
            known = f"wanted {_FIXED[key][-1]!r}" if key in _FIXED else "which is not known"
            raise UserError(f"EDM2 weights: were made with {key}={value!r}, {known}")
    config: dict[str, Any] = {_NAMES[k]: v for k, v in (_DEFAULTS | given).items() if k in _NAMES}
    missing = [key for key in ("img_resolution", "img_channels") if _NAMES[key] not in config]
    if missing:
        raise UserError(f"EDM2 weights: were made without {', '.join(missing)}; the file is no EDM2 network")
    try:
        fits(Edm2, {"name": "edm2", **config}, state)
    except TypeError as error:  # a width or depth that is no number
        raise UserError(f"EDM2 weights: no such network can be built from {config} ({error})") from error
    return {"name": "edm2", **config}, dict(state)
