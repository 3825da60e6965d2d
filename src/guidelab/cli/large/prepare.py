"""Prepare one fold of a large dataset: streamed, image by image, into a ZIP in the EDM2 dataset format."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from guidelab.checkpoints.store import locate
from guidelab.data.image_decode import Pixels
from guidelab.data.large.complete import check_complete
from guidelab.data.large.fold import Fold
from guidelab.data.large.reference import ReferenceImages
from guidelab.data.large.write import ZipWriter
from guidelab.errors import UserError
from guidelab.io import atomic_write
from guidelab.registry import entry, load


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the fold of a job: a split of its dataset, or the images of a released reference batch.

    The file's bytes depend on the dataset and the job, not on the number of threads. Nothing is left behind when a
    picture cannot be used.
    """
    if job.get("checkpoint"):
        batch = _reference(job)
        labels = None if batch.labels is None else batch.labels.tolist()
        _write(outputs[0], job["fold"], batch, labels, len(batch))
    else:
        prepare_streamed(job["dataset"], job["split"], job.get("n"), job.get("seed", 0), outputs[0])


def prepare_streamed(
    dataset: Mapping[str, Any],
    split: str,
    n: int | None,
    seed: int,
    output: str | Path,
    threads: int | None = None,
) -> int:
    """Prepare one split of a registered dataset that is streamed, and save it.

    Args:
        dataset: name, resolution_px, and optionally classes (the official number otherwise), source (the
            environment's `GUIDELAB_<NAME>` otherwise) and subset (True: files may be missing from ImageNet's classes).
        split: `train`, `holdout` or `test`.
        n: how many images, chosen at random; all when None.
        seed: of that choice.
        output: the ZIP to write.
        threads: processes that decode; as many as torch has threads when None.
    Returns:
        How many images were written.
    Raises:
        UserError: no such dataset, one that is held in memory, or what it says of its source.
    """
    name = dataset["name"].replace("-", "_")
    if entry("dataset", name).needs != "stream":
        raise UserError(
            f"dataset {name}: is held in memory, wanted one that is streamed, such as imagenet or cifar10"
        )
    source = dataset.get("source") or os.environ.get(f"GUIDELAB_{name.upper()}")
    told = {"classes": dataset["classes"]} if dataset.get("classes") else {}
    fold: Fold = load("dataset", name)(split, dataset["resolution_px"], source, n=n, seed=seed, **told)
    if name == "imagenet" and n is None and not dataset.get("subset"):
        check_complete(fold.where, split, **told)
    _write(Path(output), split, fold.images(threads or torch.get_num_threads()), fold.labels, len(fold))
    return len(fold)


def _reference(job: dict[str, Any]) -> ReferenceImages:
    row = job["checkpoint"]
    if row["format"] != "reference_npz":
        raise UserError(
            f"fold {job['fold']}: {row['name']} is of format {row['format']}, which holds statistics and no images; wanted a "
            "reference_npz with images, such as ADM's"
        )
    return ReferenceImages(locate(row, job.get("folder")), job["dataset"]["resolution_px"])


def _write(
    output: Path, name: str, images: Iterable[Pixels], labels: Sequence[int] | None, count: int
) -> None:
    with (
        atomic_write(output) as temporary,
        ZipWriter(temporary) as writer,
        tqdm(total=count, desc=name, unit="image", mininterval=1.0, dynamic_ncols=True) as bar,
    ):
        for index, image in enumerate(images):
            writer.add_image(image, None if labels is None else labels[index])
            bar.update()
        if len(writer) != count:
            raise ValueError(f"{output}: {len(writer)} images were given, wanted {count}")
