"""One block of the EDM2 U-Net: resampling, a modulated residual branch, attention. Activations `[B, H, W, C]`."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.edm2_layers import (
    SILU,
    MPConv,
    balance,
    conv3x3,
    conv_doubled,
    doubled,
    doubling,
    halved,
    resampled,
    unit,
    unit_,
)

Resample = Literal["keep", "down", "up"]
PLAIN = (1.0, 1.0)  # taps: means of 2x2 pixels, every pixel four times
Mask = Callable[[int, Tensor], Tensor]  # (number of the block, activation [B, H, W, C]) -> masked activation


class Style(NamedTuple):
    """Constants of a net that the paper's configurations share.

    Attributes:
        res_balance, attn_balance: share of the residual branch, and of attention, in the sum with the main branch.
        label_balance: share of the label in the embedding.
        concat_balance: share of the encoder's part in a concatenation.
        clip_act: activations are clipped to this magnitude after every block; None for no clipping.
        resample_filter: taps with which activations are halved and doubled, an even number.
    Source: Karras et al. 2024, arXiv:2312.02696, released code.
    """

    res_balance: float = 0.3
    attn_balance: float = 0.3
    label_balance: float = 0.5
    concat_balance: float = 0.5
    clip_act: float | None = 256.0
    resample_filter: tuple[float, ...] = PLAIN


class BlockWeights(NamedTuple):
    """Effective weights of a block, with the factors of its activations and sums folded in."""

    enter: Tensor | None  # [out, in, 3, 3]; of a block that doubles: the part for what is not doubled, if any
    lift: Tensor | None  # [in, out, 4, 4]: the part for what is doubled (see `doubling`)
    leave: Tensor  # [out, out, 3, 3]
    skip: Tensor | None  # [out, in]
    qkv: Tensor | None  # [3 * out, out]: all queries, all keys, all values
    proj: Tensor | None  # [out, out]


class Block(nn.Module):
    """Encoder or decoder block. Parameters are named as in the released checkpoints.

    Args:
        inputs, skip, outputs, emb_channels: channels in, how many of them from the encoder, out, of the embedding.
        flavor: an encoder block normalises its input pixel by pixel (after the 1x1 convolution, if there is one).
        resample: what happens to the input first, except for the part from the encoder.
        heads: attention heads; 0 for no attention.
        number: place in the net, encoder first, from 0.
        generator: source of the initial weights.
        style: constants of the net.
    Source: Karras et al. 2024, arXiv:2312.02696, figure 21 (config G).
    """

    def __init__(
        self,
        inputs: int,
        skip: int,
        outputs: int,
        emb_channels: int,
        flavor: Literal["enc", "dec"],
        resample: Resample,
        heads: int,
        number: int,
        generator: torch.Generator | None,
        style: Style = Style(),  # noqa: B008 a constant
    ) -> None:
        super().__init__()
        self.keep, self.add = balance(style.res_balance)
        self.attn_keep, self.attn_add = balance(style.attn_balance)
        self.clip, self.filter = style.clip_act, style.resample_filter
        self.flavor, self.resample, self.heads, self.number = flavor, resample, heads, number
        self.inputs, self.skip, self.outputs = inputs, skip, outputs
        self.emb_gain = nn.Parameter(torch.zeros(()))
        self.conv_res0 = MPConv(outputs if flavor == "enc" else inputs, outputs, (3, 3), generator)
        self.emb_linear = MPConv(emb_channels, outputs, (), generator)
        self.conv_res1 = MPConv(outputs, outputs, (3, 3), generator)
        self.conv_skip = MPConv(inputs, outputs, (1, 1), generator) if inputs != outputs else None
        self.attn_qkv = MPConv(outputs, 3 * outputs, (1, 1), generator) if heads else None
        self.attn_proj = MPConv(outputs, outputs, (1, 1), generator) if heads else None

    def weights(self, *, force: bool) -> BlockWeights:
        """Effective weights; `force` normalises the stored ones first (see `MPConv.effective`)."""
        skip = qkv = proj = None
        if self.conv_skip is not None:
            # a decoder block only adds the result to the residual branch, so it carries the sum's factor
            gain = self.keep if self.flavor == "dec" else 1.0
            skip = self.conv_skip.effective(gain, force=force).flatten(1)
        if self.attn_qkv is not None and self.attn_proj is not None:
            raw = self.attn_qkv.effective(force=force).flatten(1)  # rows: head, channel of the head, q/k/v
            qkv = raw.reshape(self.heads, -1, 3, raw.shape[1]).permute(2, 0, 1, 3).reshape(raw.shape)
            proj = self.attn_proj.effective(self.attn_add, force=force).flatten(1)
        enter, lift = self.conv_res0.effective(SILU, force=force), None
        if self.resample == "up" and self.filter == PLAIN:
            lift = doubling(enter[:, : self.inputs - self.skip])
            enter = enter[:, self.inputs - self.skip :]
        return BlockWeights(
            _channels_last(enter) if enter.shape[1] else None,
            lift,
            _channels_last(self.conv_res1.effective(SILU * self.add, force=force)),
            skip,
            qkv,
            proj,
        )

    def run(
        self,
        x: Tensor,
        side: Tensor | None,
        w: BlockWeights,
        scale: Tensor,
        mask: Mask | None,
        overwrite: bool,
    ) -> Tensor:
        """Output `[B, H', W', out]` of `x [B, H, W, in - skip]`.

        Args:
            x: input, left as it is.
            side: the part from the encoder `[B, H', W', skip]`, or None; left as it is.
            w: effective weights.
            scale: factors `[B, out]` of the residual branch's activations, from the embedding.
            mask: drops activations of the residual branch, or None.
            overwrite: intermediate results may be overwritten (no gradient is wanted).
        """
        if self.resample == "down":
            x = halved(x) if self.filter == PLAIN else resampled(x, self.filter, up=False)
        elif self.resample == "up" and w.lift is None:
            x = resampled(x, self.filter, up=True)
        if self.flavor == "enc":
            if w.skip is not None:
                x = functional.linear(x, w.skip)
            x = unit(x)
        if w.lift is None and side is not None:
            x, side = torch.cat([x, side], dim=-1), None
        y = _enter(x, side, w, overwrite)
        y = functional.silu(_times(y, scale[:, None, None, :], overwrite), inplace=overwrite)
        if mask is not None:
            y = mask(self.number, y)
        x = self._rejoin(conv3x3(y, w.leave), x, side, w, overwrite)
        if w.qkv is not None and w.proj is not None:
            x = _add(_attend(x, w.qkv, w.proj, self.heads, overwrite), x, self.attn_keep, overwrite)
        if self.clip is None:
            return x
        return x.clamp_(-self.clip, self.clip) if overwrite else x.clamp(-self.clip, self.clip)

    def _rejoin(self, y: Tensor, x: Tensor, side: Tensor | None, w: BlockWeights, overwrite: bool) -> Tensor:
        """The residual branch's result `y` plus the main branch."""
        factor = self.keep
        if self.flavor == "dec" and w.skip is not None:  # its weights carry the factor
            channels = x.shape[-1]
            side = None if side is None else functional.linear(side, w.skip[:, channels:])
            x, factor = functional.linear(x, w.skip[:, :channels]), 1.0
        elif side is not None:  # doubled, but as wide as the output all the same
            return _add(y, torch.cat([doubled(x), side], dim=-1), factor, overwrite)
        if side is not None:
            y = _add(y, side, factor, overwrite)
        return _add(y, x, factor, overwrite) if w.lift is None else _add_doubled(y, x, factor, overwrite)


