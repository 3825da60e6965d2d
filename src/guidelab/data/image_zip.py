"""A user's dataset in the EDM2 format: a ZIP of PNG or NPY images with a dataset.json of labels.

Source: Karras et al. 2024, arXiv:2312.02696, and its dataset tool.
"""

from pathlib import Path

import torch

from guidelab.data.archive import Archive
from guidelab.data.folds import OWN_SPLITS, check_split, choose
from guidelab.data.image_decode import decode_all, decode_exact
from guidelab.data.image_labels import labels_of
from guidelab.data.image_set import ImageSet
from guidelab.data.resize import area_average
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError


def read_zip(path: str | Path) -> ImageSet:
    """All images of a dataset, in the order of their names, with the labels of dataset.json or of class folders.

    Raises:
        UserError: absent, no ZIP, unsafe; or files are corrupt, not square, not of one shape, without a label.
    """
    with Archive(path) as archive:
        labels = labels_of(archive.names, archive.listing(), archive.where)
        images = decode_all(archive.where, archive.names, archive.content, decode_exact)
        return ImageSet(images, labels, tuple(archive.names))


def write_zip(path: str | Path, image_set: ImageSet) -> None:
    """Write a dataset that is in memory (see `ZipWriter`); names are not kept, as the format has no place for them."""
    labels = image_set.labels
    with ZipWriter(path) as writer:
        for index, image in enumerate(image_set.images.numpy()):
            writer.add_image(image, None if labels is None else int(labels[index]))


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    *,
    n: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """One fold of a user's dataset in the EDM2 format: 10/12, 1/12 and 1/12 of it by a hash of each file's bytes, or all.

    Args:
        split: `train`, `holdout`, `test`, or `all`.
        resolution_px: height and width wanted; larger images are area-averaged.
        source: the ZIP.
        n: how many images of the fold, chosen at random; all when None.
        seed: of that choice.
    Raises:
        UserError: see `read_zip`; or no source, an unknown or empty split, too large an n or resolution.
    """
    check_split(split, "dataset image_zip", OWN_SPLITS)
    if source is None:
        raise UserError("dataset image_zip: no source given; wanted the path of a ZIP of images (`source:`)")
    with Archive(source) as archive:
        labels = labels_of(archive.names, archive.listing(), archive.where)
        chosen = choose(archive.where, archive.names, archive.content, split, n, seed)
        names = [archive.names[index] for index in chosen]
        images = decode_all(archive.where, names, archive.content, decode_exact)
    if images.shape[-1] < resolution_px or resolution_px < 1:
        raise UserError(
            f"{source}: its images are {images.shape[-1]} px, given resolution_px {resolution_px}; "
            f"wanted 1 to {images.shape[-1]}: images are not enlarged"
        )
    picked = None if labels is None else labels[torch.tensor(chosen)]
    return ImageSet(area_average(images, resolution_px), picked, tuple(names))
