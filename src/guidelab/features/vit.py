"""The vision transformer of DINOv2, with the parameter names of its released checkpoints; forward only.

Written from the description in Oquab et al. 2023, arXiv:2304.07193, and the released configuration: pre-norm blocks
with a learned scale on each branch, exact GELU, layer norms with eps 1e-6, positions interpolated to the input.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

HEAD = 64  # channels of an attention head in every released size
EPS = 1e-6
OFFSET = 0.1  # the release scales positions by (side + 0.1) / 37 when it has no register tokens


class Scale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        b, t, d = x.shape
        q, k, v = (
            self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        )  # [B, H, T, D/H]
        out: Tensor = self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))
        return out


class Mlp(nn.Module):
    """Two layers, exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and scaled before it is added."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.ls1 = Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, hidden)
        self.ls2 = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """A linear map of each patch."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, patch_px)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] to [B, width, S / patch, S / patch]."""
        out: Tensor = self.proj(x)
        return out


class VisionTransformer(nn.Module):
    """Normalised RGB [B, 3, S, S], S a multiple of the patch, to the class token [B, D] after the last norm.

    Args:
        width: D, a multiple of the head's channels.
        depth: blocks.
        heads: attention heads.
        hidden: width of the MLP's middle.
        patch_px: side of a patch.
        grid: side of the grid of learned positions.
        registers: extra tokens without position (the `reg4` releases have 4), which also change how positions are
            interpolated: antialiased, to the exact size.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, hidden: int, patch_px: int, grid: int, registers: int = 0
    ) -> None:
        super().__init__()
        self.grid, self.registers, self.patch_px = grid, registers, patch_px
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in every release, used in training only
        self.patch_embed = PatchEmbed(patch_px, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """The class token [B, D]."""
        patches = self.patch_embed(x)  # [B, D, S, S]
        side = patches.shape[-1]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).mT], 1)
        tokens = tokens + self.positions(side)
        if self.registers:
            extra = self.register_tokens.expand(len(x), -1, -1)
            tokens = torch.cat([tokens[:, :1], extra, tokens[:, 1:]], 1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens[:, 0])
        return out

    def positions(self, side: int) -> Tensor:
        """Learned positions [1, 1 + side^2, D], bicubically interpolated as the release does."""
        if side == self.grid:
            return self.pos_embed
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = of_patches.mT.reshape(1, -1, self.grid, self.grid)
        if self.registers:
            square = interpolate(square, (side, side), mode="bicubic", antialias=True)
        else:  # the factor, not the size, decides where samples are taken
            factor = (side + OFFSET) / self.grid
            square = interpolate(square, scale_factor=(factor, factor), mode="bicubic")
        return torch.cat([of_class, square.flatten(2).mT], 1)
