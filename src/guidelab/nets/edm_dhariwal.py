"""ADM's U-Net as EDM trains it, with the released parameter names."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.edm_blocks import BlockStyle, Mask, UNetBlock
from guidelab.nets.edm_layers import ClassEmbedding, Conv, GroupNorm, Init, Linear, Positional


class DhariwalUNet(nn.Module):
    """A raw network `F(x, c_noise, cond)`; arguments as in `guidelab.nets.edm.Edm`.

    Attributes:
        enc, dec: blocks by released name, in the order they are evaluated.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233; Karras et al. 2022, arXiv:2206.00364, table 1 and appendix F.1.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        out_channels: int,
        classes: int,
        channels: int,
        channel_mult: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
        augment_dim: int = 0,
        emb_mult: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        third = math.sqrt(1 / 3)
        emb = channels * emb_mult
        init = Init("kaiming_uniform", third, third, generator)
        zero = Init("kaiming_uniform", 0.0, 0.0, generator)
        self.style = BlockStyle(emb=emb, init=init, init_zero=zero, init_attention=init)
        self.map_noise = Positional(channels)
        self.map_augment = Linear(augment_dim, channels, zero, bias=False) if augment_dim else None
        self.map_layer0 = Linear(channels, emb, init)
        self.map_layer1 = Linear(emb, emb, init)
        normal = Init("kaiming_normal", math.sqrt(classes), 0.0, generator)
        self.map_label = ClassEmbedding(classes, emb, normal, bias=False) if classes else None
        self.count = 0
        widths = [channels * mult for mult in channel_mult]
        sides = [resolution_px >> level for level in range(len(widths))]
        self.enc, skips = self._encoder(image_channels, widths, sides, blocks, attention_px)
        self.dec = self._decoder(widths, sides, blocks, attention_px, skips)
        self.out_norm = GroupNorm(widths[0])
        self.out_conv = Conv(widths[0], out_channels, 3, zero)

    def _block(self, inputs: int, outputs: int, **options: bool) -> UNetBlock:
        self.count += 1
        return UNetBlock(inputs, outputs, self.style, self.count - 1, **options)

    def _encoder(
        self,
        image_channels: int,
        widths: Sequence[int],
        sides: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
    ) -> tuple[nn.ModuleDict, list[int]]:
        """Blocks of the encoder, and the channels of their outputs, all of which the decoder reads."""
        enc: dict[str, nn.Module] = {}
        skips: list[int] = []
        width = widths[0]
        for level, side in enumerate(sides):
            name = f"{side}x{side}_"
            if level == 0:
                enc[name + "conv"] = Conv(image_channels, width, 3, self.style.init)
            else:
                enc[name + "down"] = self._block(width, width, down=True)
            skips.append(width)
            for index in range(blocks):
                enc[f"{name}block{index}"] = self._block(width, widths[level], attention=side in attention_px)
                width = widths[level]
                skips.append(width)
        return nn.ModuleDict(enc), skips

    def _decoder(
        self,
        widths: Sequence[int],
        sides: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
        skips: list[int],
    ) -> nn.ModuleDict:
        dec: dict[str, nn.Module] = {}
        last, width = len(widths) - 1, skips[-1]
        for level in range(last, -1, -1):
            side, name = sides[level], f"{sides[level]}x{sides[level]}_"
            if level == last:
                dec[name + "in0"] = self._block(width, width, attention=True)
                dec[name + "in1"] = self._block(width, width)
            else:
                dec[name + "up"] = self._block(width, width, up=True)
            for index in range(blocks + 1):
                dec[f"{name}block{index}"] = self._block(
                    width + skips.pop(), widths[level], attention=side in attention_px
                )
                width = widths[level]
        return nn.ModuleDict(dec)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        cond: Tensor | None,
        augment_labels: Tensor | None = None,
        mask: Mask | None = None,
    ) -> Tensor:
        """`[B, C, H, W]`, `[B]`, classes (see `ClassEmbedding`), `[B, augment_dim]` to `[B, out_channels, H, W]`."""
        emb = self._embedding(c_noise, cond, augment_labels)
        skips: list[Tensor] = []
        for block in self.enc.values():
            x = block(x, emb, mask) if isinstance(block, UNetBlock) else block(x)
            skips.append(x)
        for name, block in self.dec.items():
            x = block(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, emb, mask)
        out: Tensor = self.out_conv(functional.silu(self.out_norm(x), inplace=True))
        return out

    def _embedding(self, c_noise: Tensor, cond: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        emb = self.map_noise(c_noise).to(self.map_layer0.weight.dtype)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        emb = self.map_layer1(functional.silu(self.map_layer0(emb)))
        if self.map_label is not None and cond is not None:
            emb = emb + self.map_label(cond)
        return functional.silu(emb)
