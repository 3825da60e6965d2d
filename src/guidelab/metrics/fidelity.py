"""Features and metrics by torch-fidelity 0.4 itself, on an extractor that is given: the other half of `guidelab verify`.

Its extraction loop and its functions on features are called, not `calculate_metrics`: that computes one set of settings a
call and extracts all features again for the next. A test compares both. Its traps are closed here:

* its cache is keyed by names, not content, and answers with old features: it is never in play;
* it averages features in the precision they have, a float32 mean of 50,000 is wrong in the fifth digit: see `Settings`;
* generated is its input 1 and real its input 2, precision and recall trade places otherwise: keywords only;
* FID and precision default to different extractors: the extractor is always given;
* `cuda=True` is its default: the extractor's own device is used;
* it returns FID unclamped, so sets nearly equal give about -1e-6: passed on, never clamped or read as an error;
* it starts data-loading processes: none are started.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from guidelab.metrics.torchvision_repair import import_torchvision
from guidelab.metrics.value import ArrayLike, as_matrix

Extract = Callable[[Tensor], tuple[Tensor, Tensor | None]]  # images [B, C, H, W] uint8 -> features, logits
FEATURES, LOGITS = "features", "logits"
FIDELITY_METRICS = ("fid", "kid", "precision", "recall", "inception_score")
_ROWS = 2000  # of a side whose distances to the other are held at once


@dataclass(frozen=True)
class Settings:
    """What torch-fidelity leaves to its caller; the values here are its defaults.

    Attributes:
        dtype: of the features it averages and compares; its own extractors return float32.
        neighbours: of precision and recall, the point itself excluded.
        kid_subsets, kid_subset: how many random subsets of how many rows of each side, at most all rows.
        splits, shuffle: parts of the Inception score, of images in random order.
    """

    dtype: torch.dtype = torch.float32
    neighbours: int = 3
    kid_subsets: int = 100
    kid_subset: int = 1000
    splits: int = 10
    shuffle: bool = True


class Images(Protocol):
    """Images by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """`[n, C, H, W]` uint8 at `index [n]`."""
        ...


class _One(Dataset[Tensor]):
    """Image by image, as torch-fidelity reads them."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[torch.tensor([index])][0]


def adapter(extract: Extract) -> type[Any]:
    """An extractor as the class that torch-fidelity's registry takes; features and logits stay in their precision.

    Args:
        extract: images [B, C, H, W] uint8 to features [B, F] and logits [B, K] or None.
    """
    import_torchvision()  # torch-fidelity imports it at the top of every module
    from torch_fidelity import FeatureExtractorBase

    class Adapter(FeatureExtractorBase):  # type: ignore[misc]
        """Torch-fidelity's protocol of an extractor."""

        def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
            super().__init__(name, features_list)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            features, logits = extract(x)
            held = {FEATURES: features, LOGITS: logits}
            return tuple(_given(held[key]) for key in self.features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return FEATURES, LOGITS

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return LOGITS if metric == "isc" else FEATURES

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    return Adapter


def extracted(
    images: Images, extract: Extract, *, logits: bool = False, batch: int = 64
) -> tuple[Tensor, Tensor | None]:
    """Features [N, F] and, where they are wanted, logits [N, K] of images by torch-fidelity's loop, on the CPU.

    Args:
        images: uint8, read one by one.
        extract: see `adapter`.
        logits: whether the extractor's logits are kept.
        batch: images at a time.

    Raises:
        ValueError: images that are not uint8, or no logits.
    """
    dtype = images[torch.tensor([0])].dtype
    if dtype != torch.uint8:
        raise ValueError(f"fidelity: {dtype} images, wanted uint8")
    made = adapter(extract)("guidelab", [FEATURES, LOGITS] if logits else [FEATURES])
    from torch_fidelity.utils import get_featuresdict_from_dataset

    found = get_featuresdict_from_dataset(_One(images), made, batch, False, True, False)
    return found[FEATURES], found.get(LOGITS)


def _given(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("fidelity: the Inception score is wanted of an extractor without logits")
    return values


def fidelity(
    names: Sequence[str],
    *,
    generated: ArrayLike,
    reference: ArrayLike,
    logits: Tensor | None = None,
    settings: Settings,
) -> dict[str, float]:
    """The named metrics of features [N, F] and [M, F], each by torch-fidelity's own function.

    Args:
        names: from `FIDELITY_METRICS`.
        generated: its input 1.
        reference: its input 2.
        logits: [N, K] of the generated images, for the Inception score.
        settings: see there.

    Raises:
        ValueError: features of other widths, fewer than 2 rows, or no logits.
    """
    fake, real = (_features(side, name, settings) for name, side in (("generated", generated), ("reference", reference)))  # fmt: skip
    found: dict[str, float] = {}
    if "fid" in names:
        found["fid"] = _fid(fake, real)
    if "kid" in names:
        found["kid"] = _kid(fake, real, settings)
    if {"precision", "recall"} & set(names):
        found |= _precision_recall(fake, real, settings)
    if "inception_score" in names:
        found["inception_score"] = _inception_score(_given(logits), settings)
    return {name: found[name] for name in names}


def _features(values: ArrayLike, name: str, settings: Settings) -> Tensor:
    return as_matrix(values, name, rows=2).cpu().to(settings.dtype)


def _fid(fake: Tensor, real: Tensor) -> float:
    import_torchvision()
    from torch_fidelity import metric_fid

    sides = [metric_fid.fid_features_to_statistics(side) for side in (fake, real)]
    found = metric_fid.fid_statistics_to_metric(*sides, verbose=False)
    return float(found[metric_fid.KEY_METRIC_FID])


def _kid(fake: Tensor, real: Tensor, settings: Settings) -> float:
    import_torchvision()
    from torch_fidelity import metric_kid

    rows = min(settings.kid_subset, len(fake), len(real))
    found = metric_kid.kid_features_to_metric(
        fake, real, kid_subsets=settings.kid_subsets, kid_subset_size=rows, verbose=False
    )
    return float(found[metric_kid.KEY_METRIC_KID_MEAN])


def _precision_recall(fake: Tensor, real: Tensor, settings: Settings) -> dict[str, float]:
    import_torchvision()
    from torch_fidelity import metric_prc

    how = {"prc_neighborhood": settings.neighbours, "prc_batch_size": _ROWS, "save_cpu_ram": True}
    found = metric_prc.prc_features_to_metric(fake, real, **how, verbose=False)
    keys = {"precision": metric_prc.KEY_METRIC_PRECISION, "recall": metric_prc.KEY_METRIC_RECALL}
    return {name: float(found[key]) for name, key in keys.items()}


def _inception_score(logits: Tensor, settings: Settings) -> float:
    import_torchvision()
    from torch_fidelity import metric_isc

    found = metric_isc.isc_features_to_metric(logits, settings.splits, settings.shuffle)
    return float(found[metric_isc.KEY_METRIC_ISC_MEAN])
