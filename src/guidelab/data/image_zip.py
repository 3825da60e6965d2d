"""The EDM2 dataset format: an uncompressed ZIP of PNG or NPY images with a dataset.json of labels.

Source: Karras et al. 2024, arXiv:2312.02696, and its dataset tool.
"""

import json
import zipfile
from pathlib import Path

import torch

from guidelab.data.archive import LISTING, Archive
from guidelab.data.folds import OWN_SPLITS, check_split, choose
from guidelab.data.image_decode import decode_all, decode_exact
from guidelab.data.image_labels import labels_of
from guidelab.data.image_set import ImageSet
from guidelab.data.png import encode_png
from guidelab.data.resize import area_average
from guidelab.errors import UserError

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can hold: bytes must not depend on the clock
_MODE = 0o100644 << 16  # a plain file, read by all
_UNIX = 3  # the system whose modes these are


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
    """Write a dataset; the same images and labels give the same bytes, on every machine.

    Images become `00000/img00000000.png` and so on in their order (`.npy` unless gray or RGB); their own names are
    not kept, as the format has no place for them. Write to a temporary path and rename it: this function does not.
    """
    suffix = "png" if image_set.channels in (1, 3) else "npy"
    names = [f"{index // 1000:05d}/img{index:08d}.{suffix}" for index in range(len(image_set))]
    labels = None if image_set.labels is None else image_set.labels.tolist()
    listed = None if labels is None else [list(pair) for pair in zip(names, labels, strict=True)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, image in zip(names, image_set.images.numpy(), strict=True):
            _add(file, name, encode_png(image) if suffix == "png" else _npy(image.tobytes(), image.shape))
        _add(file, LISTING, json.dumps({"labels": listed}).encode())


def _npy(content: bytes, shape: tuple[int, ...]) -> bytes:
    """An NPY file of uint8, version 1.0, its header padded to a multiple of 64 bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def _add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr, entry.create_system = _MODE, _UNIX
    file.writestr(entry, content)


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    cache: str | Path | None = None,
    *,
    n: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """One fold of a user's dataset in the EDM2 format: 10/12, 1/12 and 1/12 of it by a hash of each file's bytes, or all.

    Args:
        split: `train`, `holdout`, `test`, or `all`.
        resolution_px: height and width wanted; larger images are area-averaged.
        source: the ZIP.
        cache: not used; there is nothing to fetch.
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
