"""Measure images in any folder or ZIP: compute features once, then the metrics of `guidelab measure`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.checkpoints.statistics import FAMILIES, read_features, read_npz, read_pkl
from guidelab.compute.device import device
from guidelab.compute.precision import settle
from guidelab.data.loose import LooseImages
from guidelab.errors import UserError
from guidelab.features.extractor import Extractor
from guidelab.io import atomic_write, sha256
from guidelab.jobs.extract import PIECE, Piece, ahead, build_extractor, gathered, on_device, opened
from guidelab.metrics.frechet_fixed import Spread, spread
from guidelab.metrics.images import Generated, Number, Reference, measure_images, released_statistics
from guidelab.study.pictures import MANIFEST, is_ours
from guidelab.study.spaces import space_of

NEEDS_IMAGES = ("kid", "precision", "recall")
METRICS = ("fid", *NEEDS_IMAGES)


@dataclass(frozen=True)
class Images:
    """Features of a set of images: path, extractor, `[N, F]` float32."""

    path: str
    sha256: str
    features: Tensor


def extractor_of(text: str) -> tuple[str, Extractor]:
    """`lite0`, `tiny`, `inception=FILE`, `dinov2=FILE` or `plugins.mine:Name`: a name of features and its extractor.

    Raises:
        UserError: not known, or its weights are absent.
    """
    name, options = space_of(text)
    where = device()
    settle(where)
    return name, on_device(build_extractor({"features": name, "extractor": options, "inputs": {}}), where)


def points(path: Path) -> list[Path]:
    """The folders of a sweep of `guidelab generate`, one a weight; otherwise the path itself."""
    if not path.is_dir() or _is_point(path):
        return [path]
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and _is_point(folder)) or [path]


def _is_point(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or is_ours(folder)


def features_of(path: Path, extractor: Extractor) -> Images:
    """The features of all images of a folder, a ZIP, or a folder of shards.

    Raises:
        UserError: absent, without images, of several sizes, damaged.
    """
    manifest = path / MANIFEST if (path / MANIFEST).is_file() else path
    if manifest.suffix == ".json":
        _, total, pieces = opened(str(manifest))
        digest = sha256(manifest)
    else:
        images = LooseImages(path)
        total, pieces, digest = len(images), _pieces(images), images.sha256()
    with tqdm(total=total, desc=path.name, unit="image", mininterval=1.0, dynamic_ncols=True) as bar:
        found = gathered(ahead(pieces), extractor, device(), bar)
    parts = [rows for name, rows in found.items() if name.rpartition("/")[2] == "features"]
    return Images(str(path), digest, torch.cat(parts))


def _pieces(images: LooseImages) -> Iterator[Piece]:
    for part in images.pieces(PIECE):
        yield Piece("", len(images), part, None)


def reference_of(path: Path, name: str, extractor: Extractor) -> Reference:
    """The real side: images of a folder or ZIP, or statistics (.npz, EDM2's .pkl) with features where the file has them.

    Raises:
        UserError: see `features_of`; or statistics of other features.
    """
    if path.is_dir() or path.suffix not in (".npz", ".pkl"):
        found = features_of(path, extractor)
        return Reference(found.features, _spread(path, found.features), n=len(found.features))
    tensors = (read_npz if path.suffix == ".npz" else read_pkl)(path)[1]
    about, features = read_features(path) if path.suffix == ".npz" else ({}, None)
    if about and about.get("sha256") != extractor.sha256:
        raise UserError(
            f"{path}: holds features {about.get('features')!r}, wanted those of {name}; give --features, or make it again with "
            "guidelab statistics"
        )
    family = f"_{name}" if f"mean_{name}" in tensors else ""
    if not about and path.suffix == ".pkl" and not family and name != "inception":
        raise UserError(
            f"{path}: holds {' and '.join(FAMILIES)} of inception and dinov2, wanted those of {name}"
        )
    if features is not None:
        return Reference(features, _spread(path, features), n=len(features))
    statistics = released_statistics(tensors[f"mean{family}"], tensors[f"cov{family}"])
    return Reference(None, statistics, released=True)


def measured(
    found: Images, reference: Reference, names: Sequence[str], *, counts: str, neighbours: int
) -> list[Number]:
    """The numbers of one set of images; metrics that need single real images are left out where there are none.

    Raises:
        UserError: too few images, or features of other widths.
    """
    usable = [name for name in names if reference.features is not None or name not in NEEDS_IMAGES]
    try:
        generated = Generated(found.features)
        return measure_images(generated, reference, usable, k=neighbours, counts=counts)
    except ValueError as error:
        raise UserError(f"{found.path}: {error}") from error


def rows_of(found: Images, numbers: Sequence[Number], reference: Path, name: str, sha: str) -> pd.DataFrame:
    """One row a number, with what it is of."""
    return pd.DataFrame(
        {
            "images": found.path, "metric": f"{number.metric}@{name}", "value": number.value.value,
            "std_error": number.value.std_error, "n_generated": number.n_generated, "n_reference": number.n_reference,
            "reference": str(reference), "features_sha256": sha, "images_sha256": found.sha256, "note": number.value.note,
        }
        for number in numbers
    )  # fmt: skip


def write_statistics(found: Images, name: str, sha: str, output: Path) -> None:
    """Mean, covariance and the features themselves: `mu`, `sigma` as in EDM and ADM, `features` for precision and recall."""
    moments = _spread(Path(found.path), found.features).moments
    about = {
        "features": name,
        "sha256": sha,
        "n": len(found.features),
        "images": found.path,
        "images_sha256": found.sha256,
    }
    arrays: dict[str, Any] = {
        "mu": moments.mean,
        "sigma": moments.cov,
        "features": found.features.numpy(),
        "guidelab": np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
    }
    with atomic_write(output) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _spread(path: Path, features: Tensor) -> Spread:
    try:
        return spread(features)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
