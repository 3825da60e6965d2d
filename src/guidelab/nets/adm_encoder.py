"""ADM's half U-Net: the noisy classifier of classifier guidance, extractor and head of discriminator guidance."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidelab.nets.adm_blocks import AttentionPool, TimeEmbedding, initialise, normalisation
from guidelab.nets.adm_levels import Levels, through


class AdmEncoder(nn.Module):
    """Half a U-Net with attention pooling; parameters are named as in the released checkpoints.

    Args:
        resolution_px: side of the input.
        image_channels: of the input.
        outputs: length of the output.
        channels: width of the first level.
        channel_mult: width of each level, relative to `channels`.
        blocks: residual blocks in each level.
        attention_px: sides of the maps that attend to themselves.
        head_channels: channels of one attention head; None for `heads` heads everywhere.
        heads: attention heads where `head_channels` is None.
        scale_shift: the embedding scales and shifts (else it is added).
        resblock_down: levels are joined by a residual block that averages (else by a strided convolution, or a
            plain average without `learned_resampling`).
        split_first: order of the attention weights; see `AttentionBlock`.
        pool: `attention`, or `adaptive` (the mean over positions).
        labels: rows of a class embedding added to the time's; 0 for none.
        dropout: in residual blocks, in training mode only.
        generator: source of the initial weights.
    Raises:
        ValueError: a pooling of another name, or a resolution that cannot be halved often enough.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233; label embedding, Kim et al. 2023, arXiv:2211.17091.
    """

    def __init__(
        self,
        *,
        resolution_px: int,
        image_channels: int,
        outputs: int,
        channels: int = 128,
        channel_mult: Sequence[float] = (1, 2, 4),
        blocks: int = 4,
        attention_px: Sequence[int] = (32, 16, 8),
        head_channels: int | None = 64,
        heads: int = 1,
        scale_shift: bool = True,
        resblock_down: bool = True,
        learned_resampling: bool = True,
        split_first: bool = False,
        pool: str = "attention",
        labels: int = 0,
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
            resblock_down,
            learned_resampling,
            split_first,
            dropout,
        )
        self.time_embed = TimeEmbedding(channels)
        if labels:
            self.label_emb = nn.Embedding(labels, 4 * channels)
        self.input_blocks, widths, side = levels.descent(resolution_px, image_channels)
        width = widths[-1]
        self.middle_block = levels.middle(width)
        self.out = _pooling(pool, side, width, levels.heads_of(width), outputs)
        self.feature_shape = (width, side, side)
        if generator is not None:
            initialise(self, generator)

    def features(self, x: Tensor, steps: Tensor, labels: Tensor | None = None) -> Tensor:
        """The map after the middle block, `[B, *feature_shape]`.

        Args:
            x: `[B, C, H, W]`, variance-preserving.
            steps: time steps `[B]`, 0 to 999.
            labels: `[B]` int64, if it was built with labels.
        """
        emb = self.time_embed(steps)
        if labels is not None:
            emb = emb + self.label_emb(labels)
        h = x
        for layers in [*self.input_blocks, self.middle_block]:
            h = through(layers, h, emb)
        return h

    def forward(self, x: Tensor, steps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output `[B, outputs]` of the pooled features; arguments as in `features`."""
        out: Tensor = self.out(self.features(x, steps, labels))
        return out


def _pooling(pool: str, side: int, width: int, heads: int, outputs: int) -> nn.Sequential:
    """From the last map to the output; positions in the list are those of the released names."""
    if pool == "attention":
        return nn.Sequential(normalisation(width), nn.SiLU(), AttentionPool(side, width, heads, outputs))
    if pool == "adaptive":
        last = nn.Conv2d(width, outputs, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        return nn.Sequential(normalisation(width), nn.SiLU(), nn.AdaptiveAvgPool2d(1), last, nn.Flatten())
    raise ValueError(f"AdmEncoder: pool {pool!r} is not known; wanted 'attention' or 'adaptive'")
