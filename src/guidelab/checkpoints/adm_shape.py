"""Infer the architecture of an ADM network from the names and shapes of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from guidelab.checkpoints.architecture import need
from guidelab.errors import UserError


@dataclass(frozen=True)
class Shape:
    """What parameters reveal about an ADM network (not the sizes of feature maps or the number of heads)."""

    image_channels: int
    labels: int  # rows of the class embedding, or 0
    channels: int
    channel_mult: tuple[float, ...]
    blocks: int
    attention_levels: tuple[int, ...]
    scale_shift: bool
    resblock_updown: bool
    learned_resampling: bool

    @property
    def levels(self) -> int:
        """How many levels there are: maps at the bottom are `2^(levels - 1)` times smaller."""
        return len(self.channel_mult)

    def arguments(self, resolution_px: int) -> dict[str, Any]:
        """Constructor arguments that U-Net and half U-Net share (but for how resampling is called)."""
        return {
            "channels": self.channels,
            "channel_mult": list(self.channel_mult),
            "blocks": self.blocks,
            "attention_px": [resolution_px >> level for level in self.attention_levels],
            "scale_shift": self.scale_shift,
            "learned_resampling": self.learned_resampling,
        }


@dataclass(frozen=True)
class _Block:
    """One entry of the way down."""

    kind: str  # res, conv, none: a resampling without parameters
    enters: int  # channels
    leaves: int
    attends: bool


def shape_of(
    state: Mapping[str, Tensor], what: str, blocks: int | None = None, levels: int | None = None
) -> Shape:
    """Read an architecture.

    Args:
        state: parameters by released name.
        what: kind of network, for messages.
        blocks: residual blocks in a level, where that is known.
        levels: how many there are, where that is known.
    Raises:
        UserError: it is no such network, or several architectures have these parameters.
    """
    time = need(state, "time_embed.0.weight", what)
    first = need(state, "input_blocks.0.0.weight", what)
    need(state, "middle_block.1.qkv.weight", what)
    down = _way_down(state, what)
    found = [b for b in _candidates(state, down) if (blocks or b) == b]
    found = [b for b in found if levels in (None, (len(down) + 1) // (b + 1))]
    if len(found) != 1:
        why = (
            "fit no architecture of ADM"
            if not found
            else f"fit {', '.join(map(str, found))} blocks in a level alike"
        )
        raise UserError(
            f"checkpoint of {what}: the names and widths of its {len(down)} input blocks {why}. Give `blocks`."
        )
    per_level, channels = found[0], time.shape[1]
    heads_of_levels = [down[i] for i in range(0, len(down), per_level + 1)]  # each level's first block
    joins = [down[i] for i in range(per_level, len(down), per_level + 1)]
    embedding = need(state, "input_blocks.1.0.emb_layers.1.weight", what)
    return Shape(
        image_channels=first.shape[1],
        labels=len(state["label_emb.weight"]) if "label_emb.weight" in state else 0,
        channels=channels,
        channel_mult=tuple(_ratio(block.leaves, channels) for block in heads_of_levels),
        blocks=per_level,
        attention_levels=tuple(i for i, block in enumerate(heads_of_levels) if block.attends),
        scale_shift=embedding.shape[0] == 2 * heads_of_levels[0].leaves,
        resblock_updown=all(join.kind == "res" for join in joins),
        learned_resampling=all(join.kind != "none" for join in joins),
    )


def _way_down(state: Mapping[str, Tensor], what: str) -> list[_Block]:
    """The input blocks after the first convolution."""
    last = max(int(name.split(".")[1]) for name in state if name.startswith("input_blocks."))
    width, blocks = need(state, "input_blocks.0.0.weight", what).shape[0], []
    for i in range(1, last + 1):
        name = f"input_blocks.{i}.0"
        kind, after = "none", width
        if f"{name}.in_layers.2.weight" in state:
            kind, after = "res", state[f"{name}.in_layers.2.weight"].shape[0]
        elif f"{name}.op.weight" in state:
            kind = "conv"
        blocks.append(_Block(kind, width, after, f"input_blocks.{i}.1.qkv.weight" in state))
        width = after
    return blocks


def _candidates(state: Mapping[str, Tensor], down: list[_Block]) -> list[int]:
    """Every number of residual blocks in a level that these parameters allow."""
    plain = [i for i, block in enumerate(down) if block.kind != "res"]
    ups = [
        int(name.split(".")[1])
        for name in state
        if name.startswith("output_blocks.")
        and name.split(".")[2] != "0"
        and name.endswith(("in_layers.0.weight", "conv.weight"))
    ]  # an output block that ends with a resampling is the last of its level
    if plain:
        possible = [plain[0]]
    elif ups:
        possible = [min(ups)]
    elif any(name.startswith("output_blocks.") for name in state):
        possible = [len(down)]  # it never resamples: one level
    else:
        possible = [b for b in range(1, len(down) + 1) if (len(down) + 1) % (b + 1) == 0]
    return [b for b in possible if b >= 1 and _consistent(down, b)]


def _consistent(down: list[_Block], per_level: int) -> bool:
    """Whether levels of so many blocks have one width and one kind of block each, and are joined as levels are."""
    if (len(down) + 1) % (per_level + 1):
        return False
    joins = [down[i] for i in range(per_level, len(down), per_level + 1)]
    if len({join.kind for join in joins}) > 1 or any(j.attends or j.enters != j.leaves for j in joins):
        return False
    for start in range(0, len(down), per_level + 1):
        level = down[start : start + per_level]
        alike = all(a.attends == b.attends and a.leaves == b.leaves for a, b in pairwise(level))
        if not alike or any(block.kind != "res" for block in level):
            return False
    return True


def _ratio(width: int, channels: int) -> float:
    return width // channels if width % channels == 0 else width / channels
