"""Small classifier and discriminator of small images, trained from scratch in a minute on a CPU.

One body for both: fold 2 x 2 pixels into channels, residual blocks at two sides, no normalisation layers (on a
CPU they cost as much as the convolutions), noise level and class through a scale and a shift in every block.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.denoiser import per_sample
from guidelab.nets.frozen import extractor_config, required_class

FEATURES = 64  # length of the feature vector before the last layer
_EMB = 64
_OCTAVES = 4  # of the noise level's Fourier features
_SIGMA_DATA = 0.5  # standard deviation of the images, as in the denoisers
_SIGMA_CLEAN = 2e-3  # noise level used for clean images: the lowest of EDM's schedule


def scaled(x: Tensor, sigma: Tensor) -> Tensor:
    """`x [B, C, H, W]` at unit standard deviation, for noise levels `sigma [B]`."""
    level = per_sample(sigma.to(x.dtype), x)
    return x / torch.sqrt(level**2 + _SIGMA_DATA**2)


class Level(nn.Module):
    """Embedding `[B, 64]` of a noise level and, if it has classes, of a class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * _OCTAVES + 1, _EMB), nn.SiLU(), nn.Linear(_EMB, _EMB))
        self.classes = nn.Embedding(classes, _EMB) if classes else None

    def forward(self, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """`sigma [B]`, `cond [B]` int64 or None."""
        level = sigma.clamp_min(_SIGMA_CLEAN).log()[:, None] / 4
        angles = level * (math.pi / 2 * 2.0 ** torch.arange(_OCTAVES, dtype=sigma.dtype, device=sigma.device))
        emb: Tensor = self.layers(torch.cat([level, torch.sin(angles), torch.cos(angles)], dim=1))
        if self.classes is not None:
            emb = emb + self.classes(cond)
        return functional.silu(emb)


class Block(nn.Module):
    """Residual block of two convolutions; the first one's output is scaled and shifted by the embedding."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, out, 3, padding=1)
        self.emb = nn.Linear(_EMB, 2 * out)
        self.conv1 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """`[B, C, H, W]` and `[B, 64]` to `[B, out, H, W]`."""
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.conv0(functional.silu(x)) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv1(functional.silu(h))
        return out


class Body(nn.Module):
    """From an image to a map at the last level, `[B, channels * channel_mult[-1], h, h]`.

    Raises:
        ValueError: a resolution that cannot be halved often enough.
    """

    def __init__(
        self, resolution_px: int, image_channels: int, channels: int, channel_mult: Sequence[int], blocks: int
    ) -> None:
        super().__init__()
        if resolution_px % 2 ** len(channel_mult):
            raise ValueError(f"{resolution_px} px cannot be halved {len(channel_mult)} times")
        self.stem = nn.Conv2d(4 * image_channels, channels * channel_mult[0], 3, padding=1)
        width = channels * channel_mult[0]
        self.levels = nn.ModuleList()
        for mult in channel_mult:
            level = nn.ModuleList()
            for _ in range(blocks):
                level.append(Block(width, channels * mult))
                width = channels * mult
            self.levels.append(level)
        side = resolution_px // 2 ** len(channel_mult)
        self.shape = (width, side, side)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The map of images `[B, C, H, W]` at unit standard deviation; `emb [B, 64]`."""
        h = self.stem(functional.pixel_unshuffle(x, 2))
        for i, level in enumerate(self.levels):
            h = functional.avg_pool2d(h, 2) if i else h
            for block in level:  # type: ignore[attr-defined]
                h = block(h, emb)
        return functional.silu(h)


class SmallClassifier(nn.Module):
    """Log-probabilities of the classes of an image at a noise level; at sigma 0, of a clean one.

    Args:
        resolution_px, image_channels, classes: of the images.
        channels: width of the first level.
        channel_mult: width of each level relative to it; the first level has half the image's side.
        blocks: residual blocks in each level.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        channels: int = 32,
        channel_mult: Sequence[int] = (1, 2),
        blocks: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.level = Level(0)
        self.body = Body(resolution_px, image_channels, channels, channel_mult, blocks)
        self.neck = nn.Linear(math.prod(self.body.shape), FEATURES)
        self.out = nn.Linear(FEATURES, classes)
        _initialise(self, generator)

    def map(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The body's map `[B, F, h, w]` at `x [B, C, H, W]`, `sigma [B]`: what a frozen extractor gives."""
        out: Tensor = self.body(scaled(x, sigma), self.level(sigma.to(x.dtype), None))
        return out

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log-probabilities `[B, classes]`; `cond` is not used."""
        logits = self.out(functional.silu(self.neck(self.map(x, sigma).flatten(1))))
        return functional.log_softmax(logits, dim=1)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[N, 64]` and logits `[N, classes]` of clean images `[N, C, H, W]` in [-1, 1]."""
        clean = torch.zeros(len(images), dtype=images.dtype, device=images.device)
        features = functional.silu(self.neck(self.map(images, clean).flatten(1)))
        return features, self.out(features)


class SmallDiscriminator(nn.Module):
    """Logit of real against generated at a noise level, from scratch or on a frozen classifier's features.

    Args:
        resolution_px, image_channels: of the images.
        classes: of the class embedding; 0 for an unconditional discriminator.
        channels, channel_mult, blocks: see `SmallClassifier`; with an extractor, `blocks` blocks of the extractor's
            last width times `channel_mult[-1]` make the head, at the side of its features.
        extractor: constructor arguments of a `SmallClassifier` (its `name`, if given, must be small_classifier),
            whose frozen map it sees; its weights are part of this net's state. None: from scratch.
        generator: source of the initial weights.
    Raises:
        ValueError: an extractor of another kind, or of other images.
    Source: the role, Kim et al. 2023, arXiv:2211.17091; the networks are ours.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int = 0,
        channels: int = 32,
        channel_mult: Sequence[int] = (1, 2),
        blocks: int = 1,
        extractor: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.level = Level(classes)
        self.extractor: SmallClassifier | None = None
        if extractor is None:
            self.body: Body | None = Body(resolution_px, image_channels, channels, channel_mult, blocks)
            width, side, _ = self.body.shape
            self.head = nn.ModuleList()
        else:
            config = extractor_config(extractor, "small_classifier", resolution_px, image_channels)
            self.extractor = SmallClassifier(**config).requires_grad_(False)
            self.body = None
            seen, side, _ = self.extractor.body.shape
            width = channels * channel_mult[-1]
            widths = [seen, *[width] * blocks]
            self.head = nn.ModuleList(Block(a, b) for a, b in itertools.pairwise(widths))
        self.neck = nn.Linear(width * side * side, FEATURES)
        self.out = nn.Linear(FEATURES, 1)
        _initialise(self, generator)
        with torch.no_grad():
            self.out.weight.zero_()  # an untrained discriminator guides nowhere
            self.out.bias.zero_()

    def extract(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The frozen classifier's map `[B, F, h, w]`; without one, the scaled image itself."""
        return scaled(x, sigma) if self.extractor is None else self.extractor.map(x, sigma)

    def judge(self, features: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logit `[B]` of what `extract` gave at `sigma [B]`, for classes `cond [B]` if conditional."""
        emb = self.level(sigma.to(features.dtype), required_class(cond, self.classes))
        h = features
        if self.body is not None:
            h = self.body(h, emb)
        else:
            for block in self.head:
                h = block(h, emb)
            h = functional.silu(h)
        logit: Tensor = self.out(functional.silu(self.neck(h.flatten(1))))
        return logit[:, 0]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logit `[B]`, an estimate of `log p/q`, at `x [B, C, H, W]`, `sigma [B]`, `cond [B]` or None."""
        return self.judge(self.extract(x, sigma), sigma, cond)


def _initialise(net: nn.Module, generator: torch.Generator | None) -> None:
    """Normal weights by fan-in, zero biases; residual branches start small so that depth does not amplify."""
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
            elif isinstance(module, nn.Linear | nn.Conv2d):
                last = name.endswith("conv1")
                gain = 0.5 if last else math.sqrt(2.0)
                std = gain / math.sqrt(module.weight[0].numel())
                module.weight.copy_(std * torch.randn(module.weight.shape, generator=generator))
                if module.bias is not None:
                    module.bias.zero_()
