"""DiT as a denoiser: a transformer on patches of latents, modulated by time step and class, in sigma's units.

Parameters are named as in the released checkpoints. Source: Peebles & Xie 2023, arXiv:2212.09748.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.dit_blocks import Block, FinalLayer, StepEmbedding, initialise_dit, position_embedding
from guidelab.nets.vp import VpNet


class _Named(nn.Module):
    """A layer under a name of its own: the released checkpoints nest some."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class Transformer(nn.Module):
    """The network of DiT; arguments as in `Dit`, `outputs` being the channels of its output."""

    def __init__(
        self,
        *,
        resolution_px: int,
        image_channels: int,
        outputs: int,
        classes: int,
        patch_px: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        if resolution_px % patch_px or width % heads or width % 4:
            raise ValueError(
                f"DiT: given {resolution_px} px in patches of {patch_px}, width {width} with {heads} heads; wanted "
                "whole patches and heads, and a width that 4 divides"
            )
        self.patch_px, self.outputs, self.side = patch_px, outputs, resolution_px // patch_px
        self.x_embedder = _Named(proj=nn.Conv2d(image_channels, width, patch_px, stride=patch_px))
        self.t_embedder = StepEmbedding(width)
        self.y_embedder = _Named(embedding_table=nn.Embedding(classes + 1, width))
        self.pos_embed = nn.Parameter(position_embedding(self.side, width), requires_grad=False)
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.final_layer = FinalLayer(width, patch_px**2 * outputs)

    def forward(self, x: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
        """Output `[B, outputs, H, W]` for `x [B, C, H, W]`, time steps `[B]`, labels `[B]` int64."""
        tokens = self.x_embedder.proj(x).flatten(2).transpose(1, 2) + self.pos_embed  # type: ignore[operator]
        modulation = self.t_embedder(steps) + self.y_embedder.embedding_table(labels)  # type: ignore[operator]
        modulation = functional.silu(modulation)  # every modulation begins with it
        for block in self.blocks:
            tokens = block(tokens, modulation)
        pixels = self.final_layer(tokens, modulation)  # [B, T, patch * patch * outputs]
        p, side = self.patch_px, self.side
        pixels = pixels.reshape(-1, side, side, p, p, self.outputs).permute(0, 5, 1, 3, 2, 4)
        out: Tensor = pixels.reshape(-1, self.outputs, side * p, side * p)
        return out


class Dit(VpNet):
    """Denoiser `D(x, sigma, cond)` of DiT. The released DiT-XL/2 for 256 px images by default.

    `cond` None stands for the null class, which a label equal to `classes` names too: classifier-free guidance
    takes the network called without a class as its reference.

    Args:
        resolution_px: side of the latents.
        image_channels: of the latents.
        classes: of the images; the label embedding has one row more.
        patch_px: side of a patch.
        width, depth, heads: of the transformer.
        learn_sigma: it also predicts a variance.
        schedule: noise schedule it was trained with.
        mlp_ratio: width of the feed-forward layers, relative to `width`.
        steps: of the schedule.
        generator: source of the initial weights.
    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        resolution_px: int = 32,
        image_channels: int = 4,
        classes: int = 1000,
        patch_px: int = 2,
        width: int = 1152,
        depth: int = 28,
        heads: int = 16,
        learn_sigma: bool = True,
        schedule: str = "linear",
        mlp_ratio: float = 4.0,
        steps: int = 1000,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(resolution_px, image_channels, classes, learn_sigma, schedule, steps)
        self.transformer = Transformer(
            resolution_px=resolution_px,
            image_channels=image_channels,
            outputs=image_channels * (2 if learn_sigma else 1),
            classes=classes,
            patch_px=patch_px,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
        )
        if generator is not None:
            initialise_dit(self.transformer, generator)

    def raw(self, x_vp: Tensor, steps: Tensor, cond: Tensor | None) -> Tensor:
        """See `VpNet.raw`."""
        if cond is None:
            cond = torch.full((len(x_vp),), self.classes, dtype=torch.int64, device=x_vp.device)
        out: Tensor = self.transformer(x_vp, steps, cond)
        return out
