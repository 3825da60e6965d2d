"""ADM's noisy classifier, and the paper's discriminator: a shallow head on that classifier's frozen features.

Both take `x` in sigma's units and precondition inside, so autograd gives gradients with respect to `x` itself.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.core.chain import schedule_of
from guidelab.core.denoiser import per_sample
from guidelab.nets.adm_encoder import AdmEncoder
from guidelab.nets.frozen import extractor_config, required_class
from guidelab.nets.vp_time import STEPS, cosine_time, time_of_sigma

_DISCRETE = {
    "discrete": "linear",
    "discrete_cosine": "cosine",
}  # steps of these schedules, as `core.chain` has them
SCHEDULES = ("linear", "cosine", *_DISCRETE)


def variance_preserving(x: Tensor, sigma: Tensor, schedule: str = "linear") -> tuple[Tensor, Tensor]:
    """What ADM's networks are given for `x [B, C, H, W]` at `sigma [B]`: `x / sqrt(1 + sigma^2)` and a time step.

    Args:
        x: clean image plus sigma times noise.
        sigma: noise levels.
        schedule: `linear`, the continuous time of discriminator guidance on EDM's noise levels; `cosine`, the same
            for networks trained with ADM's cosine schedule (its 64 px classifier); `discrete` and
            `discrete_cosine`, the step of ADM's discrete schedules, whole at their own noise levels: for guiding
            ADM and DiT along their own chains.
    Returns:
        Scaled input `[B, C, H, W]` and time steps `[B]` between 0 and 999.
    Raises:
        ValueError: a schedule of another name.
    Source: Kim et al. 2023, arXiv:2211.17091, appendix; Dhariwal & Nichol 2021, arXiv:2105.05233 (discrete steps).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"variance_preserving: schedule {schedule!r}; wanted one of {', '.join(SCHEDULES)}")
    sigma = sigma.to(x.dtype)
    scaled = x / per_sample(torch.sqrt(1 + sigma**2), x)
    if schedule in _DISCRETE:
        return scaled, schedule_of(_DISCRETE[schedule]).step_of(sigma)
    time = time_of_sigma(sigma)
    time = cosine_time(time) if schedule == "cosine" else time
    return scaled, time * STEPS


class AdmClassifier(nn.Module):
    """Log-probabilities of the classes of a noisy image.

    Args:
        resolution_px, image_channels, classes: of the images.
        schedule: noise schedule its time steps belong to.
        generator: source of the initial weights.
        encoder: sizes and options of the `AdmEncoder`; by default the paper's for 32 px.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        classes: int,
        schedule: str = "linear",
        generator: torch.Generator | None = None,
        **encoder: Any,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.encoder = AdmEncoder(
            resolution_px=resolution_px,
            image_channels=image_channels,
            outputs=classes,
            generator=generator,
            **encoder,
        )

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log-probabilities `[B, classes]` at `x [B, C, H, W]`, `sigma [B]`; `cond` is not used."""
        scaled, steps = variance_preserving(x, sigma, self.schedule)
        return functional.log_softmax(self.encoder(scaled, steps), dim=1)


class AdmDiscriminator(nn.Module):
    """Logit of real against generated: a shallow half U-Net on the features of a frozen noisy classifier.

    Its state holds the classifier's too, so one file suffices.

    Args:
        resolution_px, image_channels: of the images.
        extractor: constructor arguments of the `AdmClassifier` (its `name`, if given, must be adm_classifier).
        classes: rows of the class embedding; 0 for an unconditional discriminator. (The released ones have
            1000 for any data.)
        generator: source of the initial weights.
        head: sizes and options of the head's `AdmEncoder`; by default the paper's: one level 128 wide, two blocks,
            attention at the side of the features.
    Raises:
        ValueError: an extractor of another kind, or of other images.
    Source: Kim et al. 2023, arXiv:2211.17091.
    """

    def __init__(
        self,
        resolution_px: int,
        image_channels: int,
        extractor: Mapping[str, Any],
        classes: int = 0,
        generator: torch.Generator | None = None,
        **head: Any,
    ) -> None:
        super().__init__()
        self.classes = classes
        config = extractor_config(extractor, "adm_classifier", resolution_px, image_channels)
        self.extractor = AdmClassifier(**config, generator=generator).requires_grad_(False)
        width, side, _ = self.extractor.encoder.feature_shape
        paper: dict[str, Any] = {"channels": 128, "channel_mult": (1,), "blocks": 2, "attention_px": (side,)}
        self.head = AdmEncoder(
            resolution_px=side,
            image_channels=width,
            outputs=1,
            labels=classes,
            generator=generator,
            **{**paper, **head},
        )

    def extract(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The frozen classifier's map `[B, F, h, w]` at `x [B, C, H, W]`, `sigma [B]`."""
        scaled, steps = variance_preserving(x, sigma, self.extractor.schedule)
        return self.extractor.encoder.features(scaled, steps)

    def judge(self, features: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logit `[B]` of features `[B, F, h, w]` taken at `sigma [B]`, for classes `cond [B]` if conditional."""
        _, steps = variance_preserving(features, sigma, self.extractor.schedule)
        out: Tensor = self.head(features, steps, required_class(cond, self.classes))
        return out[:, 0]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Logit `[B]`, an estimate of `log p/q`, at `x [B, C, H, W]`, `sigma [B]`, `cond [B]` or None."""
        return self.judge(self.extract(x, sigma), sigma, cond)
