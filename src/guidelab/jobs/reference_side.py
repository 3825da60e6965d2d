"""The real side of a feature space: features of a split of real images, or published statistics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import wanted
from guidelab.metrics.frechet_fixed import Spread, spread
from guidelab.metrics.images import Reference, released_statistics

_DISTANCES = {"statistics": "fid", "spatial": "sfid"}  # the metrics that need them


@dataclass(frozen=True)
class File:
    """A file of arrays: its path, tensors and description."""

    path: str
    tensors: dict[str, Tensor]
    about: dict[str, Any]


def check_features(file: File, name: str) -> None:
    """Refuse a file that does not hold the features of an extractor.

    Raises:
        UserError: it holds other ones.
    """
    if file.about.get("kind") != "features" or file.about["features"] != name:
        raise UserError(f"{file.path}: holds features {file.about.get('features')!r}, wanted {name!r}")


def split_of(real: File, options: dict[str, Any], generated: File) -> str:
    """The split of real images a file holds features of, after checking split and extractor.

    Raises:
        UserError: another split, other features or other weights.
    """
    check_features(real, options["of"])
    for key in ("features_sha256", "extractor"):
        if generated.about[key] != real.about[key]:
            raise UserError(
                f"{real.path}: {key} is {real.about[key]}, that of {generated.path} is {generated.about[key]}. Delete the "
                "older of the two and run again."
            )
    split = str(real.about["source"]["fold"])
    if split != options["reference"]:
        raise UserError(
            f"{real.path}: holds features of fold {split!r}, wanted {options['reference']!r}. Delete the file and run again."
        )
    return split


def named(statistics: File) -> str:
    """The name of a published file in rows.

    Raises:
        UserError: the file holds something else.
    """
    about = statistics.about
    if about.get("kind") != "statistics":
        raise UserError(f"{statistics.path}: holds {about.get('kind')!r}, wanted released statistics")
    return f"released {about.get('released', {}).get('name', Path(statistics.path).stem)}"


def reference(needs: set[str], of: str, real: File | None, statistics: File | None) -> Reference:
    """The real side of metrics: features of single images, and statistics that are published or the split's.

    Args:
        needs: what the metrics need, words of `registry.plugin_checks.PARTS`.
        of: name of the features.
        real: features of real images.
        statistics: published mean and covariance.
    Raises:
        UserError: absent arrays, features that are not finite, or no mean with its covariance.
    """
    features = _features(real) if real else None
    found: dict[str, Spread | None] = {"statistics": None, "spatial": None}
    for part in [p for p in found if p in needs]:
        suffix = "_spatial" if part == "spatial" else ""
        if statistics:
            family = f"_{of}" if f"mean_{of}" in statistics.tensors else ""  # EDM2's files hold two families
            found[part] = _released(statistics, suffix or family)
        elif real:
            rows = wanted(real.tensors, suffix[1:] or "features", real.path, (None, None))
            try:
                found[part] = spread(rows)
            except ValueError as error:
                raise UserError(
                    f"{real.path}: {_DISTANCES[part]}: {error} Delete the file and run again."
                ) from error
    n = int(statistics.about.get("n", 0)) if statistics else 0
    return Reference(features, found["statistics"], found["spatial"], statistics is not None, n)


def _features(real: File) -> Tensor:
    """Features [M, F] of real images.

    Raises:
        UserError: absent, or some are not finite: the reference must be complete.
    """
    features = wanted(real.tensors, "features", real.path, (None, None))
    odd = int((~torch.isfinite(features).all(dim=1)).sum())
    if odd:
        raise UserError(
            f"{real.path}: {odd} of {len(features)} real images have features that are not finite. Delete the file and run again."
        )
    return features


def _released(file: File, suffix: str) -> Spread:
    """Mean and covariance of a file.

    Raises:
        UserError: absent, or no mean with its covariance.
    """
    mean = wanted(file.tensors, f"mean{suffix}", file.path, (None,))
    cov = wanted(file.tensors, f"cov{suffix}", file.path, (len(mean), len(mean)))
    try:
        return released_statistics(mean, cov)
    except ValueError as error:
        raise UserError(f"{file.path}: {error}. Import the file again.") from error
