"""Building blocks of ADM's networks, with the parameter names of the released checkpoints."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.vp_time import sinusoidal

_GROUPS = 32  # of every group normalisation


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation as everywhere in ADM: 32 groups, eps 1e-5.

    Raises:
        ValueError: the channels do not divide into 32 groups.
    """
    if channels % _GROUPS:
        raise ValueError(f"ADM block: given {channels} channels, wanted a multiple of {_GROUPS}")
    return nn.GroupNorm(_GROUPS, channels)


class Downsample(nn.Module):
    """Halves height and width: a strided convolution, or an average over 2 x 2."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C, H/2, W/2]`."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Doubles height and width: each value four times, then a convolution if it is learned."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(channels, channels, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C, 2 H, 2 W]`."""
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class ResBlock(nn.Module):
    """ADM's residual block: normalise, SiLU, convolve, twice; the embedding scales and shifts the second norm.

    Args:
        channels: of the input.
        emb: length of the embedding.
        out: channels of the output.
        scale_shift: the embedding scales and shifts (else it is added).
        down, up: average 2 x 2, or repeat 2 x 2, before the first convolution and on the skip connection.
        dropout: probability, in training mode only.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233.
    """

    def __init__(
        self,
        channels: int,
        emb: int,
        out: int,
        scale_shift: bool = True,
        down: bool = False,
        dropout: float = 0.0,
        up: bool = False,
    ) -> None:
        super().__init__()
        self.scale_shift, self.down, self.up = scale_shift, down, up
        self.in_layers = nn.Sequential(
            normalisation(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out if scale_shift else out))
        self.out_layers = nn.Sequential(
            normalisation(out), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(out, out, 3, padding=1)
        )
        nn.init.zeros_(self.out_layers[3].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.out_layers[3].bias)  # type: ignore[arg-type]
        self.skip_connection: nn.Module = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """`[B, C, H, W]` and embedding `[B, E]` to `[B, out, H, W]`; half the size with `down`, twice with `up`."""
        h = self.in_layers[1](self.in_layers[0](x))
        if self.down:
            h, x = functional.avg_pool2d(h, 2), functional.avg_pool2d(x, 2)
        elif self.up:
            h, x = (functional.interpolate(part, scale_factor=2, mode="nearest") for part in (h, x))
        h = self.in_layers[2](h)
        shift_by = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = shift_by.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + shift_by)
        out: Tensor = self.skip_connection(x) + h
        return out


class AttentionBlock(nn.Module):
    """Self-attention over the positions of a map, added to it.

    The released weights hold queries, keys and values of one head contiguously, head after head; with
    `split_first` all queries come first, then all keys, then all values.

    Source: Dhariwal & Nichol 2021, arXiv:2105.05233 (released code recomputes it in the backward pass; this does not).
    """

    def __init__(self, channels: int, heads: int, split_first: bool = False) -> None:
        super().__init__()
        self.heads, self.split_first = heads, split_first
        self.norm = normalisation(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]`, same shape out."""
        b, c = x.shape[:2]
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [B, T, C]; a view of channels_last memory
        # in this layout the products need no copies, and the fused attention kernel takes its inputs as they are
        qkv = functional.linear(tokens, self.qkv.weight[:, :, 0], self.qkv.bias)
        split = (b, -1, 3, self.heads) if self.split_first else (b, -1, self.heads, 3)
        parts = qkv.reshape(*split, c // self.heads).unbind(2 if self.split_first else 3)
        q, k, v = (part.transpose(1, 2) for part in parts)  # [B, heads, T, C/heads]
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        projected = functional.linear(attended, self.proj_out.weight[:, :, 0], self.proj_out.bias)
        projected = projected.transpose(1, 2).reshape(x.shape)
        return x + projected


class AttentionPool(nn.Module):
    """Reads a map out through the attention of its mean: `[B, C, H, W]` to `[B, out]`.

    Source: Radford et al. 2021, arXiv:2103.00020, as ADM's classifiers use it.
    """

    def __init__(self, side: int, channels: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(channels, side**2 + 1))
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One vector `[B, out]` per map."""
        b, c = x.shape[:2]
        tokens = x.reshape(b, c, -1)
        tokens = torch.cat([tokens.mean(dim=-1, keepdim=True), tokens], dim=-1) + self.positional_embedding
        qkv = self.qkv_proj(tokens)
        q, k, v = qkv.reshape(b, 3, self.heads, c // self.heads, -1).transpose(-1, -2).unbind(1)
        mean_only = q[:, :, :1]  # only the mean token's answer is read
        attended = functional.scaled_dot_product_attention(mean_only, k, v)  # [B, heads, 1, C/heads]
        out: Tensor = self.c_proj(attended.reshape(b, c, 1))[:, :, 0]
        return out


class TimeEmbedding(nn.Sequential):
    """Sinusoidal embedding of a time step through two layers: `[B]` to `[B, 4 * channels]`."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))
        self.channels = channels

    def forward(self, steps: Tensor) -> Tensor:
        """Embedding `[B, 4 * channels]` of time steps `[B]` (0 to 999, need not be whole)."""
        out = sinusoidal(steps, self.channels)
        for layer in self:
            out = layer(out)
        return out


def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights from one generator: fan-in uniform, norms at identity, what starts at zero left at zero."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                if not module.weight.any():
                    continue
                bound = 1 / math.sqrt(module.weight[0].numel())
                for parameter in module.parameters(recurse=False):
                    parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
            elif isinstance(module, nn.Embedding):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
            elif isinstance(module, AttentionPool):
                shape = module.positional_embedding.shape
                module.positional_embedding.copy_(
                    torch.randn(shape, generator=generator) / math.sqrt(shape[0])
                )
