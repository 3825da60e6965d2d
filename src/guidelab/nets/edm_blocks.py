"""The residual block that EDM's U-Nets share, and the mask that stands for dropout in all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.edm_layers import Conv, GroupNorm, Init, Linear

Mask = Callable[
    [int, Tensor], Tensor
]  # (number of the block, activations [B, C, H, W]) -> masked activations


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of one architecture have in common.

    Attributes:
        emb: length of the embedding.
        init: fresh weights; `init_zero`: those of the last convolution of each branch; `init_attention`: of q, k, v.
        heads: attention heads; None for one per `head_channels` channels (none at all in a narrower block).
        adaptive_scale: the embedding scales and shifts the second norm (else it is added before it).
        resample_proj: a skip connection that resamples has weights even where the channels stay the same.
        skip_scale: factor on every sum of a branch and its skip connection.
        taps: filter of the resampling.
    """

    emb: int
    init: Init
    init_zero: Init
    init_attention: Init
    heads: int | None = None
    head_channels: int = 64
    adaptive_scale: bool = True
    resample_proj: bool = False
    skip_scale: float = 1.0
    eps: float = 1e-5
    taps: Sequence[float] = (1, 1)


class UNetBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with a skip connection; then, if configured, self-attention with another.

    Args:
        inputs, outputs: channels.
        number: of the block in its net, counted from 0, for dropout masks.
        up, down: resample in the first convolution and on the skip connection.
    Source: Karras et al. 2022, arXiv:2206.00364, appendix F.1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style: BlockStyle,
        number: int,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels, self.number = outputs, number
        self.skip_scale, self.adaptive_scale = style.skip_scale, style.adaptive_scale
        heads = outputs // style.head_channels if style.heads is None else style.heads
        self.heads = heads if attention else 0
        if self.heads and outputs % self.heads:
            raise ValueError(
                f"EDM block: given {outputs} channels and {self.heads} attention heads; wanted channels that the heads divide"
            )
        self.norm0 = GroupNorm(inputs, style.eps)
        self.conv0 = Conv(inputs, outputs, 3, style.init, up=up, down=down, taps=style.taps)
        self.affine = Linear(style.emb, outputs * (2 if style.adaptive_scale else 1), style.init)
        self.norm1 = GroupNorm(outputs, style.eps)
        self.conv1 = Conv(outputs, outputs, 3, style.init_zero)
        self.skip: Conv | None = None
        if outputs != inputs or up or down:
            size = 1 if style.resample_proj or outputs != inputs else 0
            self.skip = Conv(inputs, outputs, size, style.init, up=up, down=down, taps=style.taps)
        if self.heads:
            self.norm2 = GroupNorm(outputs, style.eps)
            self.qkv = Conv(outputs, 3 * outputs, 1, style.init_attention)
            self.proj = Conv(outputs, outputs, 1, style.init_zero)

    def forward(self, x: Tensor, emb: Tensor, mask: Mask | None = None) -> Tensor:
        """`[B, inputs, H, W]` and embedding `[B, E]` to `[B, outputs, H, W]`, or half or twice the size."""
        # what is overwritten below is fresh, and no backward pass reads it
        h = self.conv0(functional.silu(self.norm0(x), inplace=True))
        shift_by = self.affine(emb)[:, :, None, None].to(h.dtype)  # [B, outputs or 2 outputs, 1, 1]
        if self.adaptive_scale:
            scale, shift = shift_by.chunk(2, dim=1)
            h = shift.addcmul(self.norm1(h), scale + 1)
        else:
            h = self.norm1(h.add_(shift_by))
        h = functional.silu(h, inplace=True)
        h = self.conv1(h if mask is None else mask(self.number, h))
        h = h.add_(x if self.skip is None else self.skip(x))
        h = h if self.skip_scale == 1 else h.mul_(self.skip_scale)
        return self._attended(h) if self.heads else h

    def _attended(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        width = c // self.heads
        # The released weights interleave q, k and v channel by channel. Reordering the weights instead of the
        # result leaves q, k, v as views that the fused attention kernel takes as they are.
        order = (self.heads, width, 3)
        weight = self.qkv.weight.reshape(*order, c).permute(2, 0, 1, 3).reshape(3 * c, c)
        bias = self.qkv.bias.reshape(order).permute(2, 0, 1).reshape(3 * c)
        tokens = self.norm2(x).flatten(2).transpose(1, 2)  # [B, T, C]
        qkv = functional.linear(tokens, weight, bias).reshape(b, -1, 3, self.heads, width)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # [B, heads, T, width]
        read = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        projected = functional.linear(read, self.proj.weight[:, :, 0, 0], self.proj.bias)
        out = x + projected.transpose(1, 2).reshape(x.shape)
        return out if self.skip_scale == 1 else out.mul_(self.skip_scale)
