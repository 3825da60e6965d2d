"""torch-fidelity's whole path, images to numbers, on an extractor of ours: the cross-check of extraction and metrics.

Its traps are closed here, each by an argument it has or a check before the call:

* its cache is keyed by names, not content, and answers with old features: always off;
* it averages features in the precision they have: the adapter returns float64;
* generated is its input 1 and real its input 2; precision and recall trade places otherwise: keywords only;
* precision and recall depend on both sizes: unequal n is refused;
* FID and precision default to different extractors, and asking for both fails: the extractor is always named;
* `cuda=True` is its default: the device is stated;
* it returns FID unclamped, so sets nearly equal give about -1e-6: passed on, never clamped or read as an error;
* it starts data-loading processes for tensors in memory: none are started.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from guidelab.metrics.torchvision_repair import import_torchvision

Extract = Callable[[Tensor], tuple[Tensor, Tensor | None]]  # images [B, C, H, W] uint8 -> features, logits
FEATURES, LOGITS = "features", "logits"
_numbers = itertools.count()  # registration is for the process and refuses a name twice


@dataclass(frozen=True)
class FidelityImages:
    """torch-fidelity's numbers for one generated and one reference set of images."""

    fid: float
    kid: float
    precision: float
    recall: float
    inception_score: float | None


class _Images(Dataset[Tensor]):
    """Bare image tensors, as torch-fidelity wants them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def register_extractor(name: str, extract: Extract) -> str:
    """Register an extractor of ours with torch-fidelity for this process; returns the name it got.

    Args:
        name: a number is appended, so that another extractor of that name is never used by mistake.
        extract: images [B, C, H, W] uint8 to features [B, F] and logits [B, K] or None.
    """
    import_torchvision()  # torch-fidelity imports it at the top of every module
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor

    class Adapter(FeatureExtractorBase):  # type: ignore[misc]
        """The protocol torch-fidelity calls: a class, made anew for each set."""

        def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
            super().__init__(name, features_list)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            features, logits = extract(x)
            found = {FEATURES: features, LOGITS: logits}
            return tuple(_given(found[key]).to(torch.float64) for key in self.features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return FEATURES, LOGITS

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return LOGITS if metric == "isc" else FEATURES

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    registered = f"guidelab-{name}-{next(_numbers)}"
    register_feature_extractor(registered, Adapter)
    return registered


def _given(values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError("fidelity_images: the Inception score is wanted of an extractor without logits")
    return values


def fidelity_images(
    *,
    generated: Tensor,
    reference: Tensor,
    extractor: str,
    k: int = 3,
    kid_subset: int | None = None,
    inception_score: bool = False,
    batch: int = 64,
) -> FidelityImages:
    """All metrics of two sets of images [N, C, H, W] uint8 in one call of torch-fidelity 0.4.

    Args:
        generated: its input 1.
        reference: its input 2, as many.
        extractor: a registered name: ours from `register_extractor`, or one of its own.
        k: neighbours of precision and recall, the point itself excluded.
        kid_subset: rows of each of KID's 100 random subsets; all rows when not given, then every subset is the set.
        inception_score: whether the extractor's logits are scored, in one split.
        batch: images at a time.

    Raises:
        ValueError: unequal n, or images that are not uint8.
    """
    if len(generated) != len(reference):
        raise ValueError(
            f"fidelity_images: {len(generated)} generated and {len(reference)} real images, wanted equal n"
        )
    if generated.dtype != torch.uint8 or reference.dtype != torch.uint8:
        raise ValueError(f"fidelity_images: {generated.dtype} and {reference.dtype} images, wanted uint8")
    import_torchvision()
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=_Images(generated),
        input2=_Images(reference),
        cuda=False,
        feature_extractor=extractor,
        fid=True,
        kid=True,
        prc=True,
        isc=inception_score,
        isc_splits=1,
        prc_neighborhood=k,
        kid_subset_size=kid_subset or len(generated),
        kid_subsets=100 if kid_subset else 1,
        batch_size=batch,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    return FidelityImages(
        fid=found["frechet_inception_distance"],
        kid=found["kernel_inception_distance_mean"],
        precision=found["precision"],
        recall=found["recall"],
        inception_score=found.get("inception_score_mean"),
    )
