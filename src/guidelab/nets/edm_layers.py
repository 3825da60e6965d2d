"""Layers of EDM's three U-Nets: weights with their initial distribution, resampling by a small filter, embeddings."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError


class Init(NamedTuple):
    """Distribution of fresh weights: `xavier_uniform`, `kaiming_uniform` or `kaiming_normal`, and factors on it."""

    kind: str
    weight: float = 1.0
    bias: float = 0.0
    generator: torch.Generator | None = None

    def draw(self, shape: Sequence[int], fan_in: int, fan_out: int, factor: float) -> nn.Parameter:
        """A fresh parameter, `factor` times the distribution."""
        value = torch.empty(*shape)
        if self.kind == "kaiming_normal":
            value.normal_(generator=self.generator)
            return nn.Parameter(value.mul_(factor * math.sqrt(1 / fan_in)))
        bound = math.sqrt(6 / (fan_in + fan_out) if self.kind == "xavier_uniform" else 3 / fan_in)
        return nn.Parameter(value.uniform_(-bound, bound, generator=self.generator).mul_(factor))


class Linear(nn.Module):
    """`[B, inputs]` to `[B, outputs]`."""

    matrix_product = True  # its weights may be of a half precision

    def __init__(self, inputs: int, outputs: int, init: Init, bias: bool = True) -> None:
        super().__init__()
        self.weight = init.draw((outputs, inputs), inputs, outputs, init.weight)
        self.bias = init.draw((outputs,), inputs, outputs, init.bias) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs]` to `[B, outputs]`, computed in the dtype of the weights."""
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class ClassEmbedding(Linear):
    """The linear layer of a one-hot class, as a look-up: `factor` multiplies the one-hot vector."""

    def __init__(self, classes: int, outputs: int, init: Init, bias: bool, factor: float = 1.0) -> None:
        super().__init__(classes, outputs, init, bias)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Class index `[B]` (integers) or class weights `[B, classes]` to `[B, outputs]`."""
        if x.is_floating_point():
            return super().forward(x * self.factor)
        chosen = self.weight.T[x] * self.factor  # [B, outputs]
        return chosen if self.bias is None else chosen + self.bias


class Resample(nn.Module):
    """Halves or doubles height and width with a separable filter.

    Args:
        up: double (else halve).
        taps: the filter along one axis; need not sum to 1. Equal taps `(1, 1)` are averaging, and repetition.
    Source: Karras et al. 2022, arXiv:2206.00364; Zhang 2019, arXiv:1904.11486.
    """

    taps: Tensor

    def __init__(self, up: bool, taps: Sequence[float] = (1, 1)) -> None:
        super().__init__()
        self.up, self.box = up, len(taps) == 2 and taps[0] == taps[1]
        self.padding = (len(taps) - 1) // 2
        line = torch.tensor(list(taps), dtype=torch.float32)
        self.register_buffer("taps", filter_of(line) * (4 if up else 1), persistent=False)  # [1, 1, k, k]

    def forward(self, x: Tensor, padding: int | None = None) -> Tensor:
        """`[B, C, H, W]` to `[B, C, H/2, W/2]`, or twice the size; `padding` replaces the one that keeps it centred."""
        padding = self.padding if padding is None else padding
        if self.box and padding == 0:
            return functional.interpolate(x, scale_factor=2.0) if self.up else functional.avg_pool2d(x, 2)
        channels = x.shape[1]
        weight = self.taps.to(x.dtype).expand(channels, 1, -1, -1)
        convolve = functional.conv_transpose2d if self.up else functional.conv2d
        return convolve(x, weight, stride=2, padding=padding, groups=channels)


def filter_of(taps: Tensor) -> Tensor:
    """The filter `[1, 1, k, k]` of one axis' taps `[k]`: their outer product, summing to 1."""
    return (torch.outer(taps, taps) / taps.sum() ** 2)[None, None]


class Conv(nn.Module):
    """A convolution that keeps the size, after resampling; or resampling alone.

    Args:
        inputs, outputs: channels.
        size: of the kernel, odd; 0 for resampling alone, without weights.
        up, down: resample before the convolution.
        fused_down: halve *after* the convolution, which then sees a border as wide as the filter reaches.
    """

    matrix_product = True  # its weights may be of a half precision

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        init: Init,
        *,
        up: bool = False,
        down: bool = False,
        taps: Sequence[float] = (1, 1),
        fused_down: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels, self.size, self.fused_down = outputs, size, fused_down
        fans = inputs * size**2, outputs * size**2
        if size:
            self.weight = init.draw((outputs, inputs, size, size), *fans, init.weight)
            self.bias = init.draw((outputs,), *fans, init.bias)
        self.resample = Resample(up, taps) if up or down else None

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H, W]`, or half or twice the size."""
        half = self.size // 2
        if self.fused_down and self.resample is not None:
            # the filter sums to 1, so the bias passes through it unchanged
            wide = functional.conv2d(x, self.weight, self.bias, padding=half + self.resample.padding)
            shrunk: Tensor = self.resample(wide, padding=0)
            return shrunk
        if self.resample is not None:
            x = self.resample(x)
        return functional.conv2d(x, self.weight, self.bias, padding=half) if self.size else x


class GroupNorm(nn.GroupNorm):
    """Group normalisation in at most 32 groups of at least 4 channels.

    Raises:
        UserError: the channels do not divide into the groups.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        groups = min(32, channels // 4)
        if groups == 0 or channels % groups:
            raise UserError(
                f"net edm: given a layer of {channels} channels (skip connections included); wanted multiples of 4, "
                "and of 32 above 128. Change channels or channel_mult"
            )
        super().__init__(groups, channels, eps)


class Precise(nn.Module):
    """A module whose buffers stay in float32 when a net is moved to half precision: they multiply large numbers."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Precise":
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in before.items():
            now = self._buffers[name]
            if value is not None and now is not None and now.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = value.to(now.device)
        return self


class Positional(nn.Module):
    """Sinusoidal embedding `[B]` to `[B, channels]`, cosines first.

    Args:
        endpoint: the slowest wave has exactly the frequency 1/10000.
    Source: Vaswani et al. 2017, arXiv:1706.03762; Ho et al. 2020, arXiv:2006.11239.
    """

    def __init__(self, channels: int, endpoint: bool = False) -> None:
        super().__init__()
        self.waves, self.last = channels // 2, channels // 2 - (1 if endpoint else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Values `[B]` to `[B, channels]`."""
        ramp = torch.arange(self.waves, dtype=x.dtype, device=x.device) / self.last
        angles = torch.outer(x, (1 / 10000) ** ramp)  # [B, channels / 2]
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class Fourier(Precise):
    """Embedding by waves of random frequency (std 16), cosines first.

    Source: Song et al. 2021, arXiv:2011.13456.
    """

    freqs: Tensor

    def __init__(self, channels: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(channels // 2).normal_(generator=generator) * 16)

    def forward(self, x: Tensor) -> Tensor:
        """Values `[B]` to `[B, channels]`."""
        angles = torch.outer(x, (2 * math.pi * self.freqs).to(x.dtype))
        return torch.cat([angles.cos(), angles.sin()], dim=1)