def _enter(x: Tensor, side: Tensor | None, w: BlockWeights, overwrite: bool) -> Tensor:
    """First convolution of the residual branch, after its activation."""
    if w.lift is None:
        assert w.enter is not None  # only a doubling block may lack it
        return conv3x3(functional.silu(x), w.enter)
    y = conv_doubled(functional.silu(x), w.lift)
    if side is None or w.enter is None:
        return y
    return _add(y, conv3x3(functional.silu(side), w.enter), 1.0, overwrite)


def _add_doubled(y: Tensor, x: Tensor, factor: float, overwrite: bool) -> Tensor:
    """`y [B, 2H, 2W, C]` plus the doubled `x [B, H, W, C]`, which is not made."""
    batch, height, width, channels = x.shape
    pixels = y.reshape(batch, height, 2, width, 2, channels)
    return _add(pixels, x[:, :, None, :, None, :], factor, overwrite).reshape(y.shape)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def _times(y: Tensor, by: Tensor, overwrite: bool) -> Tensor:
    return y.mul_(by) if overwrite else y * by


def _add(y: Tensor, x: Tensor, factor: float, overwrite: bool) -> Tensor:
    return y.add_(x, alpha=factor) if overwrite else torch.add(y, x, alpha=factor)


def _attend(x: Tensor, qkv: Tensor, proj: Tensor, heads: int, overwrite: bool) -> Tensor:
    """Cosine attention over the pixels of `x [B, H, W, C]`: queries, keys and values all have unit magnitude."""
    batch, height, width, channels = x.shape
    flat = functional.linear(x, qkv).reshape(batch, height * width, 3, heads, channels // heads)
    flat = unit_(flat) if overwrite else unit(flat)
    q, k, v = flat.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, pixels, channels of a head]
    mixed = functional.scaled_dot_product_attention(q, k, v)  # divides the logits by sqrt(channels of a head)
    return functional.linear(mixed.transpose(1, 2).reshape(x.shape), proj)
