"""The same distances by torch-fidelity's own functions, as a cross-check of ours.

Its functions on feature arrays are called directly, so its cache of features by input name (stale as soon as
the images behind a name change) is never in play. Features go in as float64: it averages in the precision it
is given, and a float32 mean of 50 000 features is wrong in the fifth digit.
"""

from dataclasses import dataclass
from types import ModuleType

import torch

from guidelab.metrics.torchvision_repair import import_torchvision
from guidelab.metrics.value import ArrayLike, as_matrix


@dataclass(frozen=True)
class FidelityValues:
    """torch-fidelity's numbers for one generated and one reference set."""

    frechet: float
    precision: float
    recall: float


def fidelity(*, generated: ArrayLike, reference: ArrayLike, k: int = 3) -> FidelityValues:
    """Fréchet distance, precision and recall of features [N, F] and [M, F] by torch-fidelity 0.4.

    In its language the generated set is input 1 and the real one input 2; precision and recall trade places
    when they are exchanged (releases before 0.4 had them the other way round).

    Raises:
        ImportError: torch-fidelity is not installed.
    """
    metric_fid, metric_prc = _modules()
    fake, real = _float64(generated, "generated"), _float64(reference, "reference")
    statistics = [metric_fid.fid_features_to_statistics(side) for side in (fake, real)]
    distance = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    neighbours = metric_prc.prc_features_to_metric(
        fake, real, prc_neighborhood=k, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    return FidelityValues(
        frechet=float(distance[metric_fid.KEY_METRIC_FID]),
        precision=float(neighbours[metric_prc.KEY_METRIC_PRECISION]),
        recall=float(neighbours[metric_prc.KEY_METRIC_RECALL]),
    )


def _float64(features: ArrayLike, name: str) -> torch.Tensor:
    return as_matrix(features, name, rows=2).cpu()


def _modules() -> tuple[ModuleType, ModuleType]:
    import_torchvision()  # torch-fidelity imports it at the top of every module
    from torch_fidelity import metric_fid, metric_prc

    return metric_fid, metric_prc
