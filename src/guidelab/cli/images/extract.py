"""`guidelab extract`: features of every image of a run or of a fold, once, for all metrics that need them."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.features.extractor import Extracted, Extractor
from guidelab.io import save_arrays, sha256
from guidelab.registry import load
from guidelab.shards import load_manifest, read_block

BATCH = 64  # images: small networks' activations stay in cache; rows depend on it by rounding only


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Extract the features of a manifest's blocks, or of a fold's images, and save them."""
    (path,) = job["inputs"]["images"]
    extractor = build_extractor(job)
    if path.endswith(".zip"):
        fold = read_zip(path)
        source: dict[str, Any] = {"fold": Path(path).stem, "n": len(fold)}
        parts = iter([("", fold.images, fold.labels)])
        total = len(fold)
    else:
        source = {key: value for key, value in load_manifest(path).items() if key != "shards"}
        parts = _blocks(path, source)
        total = len(source["seeds"]) * sum(last - first + 1 for first, last in source["blocks"].values())
    tensors: dict[str, Tensor] = {}
    with tqdm(total=total, desc=job["features"], unit="image", mininterval=1.0, dynamic_ncols=True) as bar:
        for prefix, images, labels in parts:
            found = features_of(extractor, images, bar)
            tensors[f"{prefix}features"] = found.features
            if found.logits is not None:
                tensors[f"{prefix}logits"] = found.logits
            if labels is not None:
                tensors[f"{prefix}labels"] = labels
    about = {
        "kind": "features",
        "features": job["features"],
        "extractor": job["extractor"],
        "features_sha256": extractor.sha256,
        "source": source,
        "images_sha256": sha256(path),
        "code": job["code"],
    }
    save_arrays(outputs[0], tensors, about)


def build_extractor(job: dict[str, Any]) -> Extractor:
    """The registered extractor with the job's options; a trained one gets its net's file and the registry.

    Raises:
        UserError: an option the extractor does not know, or one it needs and was not given.
    """
    options = dict(job["extractor"])
    name = options.pop("name")
    if "net" in job["inputs"]:
        options |= {"net_path": job["inputs"]["net"][0], "load_net": lambda net: load("net", net)}
    make = load("extractor", name)
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise UserError(f"features.{job['features']}: {name}: {error}; wanted options of {known}") from error
    extractor: Extractor = make(**options)
    return extractor


def features_of(extractor: Extractor, images: Tensor, bar: "tqdm[Any] | None" = None) -> Extracted:
    """Features [N, F] and, if the extractor classifies, logits [N, K] of images [N, C, H, W] uint8, in order."""
    features, logits = [], []
    for batch in torch.split(images, BATCH):
        found = extractor(batch)
        features.append(found.features)
        if found.logits is not None:
            logits.append(found.logits)
        if bar is not None:
            bar.update(len(batch))
    return Extracted(torch.cat(features), torch.cat(logits) if logits else None)


def _blocks(path: str, source: dict[str, Any]) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Prefix, images and labels of every training seed and block of a manifest, one at a time in memory."""
    for seed in source["seeds"]:
        for block, (first, last) in source["blocks"].items():
            images, labels = read_block(path, seed, block)
            if len(images) != last - first + 1:
                raise UserError(
                    f"{path}: block {block!r} of training seed {seed} holds {len(images)} images, wanted "
                    f"{last - first + 1}. Delete {path} and run again."
                )
            yield f"seed{seed}/{block}/", images, labels
