"""DDPM++ and NCSN++, the U-Nets of Song et al. as EDM trains them, with the released parameter names."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError
from guidelab.nets.edm_blocks import BlockStyle, Mask, UNetBlock
from guidelab.nets.edm_layers import ClassEmbedding, Conv, Fourier, GroupNorm, Init, Linear, Positional

CHOICES = {
    "embedding": ("positional", "fourier"),
    "encoder": ("standard", "skip", "residual"),
    "decoder": ("standard", "skip"),
}
_EPS = 1e-6


class SongUNet(nn.Module):
    """A raw network `F(x, c_noise, cond)`; arguments as in `guidelab.nets.edm.Edm`.

    Attributes:
        enc, dec: blocks by released name, in the order they are evaluated.
    Raises:
        UserError: an embedding, encoder or decoder of another name.
    Source: Song et al. 2021, arXiv:2011.13456; Karras et al. 2022, arXiv:2206.00364, table 1 and appendix F.1.
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
        embedding: str = "positional",
        encoder: str = "standard",
        decoder: str = "standard",
        resample_filter: Sequence[float] = (1, 1),
        noise_mult: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for role, given in (("embedding", embedding), ("encoder", encoder), ("decoder", decoder)):
            if given not in CHOICES[role]:
                raise UserError(
                    f"net edm: given {role} {given!r}, wanted one of {', '.join(CHOICES[role])} (DDPM++, NCSN++)"
                )
        emb, noise = channels * emb_mult, channels * noise_mult
        init = Init("xavier_uniform", generator=generator)
        self.style = BlockStyle(
            emb=emb,
            init=init,
            init_zero=init._replace(weight=1e-5),
            init_attention=init._replace(weight=math.sqrt(0.2)),
            heads=1,
            adaptive_scale=False,
            resample_proj=True,
            skip_scale=math.sqrt(0.5),
            eps=_EPS,
            taps=tuple(resample_filter),
        )
        self.map_noise: nn.Module = (
            Positional(noise, endpoint=True) if embedding == "positional" else Fourier(noise, generator)
        )
        self.map_label = ClassEmbedding(classes, noise, init, True, math.sqrt(classes)) if classes else None
        self.map_augment = Linear(augment_dim, noise, init, bias=False) if augment_dim else None
        self.map_layer0 = Linear(noise, emb, init)
        self.map_layer1 = Linear(emb, emb, init)
        self.count = 0
        widths = [channels * mult for mult in channel_mult]
        sides = [resolution_px >> level for level in range(len(widths))]
        self.enc, skips = self._encoder(
            image_channels, channels, widths, sides, blocks, attention_px, encoder
        )
        self.dec = self._decoder(out_channels, widths, sides, blocks, attention_px, decoder, skips)

    def _block(self, inputs: int, outputs: int, **options: bool) -> UNetBlock:
        self.count += 1
        return UNetBlock(inputs, outputs, self.style, self.count - 1, **options)

    def _encoder(
        self,
        image_channels: int,
        channels: int,
        widths: Sequence[int],
        sides: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
        kind: str,
    ) -> tuple[nn.ModuleDict, list[int]]:
        """Blocks of the encoder, and the channels of each of its outputs that the decoder reads."""
        enc: dict[str, nn.Module] = {}
        skips: list[int] = []
        init, taps = self.style.init, self.style.taps
        width = aux = image_channels
        for level, side in enumerate(sides):
            name = f"{side}x{side}_"
            if level == 0:
                enc[name + "conv"] = Conv(width, channels, 3, init)
                width = channels
            else:
                enc[name + "down"] = self._block(width, width, down=True)
                if kind == "skip":
                    enc[name + "aux_down"] = Conv(aux, aux, 0, init, down=True, taps=taps)
                    enc[name + "aux_skip"] = Conv(aux, width, 1, init)
                if kind == "residual":
                    enc[name + "aux_residual"] = Conv(
                        aux, width, 3, init, down=True, taps=taps, fused_down=True
                    )
                    aux = width
            skips.append(width)
            for index in range(blocks):
                enc[f"{name}block{index}"] = self._block(width, widths[level], attention=side in attention_px)
                width = widths[level]
                skips.append(width)
        return nn.ModuleDict(enc), skips

    def _decoder(
        self,
        out_channels: int,
        widths: Sequence[int],
        sides: Sequence[int],
        blocks: int,
        attention_px: Sequence[int],
        kind: str,
        skips: list[int],
    ) -> nn.ModuleDict:
        dec: dict[str, nn.Module] = {}
        last, width, taps = len(widths) - 1, skips[-1], self.style.taps
        for level in range(last, -1, -1):
            side, name = sides[level], f"{sides[level]}x{sides[level]}_"
            if level == last:
                dec[name + "in0"] = self._block(width, width, attention=True)
                dec[name + "in1"] = self._block(width, width)
            else:
                dec[name + "up"] = self._block(width, width, up=True)
            for index in range(blocks + 1):
                attention = index == blocks and side in attention_px
                dec[f"{name}block{index}"] = self._block(
                    width + skips.pop(), widths[level], attention=attention
                )
                width = widths[level]
            if kind == "skip" and level < last:
                dec[name + "aux_up"] = Conv(
                    out_channels, out_channels, 0, self.style.init, up=True, taps=taps
                )
            if kind == "skip" or level == 0:
                dec[name + "aux_norm"] = GroupNorm(width, _EPS)
                dec[name + "aux_conv"] = Conv(width, out_channels, 3, self.style.init_zero)
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
        x, skips = self._encode(x, emb, mask)
        image: Tensor | None = None
        normed = x
        for name, block in self.dec.items():
            if name.endswith("aux_up"):
                image = block(image)
            elif name.endswith("aux_norm"):
                normed = functional.silu(block(x), inplace=True)
            elif name.endswith("aux_conv"):
                image = block(normed) if image is None else block(normed).add_(image)
            elif "_block" in name:
                x = block(torch.cat([x, skips.pop()], dim=1), emb, mask)
            else:
                x = block(x, emb, mask)
        assert image is not None  # the last level always writes it
        return image

    def _encode(self, x: Tensor, emb: Tensor, mask: Mask | None) -> tuple[Tensor, list[Tensor]]:
        """Output of the encoder, and what the decoder reads of it."""
        aux = x
        skips: list[Tensor] = []
        for name, block in self.enc.items():
            if name.endswith("aux_down"):
                aux = block(aux)
            elif name.endswith("aux_skip"):
                x = skips[-1] = block(aux).add_(x)
            elif name.endswith("aux_residual"):
                x = skips[-1] = aux = block(aux).add_(x).mul_(math.sqrt(0.5))
            else:
                x = block(x, emb, mask) if isinstance(block, UNetBlock) else block(x)
                skips.append(x)
        return x, skips

    def _embedding(self, c_noise: Tensor, cond: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        cosines, sines = self.map_noise(c_noise).to(self.map_layer0.weight.dtype).chunk(2, dim=1)
        emb = torch.cat([sines, cosines], dim=1)  # the order of the released weights
        if self.map_label is not None:
            # no class is a vector of zeros, which leaves the bias
            label: Any = self.map_label.bias if cond is None else self.map_label(cond)
            emb = emb + label
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(emb))))
