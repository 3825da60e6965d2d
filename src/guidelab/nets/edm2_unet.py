"""The EDM2 U-Net without preconditioning. Inside, activations are channels-last, `[B, H, W, C]`."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.nets.edm2_block import Block, BlockWeights, Mask, Style
from guidelab.nets.edm2_layers import SILU, MPConv, MPFourier, balance, conv3x3, join
from guidelab.nets.edm2_plan import Plan


class UNetWeights(NamedTuple):
    """Effective weights of the whole net, with constant factors folded in."""

    noise: Tensor  # [emb, noise features]
    labels: Tensor | None  # [classes, emb]: what a class adds to the embedding
    modulation: Tensor  # [sum of the blocks' outputs, emb]: every block's emb_linear, one after the other
    first: Tensor  # [channels, in, 3, 3]
    blocks: tuple[BlockWeights, ...]  # encoder, then decoder
    last: Tensor  # [out, channels, 3, 3]


class UNet(nn.Module):
    """Raw network `F`. Parameters are named as in the released checkpoints.

    Args:
        plan: its blocks.
        inputs: channels of the image with its channel of ones.
        outputs: channels of the result.
        classes: labels; 0 for none.
        head_channels: channels of an attention head; a block with fewer channels has no attention.
        generator: source of the initial weights; the global one when None.
        style: constants of the net.
        noise_channels, emb_channels: of the noise's features (the first level's when None) and of the embedding (the
            widest block's when None).
    Source: Karras et al. 2024, arXiv:2312.02696, figure 21 (config G).
    """

    def __init__(
        self,
        plan: Plan,
        inputs: int,
        outputs: int,
        classes: int,
        head_channels: int,
        generator: torch.Generator | None,
        style: Style = Style(),  # noqa: B008 a constant
        noise_channels: int | None = None,
        emb_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.plan, self.classes, self.concat_balance = plan, classes, style.concat_balance
        self.label_keep, self.label_add = balance(style.label_balance)
        noise = noise_channels or plan.channels
        emb = emb_channels or max(block.outputs for block in (*plan.encoder, *plan.decoder))
        self.out_gain = nn.Parameter(torch.zeros(()))
        self.emb_fourier = MPFourier(noise, generator)
        self.emb_noise = MPConv(noise, emb, (), generator)
        self.emb_label = MPConv(classes, emb, (), generator) if classes else None
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.enc[plan.stem] = MPConv(inputs, plan.channels, (3, 3), generator)
        self.stack: list[Block] = []  # all blocks in order; a plain list, so they are registered once
        for side, parts in ((self.enc, plan.encoder), (self.dec, plan.decoder)):
            for part in parts:
                block = Block(
                    part.inputs,
                    part.skip,
                    part.outputs,
                    emb,
                    "enc" if side is self.enc else "dec",
                    part.resample,
                    part.outputs // head_channels if part.attention else 0,
                    len(self.stack),
                    generator,
                    style,
                )
                side[part.name] = block
                self.stack.append(block)
        self.out_conv = MPConv(plan.decoder[-1].outputs, outputs, (3, 3), generator)

    def weights(self, *, force: bool = False) -> UNetWeights:
        """Effective weights; `force` normalises the stored ones first (see `MPConv.effective`)."""
        noise_gain, labels = 1.0, None
        if self.emb_label is not None:
            noise_gain = self.label_keep
            # a label is a one-hot vector times sqrt(classes): a row of this table
            labels = self.emb_label.effective(self.label_add * self.classes**0.5, force=force).mT.contiguous()
        modulation = [block.emb_linear.effective(block.emb_gain * SILU, force=force) for block in self.stack]
        stem = self.enc[self.plan.stem]
        return UNetWeights(
            self.emb_noise.effective(noise_gain, force=force),
            labels,
            torch.cat(modulation),
            stem.effective(force=force),  # type: ignore[operator]
            tuple(block.weights(force=force) for block in self.stack),
            self.out_conv.effective(self.out_gain, force=force),
        )

    def run(
        self,
        x: Tensor,
        c_noise: Tensor,
        cond: Tensor | None,
        w: UNetWeights,
        mask: Mask | None,
        overwrite: bool,
    ) -> Tensor:
        """Output `[B, H, W, out]`.

        Args:
            x: scaled image with its channel of ones, `[B, H, W, in]`.
            c_noise: noise embedding's input `[B]`.
            cond: class index `[B]`, class weights `[B, classes]`, or None (zeros); not used without classes.
            w: effective weights.
            mask: drops activations, or None.
            overwrite: intermediate results may be overwritten (no gradient is wanted).
        """
        emb = functional.linear(self.emb_fourier(c_noise), w.noise)
        if w.labels is not None and cond is not None:
            emb = emb + (cond.to(emb.dtype) @ w.labels if cond.is_floating_point() else w.labels[cond])
        scales = 1 + functional.linear(functional.silu(emb), w.modulation)
        pieces = torch.split(scales, [block.outputs for block in self.stack], dim=1)
        x = conv3x3(x, w.first)
        skips = [x] if self.plan.stem_skip else []
        for block, weights, scale in zip(self.stack, w.blocks, pieces, strict=True):
            side = None
            if block.skip:
                x, side = _balanced(x, skips.pop(), self.concat_balance)
            x = block.run(x, side, weights, scale, mask, overwrite)
            if block.flavor == "enc":
                skips.append(x)
        return conv3x3(x, w.last)


def _balanced(x: Tensor, skip: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The two parts of a magnitude-preserving concatenation."""
    ours, theirs = join(x.shape[-1], skip.shape[-1], share)
    if ours == theirs == 1.0:  # as many channels on both sides
        return x, skip
    return x * ours, skip * theirs
