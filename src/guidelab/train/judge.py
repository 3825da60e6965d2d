"""A discriminator in two parts on its device: features of noisy examples (may be frozen and cached), then logits."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from guidelab.train.noisy import NoisyBatch
from guidelab.train.precision import Precision


class Discriminator(Protocol):
    """A network in two parts: features that may be frozen, and `judge`, their head. Without these methods the whole network is the head."""

    extractor: nn.Module | None

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logits `[B]` of noisy examples."""
        ...

    def extract(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Features of noisy images."""
        ...

    def judge(self, features: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logits `[B]` of features."""
        ...


@dataclass(frozen=True)
class Seen:
    """Inputs of the head: features `[B, ...]`, noise levels `[B]`, labels `[B]` or None."""

    features: Tensor
    sigma: Tensor
    labels: Tensor | None

    def pick(self, index: Tensor) -> "Seen":
        """Some of the rows."""
        labels = None if self.labels is None else self.labels[index]
        return Seen(self.features[index], self.sigma[index], labels)


class Judge:
    """A discriminator on its device."""

    def __init__(self, disc: Discriminator, precision: Precision) -> None:
        self.disc, self.precision = disc, precision
        self.frozen = getattr(disc, "extractor", None) is not None

    @torch.no_grad()
    def look(self, images: NoisyBatch) -> Seen:
        """Features, on the device, without gradients: they are frozen, or the images themselves."""
        images = self.precision.moved(images)
        with self.precision.arithmetic():
            features = self.disc.extract(images.x, images.sigma) if self.frozen else images.x
        # the head derives its time steps in the features' precision
        return Seen(features.to(torch.float32), images.sigma, images.labels)

    def judge(self, seen: Seen) -> Tensor:
        """Logits `[B]` float32."""
        with self.precision.arithmetic():
            judge = self.disc.judge if self.frozen else self.disc
            return judge(seen.features, seen.sigma, seen.labels).to(torch.float32)

    def kept(self, images: NoisyBatch) -> Seen:
        """Features on the CPU."""
        seen = self.look(images)
        features = seen.features.to(self.precision.half or torch.float32).cpu()
        return Seen(features, images.sigma, images.labels)

    def back(self, seen: Seen) -> Seen:
        """Kept features, on the device."""
        labels = None if seen.labels is None else self.precision.here(seen.labels)
        features = self.precision.here(seen.features).to(torch.float32)
        return Seen(features, self.precision.here(seen.sigma), labels)
