"""Magnitude-preserving layers of EDM2. Activations are channels-last, `[B, H, W, C]`, everywhere in these files.

A layer's stored weight is free in scale; what is applied is its *effective* weight: normalised, times a gain. Constant
factors of neighbouring operations (of the activation, of a weighted sum) are folded into it, which changes rounding
only. Source of all arithmetic: Karras et al. 2024, arXiv:2312.02696, appendix B; constants from the released code.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-4  # keeps a zero vector from dividing by zero; it counts: 1e-4 relative where the magnitude is 1
SILU = 1 / 0.596  # makes silu of a standard normal have unit magnitude


def balance(t: float) -> tuple[float, float]:
    """Factors of a magnitude-preserving sum `mp_sum(a, b, t) = keep * a + add * b`, as `(keep, add)`."""
    scale = math.hypot(1 - t, t)
    return (1 - t) / scale, t / scale


def join(channels_a: int, channels_b: int, t: float = 0.5) -> tuple[float, float]:
    """Factors of the two parts of a magnitude-preserving concatenation, `mp_cat`."""
    scale = math.sqrt((channels_a + channels_b) / ((1 - t) ** 2 + t**2))
    return scale * (1 - t) / math.sqrt(channels_a), scale * t / math.sqrt(channels_b)


def unit(x: Tensor) -> Tensor:
    """`x [..., C]` with every vector over the last dimension scaled to a root mean square of 1 (pixel norm)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scaled: Tensor = x / (EPS + norm * x.shape[-1] ** -0.5)
    return scaled


def unit_(x: Tensor) -> Tensor:
    """`unit` that overwrites `x`; not differentiable."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x.div_(norm.mul_(x.shape[-1] ** -0.5).add_(EPS))


def normalised(weight: Tensor) -> Tensor:
    """`weight [out, ...]` with every output's weights scaled to a root mean square of 1."""
    return unit(weight.flatten(1)).reshape(weight.shape)


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with zero padding of `x [B, H, W, in]` by `weight [out, in, 3, 3]`, `[B, H, W, out]`."""
    # a permuted channels-last tensor is what the library calls memory_format=channels_last: nothing is copied
    return functional.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)


def doubling(weight: Tensor) -> Tensor:
    """Weight `[in, out, 4, 4]` with which `conv_doubled(x, .)` is `conv3x3(doubled(x), weight)`.

    Of the nine pixels a 3x3 kernel sees of a doubled image only four differ, so less than half the products remain.
    """
    padded = functional.pad(weight.flip(2, 3), (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return (rows[..., 1:] + rows[..., :-1]).transpose(0, 1).contiguous(memory_format=torch.channels_last)


def conv_doubled(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution of the doubled image, `[B, H, W, in]` to `[B, 2H, 2W, out]`; `weight` comes from `doubling`."""
    return functional.conv_transpose2d(x.permute(0, 3, 1, 2), weight, stride=2, padding=1).permute(0, 2, 3, 1)


def halved(x: Tensor) -> Tensor:
    """Means of 2x2 pixels, `[B, H, W, C]` to `[B, H/2, W/2, C]`."""
    return functional.avg_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def doubled(x: Tensor) -> Tensor:
    """Every pixel four times, `[B, H, W, C]` to `[B, 2H, 2W, C]`."""
    batch, height, width, channels = x.shape
    spread = x[:, :, None, :, None, :].expand(batch, height, 2, width, 2, channels)
    return spread.reshape(batch, 2 * height, 2 * width, channels)


def resampled(x: Tensor, filter: Sequence[float], up: bool) -> Tensor:
    """`x [B, H, W, C]` halved or doubled with a separable filter of even length; zeros lie outside.

    Source: Karras et al. 2024, arXiv:2312.02696, released code: the filter sums to 1, four times that when doubling.
    """
    taps = torch.tensor(filter, dtype=torch.float32)
    taps = taps / taps.sum()
    channels, padding = x.shape[-1], (len(filter) - 1) // 2
    kernel = torch.outer(taps, taps).to(x).expand(channels, 1, -1, -1)
    resize = functional.conv_transpose2d if up else functional.conv2d
    out = resize(
        x.permute(0, 3, 1, 2), kernel * 4 if up else kernel, groups=channels, stride=2, padding=padding
    )
    return out.permute(0, 2, 3, 1)


class MPConv(nn.Module):
    """Weight of a convolution or linear layer without bias; a network computes with its `effective` weight.

    Args:
        inputs, outputs: channels.
        kernel: `(3, 3)`, `(1, 1)`, or `()` for a linear layer.
        generator: source of the initial weight (standard normal); the global one when None.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Sequence[int], generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel, generator=generator))

    def effective(self, gain: Tensor | float = 1.0, *, force: bool = False) -> Tensor:
        """The weight to compute with, shaped like the stored one: outputs have the inputs' magnitude times `gain`.

        Args:
            gain: factor, a number or a scalar tensor.
            force: first replace the stored weight by its normalised self, so that its length stays 1 as training
                adds to it (forced weight normalisation; the gradient is projected on the sphere's tangent).
        """
        if force:
            with torch.no_grad():
                self.weight.copy_(normalised(self.weight))
        weight = normalised(self.weight)
        return weight * (gain / math.sqrt(weight[0].numel()))


class MPFourier(nn.Module):
    """Random Fourier features of a scalar, each of unit magnitude; drawn once and not trained.

    Args:
        channels: number of features.
        generator: source of frequencies and phases; the global one when None.
    """

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(channels, generator=generator))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels, generator=generator))

    def forward(self, value: Tensor) -> Tensor:
        """Features `[B, channels]` of `value [B]`."""
        angle = torch.outer(value, self.freqs.to(value.dtype)) + self.phases.to(value.dtype)
        return angle.cos() * math.sqrt(2.0)
