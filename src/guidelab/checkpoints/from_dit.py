"""Convert pretrained DiT checkpoints for `guidelab.nets.dit.Dit`: the architecture is inferred from names and shapes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidelab.checkpoints.architecture import fits, known, need
from guidelab.errors import UserError
from guidelab.nets.dit import Dit

_WHAT = "DiT"
_HEADS = {1152: 16, 1024: 16, 768: 12, 384: 6}  # of DiT-XL, -L, -B, -S, by width; arXiv:2212.09748, table 1


def convert(
    state: Mapping[str, Tensor], hints: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration (`name: dit`) and tensors of a released network.

    Args:
        state: parameters by released name.
        hints: `heads`, which cannot be inferred: needed for widths that are not the paper's; `schedule` and `steps`
            of the diffusion (else `linear`, 1000).
    Returns:
        Constructor arguments of `Dit`, and its state.
    Raises:
        UserError: the parameters are not those of such a network, or its number of heads is not known.
    """
    given = known(hints, ("heads", "schedule", "steps"), _WHAT)
    patches = need(state, "x_embedder.proj.weight", _WHAT)  # [width, C, patch, patch]
    places = need(state, "pos_embed", _WHAT)  # [1, T, width]
    last = need(state, "final_layer.linear.weight", _WHAT)  # [patch * patch * outputs, width]
    hidden = need(state, "blocks.0.mlp.fc1.weight", _WHAT)
    rows = len(need(state, "y_embedder.embedding_table.weight", _WHAT))
    width, channels, patch_px, _ = patches.shape
    if "heads" not in given and width not in _HEADS:
        raise UserError(f"checkpoint of DiT: the width {width} is none of {sorted(_HEADS)}; give `heads`")
    side = round(places.shape[1] ** 0.5)
    outputs = last.shape[0] / patch_px**2
    if outputs not in (channels, 2 * channels):
        raise UserError(
            f"checkpoint of DiT: has {channels} input and {outputs:g} output channels; wanted equal numbers, or twice as many outputs"
        )
    config = {
        "name": "dit",
        "resolution_px": side * patch_px,
        "image_channels": channels,
        "classes": rows - 1,
        "patch_px": patch_px,
        "width": width,
        "depth": 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        "heads": given.get("heads") or _HEADS[width],
        "learn_sigma": outputs == 2 * channels,
        "schedule": given.get("schedule", "linear"),
        "mlp_ratio": len(hidden) / width,
        **({"steps": given["steps"]} if "steps" in given else {}),
    }
    tensors = {f"transformer.{name}": value for name, value in state.items()}
    fits(Dit, config, tensors)
    return config, tensors
