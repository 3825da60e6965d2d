"""ADM's U-Net, with the parameter names of the released checkpoints."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidelab.nets.adm_blocks import TimeEmbedding, initialise, normalisation
from guidelab.nets.adm_levels import Levels, through


class AdmUnet(nn.Module):
    """U-Net of ADM: residual blocks modulated by the time step (and the class), attention in some levels.

    Args:
        resolution_px: side of the images; it decides, with `attention_px`, where attention is.
        image_channels: of the input.
        outputs: channels of the output.
        labels: rows of the class embedding added to the time's; 0 for none.
        channels, channel_mult, blocks, attention_px, head_channels, heads, scale_shift, resblock_updown,
            learned_resampling, split_first, dropout: see `Levels`.
        generator: source of the initial weights.
    Raises:
        ValueError: a resolution that cannot be halved often enough, or widths that do not divide into 32 groups.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233.
    """

    def __init__(
        self,
        *,
        resolution_px: int,
        image_channels: int,
        outputs: int,
        labels: int,
        channels: int,
        channel_mult: Sequence[float],
        blocks: int,
        attention_px: Sequence[int],
        head_channels: int | None = 64,
        heads: int = 1,
        scale_shift: bool = True,
        resblock_updown: bool = True,
        learned_resampling: bool = True,
        split_first: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        levels = Levels(
            channels,
            channel_mult,
            blocks,
            attention_px,
            head_channels,
            heads,
            scale_shift,
            resblock_updown,
            learned_resampling,
            split_first,
            dropout,
        )
        self.time_embed = TimeEmbedding(channels)
        if labels:
            self.label_emb = nn.Embedding(labels, 4 * channels)
        self.input_blocks, skips, side = levels.descent(resolution_px, image_channels)
        self.middle_block = levels.middle(skips[-1])
        self.output_blocks = _ascent(levels, skips, side)
        width = levels.width(0)
        self.out = nn.Sequential(normalisation(width), nn.SiLU(), nn.Conv2d(width, outputs, 3, padding=1))
        nn.init.zeros_(self.out[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.out[2].bias)  # type: ignore[arg-type]
        if generator is not None:
            initialise(self, generator)

    def forward(self, x: Tensor, steps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output `[B, outputs, H, W]`.

        Args:
            x: `[B, C, H, W]`, variance-preserving.
            steps: time steps `[B]`, floating, of the schedule it was trained with.
            labels: `[B]` int64, if it was built with labels.
        """
        emb = self.time_embed(steps)
        if labels is not None:
            emb = emb + self.label_emb(labels)
        h, skips = x, []
        for layers in self.input_blocks:
            h = through(layers, h, emb)
            skips.append(h)
        h = through(self.middle_block, h, emb)
        for layers in self.output_blocks:
            h = through(layers, torch.cat([h, skips.pop()], dim=1), emb)
        out: Tensor = self.out(h)
        return out


def _ascent(levels: Levels, skips: Sequence[int], side: int) -> nn.ModuleList:
    """The way up from maps of `side`: one block more per level than on the way down, each given a skip connection."""
    stack, waiting, width = nn.ModuleList(), list(skips), skips[-1]
    for level in reversed(range(len(levels.channel_mult))):
        for number in range(levels.blocks + 1):
            layers = levels.stage(width + waiting.pop(), levels.width(level), side)
            width = levels.width(level)
            if level and number == levels.blocks:
                layers.append(levels.double(width))
                side *= 2
            stack.append(nn.ModuleList(layers))
    return stack
