"""ADM as a denoiser: its U-Net, which predicts noise and variance, in sigma's units.

Source: Dhariwal & Nichol 2021, arXiv:2105.05233; learned variance, Nichol & Dhariwal 2021, arXiv:2102.09672.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidelab.nets.adm_unet import AdmUnet
from guidelab.nets.frozen import required_class
from guidelab.nets.vp import VpNet


class Adm(VpNet):
    """Denoiser `D(x, sigma, cond)` of ADM. The released 256 px network by default.

    Args:
        resolution_px, image_channels, classes: of the images; 0 classes for an unconditional network.
        channels: width of the first level.
        channel_mult: width of each level, relative to `channels`.
        blocks: residual blocks in each level.
        attention_px: sides of the maps that attend to themselves.
        head_channels: channels of one attention head; None for `heads` heads everywhere.
        heads: attention heads where `head_channels` is None.
        scale_shift: embeddings scale and shift (else they are added).
        resblock_updown: levels are joined by residual blocks (else by convolutions, or by nothing learned without
            `learned_resampling`).
        learn_sigma: it also predicts a variance.
        schedule: `linear`, or `cosine` (the released 64 px network).
        dropout: in residual blocks, in training mode only.
        split_first: order of the attention weights, see `AttentionBlock` (the released 64 px network).
        learned_resampling: see `resblock_updown`.
        steps: of the schedule.
        generator: source of the initial weights.
    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        channels: int = 256,
        channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention_px: Sequence[int] = (32, 16, 8),
        head_channels: int | None = 64,
        heads: int = 1,
        scale_shift: bool = True,
        resblock_updown: bool = True,
        learn_sigma: bool = True,
        schedule: str = "linear",
        dropout: float = 0.0,
        split_first: bool = False,
        learned_resampling: bool = True,
        steps: int = 1000,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(resolution_px, image_channels, classes, learn_sigma, schedule, steps)
        self.unet = AdmUnet(
            resolution_px=resolution_px,
            image_channels=image_channels,
            outputs=image_channels * (2 if learn_sigma else 1),
            labels=classes,
            channels=channels,
            channel_mult=channel_mult,
            blocks=blocks,
            attention_px=attention_px,
            head_channels=head_channels,
            heads=heads,
            scale_shift=scale_shift,
            resblock_updown=resblock_updown,
            learned_resampling=learned_resampling,
            split_first=split_first,
            dropout=dropout,
            generator=generator,
        )

    def raw(self, x_vp: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        """See `VpNet.raw`. A conditional network requires a class, an unconditional one ignores it.

        Raises:
            ValueError: it was built with classes and is given none.
        """
        out: Tensor = self.unet(x_vp, steps, required_class(cond, self.classes))
        return out
