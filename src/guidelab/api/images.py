"""Metrics of images in folders, ZIPs or tensors, by the functions behind `guidelab evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from guidelab.compute.device import device
from guidelab.errors import UserError, closest
from guidelab.features.extractor import Extracted, Extractor, check_images
from guidelab.metrics.frechet_fixed import spread
from guidelab.metrics.images import COUNTS, Reference
from guidelab.metrics.value import Value
from guidelab.study import measured

_BATCH = 64


def extractor(name: str = "lite0") -> Extractor:
    """A feature extractor: images `[B, C, H, W]` uint8 of any device to `.features [B, F]` float32 on the GPU, if there is one.

    Args:
        name: `lite0` (its weights come with guidelab), `inception=FILE`, `dinov2=FILE`, `tiny`, or `plugins.FILE:NAME`.
    Raises:
        UserError: not known, or its weights are absent.
    """
    return _Moving(measured.extractor_of(name)[1], device())


def evaluate(
    generated: str | Path | Tensor,
    reference: str | Path | Tensor,
    *,
    features: str = "lite0",
    metrics: Sequence[str] = measured.METRICS,
    counts: str = "all",
    neighbours: int = 3,
) -> dict[str, Value]:
    """Metrics of images against real ones, each with its standard error: what `guidelab evaluate` prints.

    Args:
        generated: a folder or ZIP of images, a folder of shards, or images `[N, C, H, W]` uint8.
        reference: the same of real images; or statistics: `.npz`, or EDM2's `.pkl`.
        features: see `extractor`.
        metrics: some of `fid`, `kid`, `precision`, `recall`; those that need single real images are left out where the
            reference holds none.
        counts: real images in `kid`, `precision`, `recall`: `all`, or `equal` to the generated ones.
        neighbours: `k` of precision and recall.
    Raises:
        UserError: an unknown name, images that are absent, damaged, of another type, of several sizes or too few.
    """
    for given, known in [(counts, COUNTS), *((name, measured.METRICS) for name in metrics)]:
        if given not in known:
            raise UserError(f"evaluate: given {given!r}, wanted {', '.join(known)}{closest(given, known)}")
    name, extract = measured.extractor_of(features)
    extract = _Moving(extract, device())
    made = _features(generated, extract)
    real = _reference(reference, name, extract)
    numbers = measured.measured(made, real, metrics, counts=counts, neighbours=neighbours)
    return {number.metric: number.value for number in numbers}


@dataclass(frozen=True)
class _Moving:
    """An extractor on a device, which batches are moved to."""

    of: Extractor
    where: torch.device

    @property
    def name(self) -> str:
        """See `Extractor`."""
        return self.of.name

    @property
    def sha256(self) -> str:
        """See `Extractor`."""
        return self.of.sha256

    def __call__(self, images: Tensor) -> Extracted:
        """See `Extractor`."""
        return self.of(images.to(self.where))


def _features(images: str | Path | Tensor, extract: Extractor) -> measured.Images:
    if not isinstance(images, Tensor):
        return measured.features_of(Path(images), extract)
    rows = [extract(part).features for part in _checked(images).split(_BATCH)]  # type: ignore[no-untyped-call]
    return measured.Images("images of a tensor", "", torch.cat(rows).cpu())


def _checked(images: Tensor) -> Tensor:
    try:
        check_images(images, "evaluate")
    except ValueError as error:
        raise UserError(str(error)) from error
    if len(images) < 2:
        raise UserError(f"evaluate: {len(images)} images, wanted at least 2")
    return images


def _reference(images: str | Path | Tensor, name: str, extract: Extractor) -> Reference:
    if not isinstance(images, Tensor):
        return measured.reference_of(Path(images), name, extract)
    found = _features(images, extract).features
    return Reference(found, spread(found), n=len(found))
