"""The encoder and middle blocks that ADM's U-Net and half U-Nets share."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from guidelab.nets.adm_blocks import AttentionBlock, Downsample, ResBlock, Upsample


@dataclass(frozen=True)
class Levels:
    """Sizes and options of an ADM network.

    Args:
        channels: width that the levels' are relative to; the embedding is four times as long.
        channel_mult: width of each level, relative to `channels`.
        blocks: residual blocks in each level on the way down.
        attention_px: sides of the maps that attend to themselves.
        head_channels: channels of one attention head; None for `heads` heads everywhere.
        heads: attention heads where `head_channels` is None.
        scale_shift: the embedding scales and shifts (else it is added).
        resblock_updown: levels are joined by residual blocks that resample (else by `Downsample` and `Upsample`).
        learned_resampling: those have a convolution.
        split_first: order of the attention weights; see `AttentionBlock`.
        dropout: in residual blocks, in training mode only.
    """

    channels: int
    channel_mult: Sequence[float]
    blocks: int
    attention_px: Sequence[int]
    head_channels: int | None
    heads: int
    scale_shift: bool
    resblock_updown: bool
    learned_resampling: bool
    split_first: bool
    dropout: float

    def width(self, level: int) -> int:
        """Channels of a level."""
        return int(self.channel_mult[level] * self.channels)

    def heads_of(self, width: int) -> int:
        """Attention heads at a width."""
        return self.heads if self.head_channels is None else max(1, width // self.head_channels)

    def block(self, width: int, out: int, down: bool = False, up: bool = False) -> ResBlock:
        """A residual block."""
        return ResBlock(width, 4 * self.channels, out, self.scale_shift, down, self.dropout, up)

    def stage(self, width: int, out: int, side: int) -> list[nn.Module]:
        """A residual block, and attention after it where maps of this side have it."""
        attends = side in self.attention_px
        return [self.block(width, out), *([self.attention(out)] if attends else [])]

    def attention(self, width: int) -> AttentionBlock:
        """Self-attention of a map."""
        return AttentionBlock(width, self.heads_of(width), self.split_first)

    def halve(self, width: int) -> nn.Module:
        """From one level to the next."""
        if self.resblock_updown:
            return self.block(width, width, down=True)
        return Downsample(width, self.learned_resampling)

    def double(self, width: int) -> nn.Module:
        """From one level to the one before it."""
        if self.resblock_updown:
            return self.block(width, width, up=True)
        return Upsample(width, self.learned_resampling)

    def descent(self, resolution_px: int, image_channels: int) -> tuple[nn.ModuleList, list[int], int]:
        """The way down.

        Returns:
            Its blocks, the width after each of them (what skip connections carry), and the side at the bottom.
        Raises:
            ValueError: the resolution cannot be halved often enough.
        """
        last = len(self.channel_mult) - 1
        if resolution_px % 2**last:
            raise ValueError(f"ADM network: {resolution_px} px cannot be halved {last} times")
        widths, side = [self.width(0)], resolution_px
        stack = nn.ModuleList([nn.ModuleList([nn.Conv2d(image_channels, widths[0], 3, padding=1)])])
        for level in range(last + 1):
            for _ in range(self.blocks):
                stack.append(nn.ModuleList(self.stage(widths[-1], self.width(level), side)))
                widths.append(self.width(level))
            if level < last:
                stack.append(nn.ModuleList([self.halve(widths[-1])]))
                widths.append(widths[-1])
                side //= 2
        return stack, widths, side

    def middle(self, width: int) -> nn.ModuleList:
        """Two residual blocks around attention."""
        return nn.ModuleList([self.block(width, width), self.attention(width), self.block(width, width)])


def through(layers: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    """`h [B, C, H, W]` through a list of layers, the residual blocks modulated by the embedding `[B, E]`."""
    for layer in layers:  # type: ignore[attr-defined]
        h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
    return h
