"""Block specification of the EDM2 U-Net: names in the released checkpoints, channels and skip connections, in order."""

from collections.abc import Sequence
from typing import NamedTuple

from guidelab.nets.edm2_block import Resample


class BlockPlan(NamedTuple):
    """One block of the encoder or decoder.

    Attributes:
        name: key in the encoder's or decoder's module dictionary.
        inputs, outputs: channels; the inputs include those of the skip.
        resample: what the block does to its input, without the skip.
        attention: whether it is followed by attention (if it has channels for a head).
        skip: channels that come from the encoder, 0 for none (decoder only).
    """

    name: str
    inputs: int
    outputs: int
    resample: Resample
    attention: bool
    skip: int = 0


class Plan(NamedTuple):
    """A whole U-Net: the first convolution's output is a skip itself (`stem_skip`) except in lean nets."""

    stem: str
    channels: int
    stem_skip: bool
    encoder: tuple[BlockPlan, ...]
    decoder: tuple[BlockPlan, ...]


def plan(
    resolution_px: int, level_channels: Sequence[int], blocks: int, attention_px: Sequence[int], lean: bool
) -> Plan:
    """The blocks of a U-Net; arguments as in `guidelab.nets.edm2_unet.UNet`.

    Source: Karras et al. 2024, arXiv:2312.02696, figure 21 (config G); `lean` is ours.
    """
    levels = [(resolution_px >> level, channels) for level, channels in enumerate(level_channels)]
    encoder = _encoder(levels, blocks, attention_px, lean)
    skips = [] if lean else [level_channels[0]]
    skips += [block.outputs for block in encoder]
    decoder = _decoder(levels, blocks, attention_px, lean, encoder[-1].outputs, skips)
    px = levels[0][0]
    return Plan(f"{px}x{px}_conv", level_channels[0], not lean, tuple(encoder), tuple(decoder))


def _encoder(
    levels: list[tuple[int, int]], blocks: int, attention_px: Sequence[int], lean: bool
) -> list[BlockPlan]:
    made: list[BlockPlan] = []
    here = levels[0][1]
    for level, (px, channels) in enumerate(levels):
        if level and not lean:
            made.append(BlockPlan(f"{px}x{px}_down", here, here, "down", False))
        for index in range(blocks):
            resample: Resample = "down" if lean and level and index == 0 else "keep"
            made.append(BlockPlan(f"{px}x{px}_block{index}", here, channels, resample, px in attention_px))
            here = channels
    return made


def _decoder(
    levels: list[tuple[int, int]],
    blocks: int,
    attention_px: Sequence[int],
    lean: bool,
    here: int,
    skips: list[int],
) -> list[BlockPlan]:
    made: list[BlockPlan] = []
    left = list(skips)
    bottom = levels[-1][0]
    for px, channels in reversed(levels):
        if px == bottom:
            made.append(BlockPlan(f"{px}x{px}_in0", here, here, "keep", True))
        if px == bottom and not lean:
            made.append(BlockPlan(f"{px}x{px}_in1", here, here, "keep", False))
        elif px != bottom and not lean:
            made.append(BlockPlan(f"{px}x{px}_up", here, here, "up", False))
        for index in range(blocks if lean else blocks + 1):
            skip = left.pop()
            resample: Resample = "up" if lean and px != bottom and index == 0 else "keep"
            name, attention = f"{px}x{px}_block{index}", px in attention_px
            made.append(BlockPlan(name, here + skip, channels, resample, attention, skip))
            here = channels
    return made
