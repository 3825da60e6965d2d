"""EDM2 in half precision as in its released code: the U-Net in float16, embedding and preconditioning in float32."""

import torch
from torch import Tensor

from guidelab.core.precond import precondition
from guidelab.nets.edm2 import Edm2
from guidelab.nets.edm2_block import BlockWeights, Mask
from guidelab.nets.edm2_unet import UNetWeights


class LoweredEdm2(Edm2):
    """An `Edm2` for evaluation whose activations and convolution weights are of a lower precision.

    It shares parameters with the net it is made from; the effective weights are computed in float32, rounded once and
    kept. Not differentiable with respect to them.
    """

    lowered: torch.dtype
    _rounded: tuple[UNetWeights, UNetWeights] | None  # effective weights, and the same rounded

    @classmethod
    def of(cls, net: Edm2, dtype: torch.dtype) -> "LoweredEdm2":
        """`net` evaluated in `dtype`, `torch.float16` or `torch.bfloat16`."""
        made = cls.__new__(cls)
        made.__dict__.update(net.__dict__)
        made.lowered, made._rounded, made._compiled = dtype, None, None
        return made

    def _weights(self) -> UNetWeights:
        exact = super()._weights()
        if self._rounded is None or self._rounded[0] is not exact:
            self._rounded = (exact, _rounded(exact, self.lowered))
        return self._rounded[1]

    def _denoise(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Tensor | None,
        weights: UNetWeights,
        mask: Mask | None,
        overwrite: bool,
    ) -> Tensor:
        def raw(scaled: Tensor, c_noise: Tensor, cond: Tensor | None) -> Tensor:
            small = scaled if self.patch_px == 1 else torch.pixel_unshuffle(scaled, self.patch_px)
            patches = small.permute(0, 2, 3, 1)
            image = torch.cat([patches, torch.ones_like(patches[..., :1])], dim=-1).to(self.lowered)
            out = self.unet.run(image, c_noise, cond, weights, mask, True).permute(0, 3, 1, 2)
            out = out.to(torch.float32)
            return out if self.patch_px == 1 else torch.pixel_shuffle(out, self.patch_px)

        with torch.no_grad():
            return precondition(raw, self.sigma_data)(x, sigma, cond).contiguous()


def _rounded(weights: UNetWeights, dtype: torch.dtype) -> UNetWeights:
    """Everything after the embedding in `dtype`."""
    blocks = tuple(
        BlockWeights(*[None if w is None else w.to(dtype) for w in block])  # type: ignore[arg-type]
        for block in weights.blocks
    )
    return weights._replace(first=weights.first.to(dtype), blocks=blocks, last=weights.last.to(dtype))
