"""Evaluation of an EDM2 net through `torch.compile`, with the weights built in where they are constants."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config

from guidelab.nets.edm2_block import BlockWeights
from guidelab.nets.edm2_unet import UNetWeights

Denoise = Callable[..., Tensor]  # (x, sigma, cond, weights, mask, overwrite)


class _Constant(nn.Module):
    """A net together with effective weights, as buffers, which the compiler may then treat as constants."""

    def __init__(self, net: nn.Module, weights: UNetWeights) -> None:
        super().__init__()
        self.net, self.count = net, len(weights.blocks)
        self.training = False  # not by eval(), which would reach the net and make it drop its weights
        for name, value in weights._asdict().items():
            if name != "blocks":
                self.register_buffer(name, value)
        for number, block in enumerate(weights.blocks):
            for name, value in block._asdict().items():
                self.register_buffer(f"block{number}_{name}", value)

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        blocks = tuple(
            BlockWeights(*[getattr(self, f"block{number}_{name}") for name in BlockWeights._fields])
            for number in range(self.count)
        )
        parts: list[Any] = [
            blocks if name == "blocks" else getattr(self, name) for name in UNetWeights._fields
        ]
        weights = UNetWeights(*parts)
        denoised: Tensor = self.net._denoise(x, sigma, cond, weights, None, True)  # type: ignore[operator]
        return denoised


class Compiled:
    """Compiled evaluation of `net`; called as its `_denoise`, but without a mask.

    Evaluations without gradients on a CPU get the weights built in: the compiler lays them out for the convolutions
    once, and joins neighbouring operations to them (batch 1, 32 channels: a tenth faster). They are built again when
    the weights change. All others are compiled as they are.

    Args:
        net: the net.
        options: for `torch.compile`.
    """

    def __init__(self, net: nn.Module, options: dict[str, Any]) -> None:
        self.net, self.options = net, options
        self.general: Denoise = torch.compile(net._denoise, **options)  # type: ignore[arg-type]
        self.constant: tuple[UNetWeights, Denoise] | None = None

    def __call__(
        self, x: Tensor, sigma: Tensor, cond: Tensor | None, weights: UNetWeights, overwrite: bool
    ) -> Tensor:
        """Denoised `[B, C, H, W]`."""
        if not overwrite or self.net.training or x.device.type != "cpu":
            return self.general(x, sigma, cond, weights, None, overwrite)
        if self.constant is None or self.constant[0] is not weights:
            built = torch.compile(_Constant(self.net, weights), **self.options)
            self.constant = (weights, built)
        with config.patch(freezing=True):
            return self.constant[1](x, sigma, cond)
