"""Write a split of an image dataset to a ZIP in the EDM2 dataset format, image by image."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.checkpoints.store import locate
from guidelab.data.complete import check_complete
from guidelab.data.image_decode import Pixels
from guidelab.data.latents import holds_latents, prepare_latents
from guidelab.data.reference import ReferenceImages
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError, home_path
from guidelab.io import atomic_write
from guidelab.registry import DATASETS


class Prepared(NamedTuple):
    """What was written: images or latents, how many, the shape of each, and of how many classes (0: no labels)."""

    what: str
    n: int
    shape: tuple[int, ...]
    classes: int


def save(job: Mapping[str, Any], output: Path) -> None:
    """Write the fold of a job: a split of its dataset, or the images of a released reference batch.

    The file's bytes depend on the dataset and the job, not on the number of threads. Nothing is left behind when a
    picture cannot be used.
    """
    if job.get("checkpoint"):
        batch = _reference(job)
        labels = None if batch.labels is None else batch.labels.tolist()
        _write(output, job["fold"], batch, labels, len(batch))
    else:
        prepare_dataset(job["dataset"], job["split"], job.get("n"), job.get("seed", 0), output)


def prepare_dataset(
    dataset: Mapping[str, Any],
    split: str,
    n: int | None,
    seed: int,
    output: str | Path,
    threads: int | None = None,
) -> Prepared:
    """Prepare one split of a registered dataset of images, and save it; of a ZIP of latents, the latents.

    Args:
        dataset: name (`-` may stand for `_`), resolution_px, and optionally source (a folder or file of the user's;
            by default where the dataset is known to be), of streamed ones also classes (the official number otherwise)
            and subset (True: files may be missing from ImageNet's classes).
        split: `train`, `holdout` or `test`; of a user's own images also `all`.
        n: how many images, chosen at random; all when None.
        seed: of that choice.
        output: the ZIP to write.
        threads: processes that decode a streamed dataset; as many as torch has threads when None.
    Returns:
        What was written.
    Raises:
        UserError: no such dataset, one of points, or what the dataset says of its source.
    """
    name = dataset["name"].replace("-", "_")
    found = DATASETS.entry(name)
    if not found.target.endswith(":prepare"):  # what reads images goes by this name
        raise UserError(f"guidelab prepare: {name} is no dataset of images, so it has no splits to prepare")
    source = dataset.get("source")
    if name == "image_zip" and source is not None and holds_latents(source):
        with atomic_write(output) as temporary:
            latents = prepare_latents(source, split, dataset["resolution_px"], temporary, n, seed)
        return Prepared("latents", len(latents), latents.shape, _classes(latents.labels))
    options: dict[str, Any] = {"cache": cache_folder()} if found.needs == "cache" else {}
    if found.needs == "stream":
        source = source or os.environ.get(f"GUIDELAB_{name.upper()}")
        options = {"classes": dataset["classes"]} if dataset.get("classes") else {}
    fold = DATASETS.load(name)(split, dataset["resolution_px"], source, n=n, seed=seed, **options)
    if name == "imagenet" and n is None and not dataset.get("subset"):
        check_complete(fold.where, split, **options)
    pixels = fold.pixels(threads or torch.get_num_threads())
    shape = _write(Path(output), split, pixels, fold.labels, len(fold))
    return Prepared("images", len(fold), shape, _classes(fold.labels))


def cache_folder() -> Path:
    """Where downloads are kept: `GUIDELAB_CACHE`, by default `~/.cache/guidelab`; without a home folder, `.cache` here."""
    given = os.environ.get("GUIDELAB_CACHE")
    return home_path(given) if given else home_path("~/.cache/guidelab", Path(".cache", "guidelab"))


def _classes(labels: Sequence[int] | Tensor | None) -> int:
    return 0 if labels is None else len(set(map(int, labels)))


def _reference(job: Mapping[str, Any]) -> ReferenceImages:
    row = job["checkpoint"]
    if row["format"] != "reference_npz":
        raise UserError(
            f"fold {job['fold']}: {row['name']} is of format {row['format']}, which holds statistics and no images; wanted a "
            "reference_npz with images, such as ADM's"
        )
    return ReferenceImages(locate(row, job.get("folder")), job["dataset"]["resolution_px"])


def _write(
    output: Path, name: str, images: Iterable[Pixels], labels: Sequence[int] | Tensor | None, count: int
) -> tuple[int, ...]:
    """Write all images; returns their shape."""
    shape: tuple[int, ...] = ()
    with (
        atomic_write(output) as temporary,
        ZipWriter(temporary) as writer,
        tqdm(total=count, desc=name, unit="image", mininterval=1.0, dynamic_ncols=True) as bar,
    ):
        for index, image in enumerate(images):
            writer.add_image(image, None if labels is None else int(labels[index]))
            shape = image.shape
            bar.update()
        if len(writer) != count:
            raise ValueError(f"{output}: {len(writer)} images were given, wanted {count}")
    return shape
