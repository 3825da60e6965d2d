"""Building blocks of DiT, with the parameter names of the released checkpoints.

Source: Peebles & Xie 2023, arXiv:2212.09748.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.vp_time import sinusoidal

_FREQUENCIES = 256  # length of the sinusoidal embedding of a time step
_EPS = 1e-6  # of every layer normalisation; they have no parameters
_PERIOD = 10000.0  # longest period of the position's sinusoids


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens `[B, T, C]` normalised, then scaled by `1 + scale [B, C]` and shifted by `shift [B, C]`."""
    normal = functional.layer_norm(x, x.shape[-1:], eps=_EPS)
    return torch.addcmul(shift[:, None], normal, 1 + scale[:, None])


class StepEmbedding(nn.Module):
    """Time steps `[B]` to `[B, width]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, steps: Tensor) -> Tensor:
        """Embedding `[B, width]`."""
        out: Tensor = self.mlp(sinusoidal(steps, _FREQUENCIES))
        return out


class Attention(nn.Module):
    """Self-attention of tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]`, same shape out."""
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v)  # [B, heads, T, C/heads]
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(b, t, c))
        return out


class FeedForward(nn.Module):
    """Two layers with a GELU (its tanh form) between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]`, same shape out."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return out


class _Modulation(nn.Sequential):
    """`parts` vectors of `width` from the embedding, whose SiLU was taken once for all."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(width, parts * width))
        self.parts = parts

    def vectors(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """`parts` tensors `[B, width]`."""
        return tuple(self[1](modulation).chunk(self.parts, dim=1))


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by the embedding (adaLN-Zero)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = FeedForward(width, int(width * mlp_ratio))
        self.adaLN_modulation = _Modulation(width, 6)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Tokens `[B, T, C]`, SiLU of the embedding `[B, C]`."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation.vectors(modulation)
        x = torch.addcmul(x, gate[:, None], self.attn(modulated(x, shift, scale)))
        return torch.addcmul(x, gate_mlp[:, None], self.mlp(modulated(x, shift_mlp, scale_mlp)))


class FinalLayer(nn.Module):
    """Tokens to the pixels of their patches."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = _Modulation(width, 2)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """`[B, T, C]` and SiLU of the embedding `[B, C]` to `[B, T, outputs]`."""
        shift, scale = self.adaLN_modulation.vectors(modulation)
        out: Tensor = self.linear(modulated(x, shift, scale))
        return out


def position_embedding(side: int, width: int) -> Tensor:
    """Fixed embedding `[1, side^2, width]` of the patches' places: sines and cosines of column, then of row."""
    quarter = width // 4
    device = (
        "cpu"  # also where the rest of a net has no memory: torch computes there by importing its compiler
    )
    frequencies = _PERIOD ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)
    angles = (
        torch.arange(side, dtype=torch.float64, device=device)[:, None] * frequencies
    )  # [side, width / 4]
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves[None].expand(side, -1, -1)  # [row, column, width / 2]
    rows = waves[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).reshape(1, side**2, width).to(torch.float32)


def initialise_dit(net: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights as published: Xavier's, embeddings with std 0.02, everything that ends a branch at zero."""
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, 0.02, generator=generator)
            elif isinstance(module, nn.Linear | nn.Conv2d):
                assert module.bias is not None
                module.bias.zero_()
                if "adaLN_modulation" in name or name == "final_layer.linear":
                    module.weight.zero_()
                elif name.startswith("t_embedder"):
                    module.weight.normal_(0, 0.02, generator=generator)
                else:
                    rows = module.weight.view(len(module.weight), -1)
                    bound = math.sqrt(6 / sum(rows.shape))
                    rows.uniform_(-bound, bound, generator=generator)
