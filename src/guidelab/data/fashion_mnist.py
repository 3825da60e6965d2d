"""Fashion-MNIST: 70,000 gray pictures of clothes, 28 x 28, ten classes, in folds fixed by their content.

Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; MIT licence.
"""

import gzip
import hashlib
import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidelab.data import fashion_mnist_files as files
from guidelab.data.folds import BY_CONTENT, check_split, subset, twelfth
from guidelab.data.image_set import ImageSet
from guidelab.data.resize import area_average
from guidelab.errors import UserError

SIZE_PX = 28
_UINT8 = 0x08  # the only type of number an idx file of images or labels holds
_LARGEST = 1 << 30  # bytes unpacked: twenty times the larger file
_log = logging.getLogger(__name__)


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    cache: str | Path | None = None,
    *,
    n: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """One fold, area-averaged to a working resolution.

    `train` (49,952 images) and `holdout` (10,048) part the 60,000 training images by a hash of each image's 784
    bytes, so that identical images are never on both sides; `test` is the 10,000 test images less those that also
    occur, byte for byte, among the training images (there are none).

    Args:
        split: `train`, `holdout` or `test`.
        resolution_px: 1 to 28.
        source: a folder with the four published files; None to have them found or fetched.
        cache: where fetched files are kept; see `fashion_mnist_files.find`.
        n: how many images of the fold, chosen at random from all classes; all when None.
        seed: of that choice.
    Returns:
        images `[N, 1, resolution_px, resolution_px]`, labels 0 to 9, names such as `train/01234`: the image's
        place in the published file. In the published order.
    Raises:
        UserError: an unknown split, a resolution above 28 px, too large an n, or no source that serves.
    """
    check_split(split, "dataset fashion_mnist")
    if not 1 <= resolution_px <= SIZE_PX:
        raise UserError(
            f"dataset fashion_mnist: given resolution_px {resolution_px}, wanted 1 to {SIZE_PX}: "
            "images are not enlarged"
        )
    contents = files.find(source, cache)
    images, labels, places = _test(contents) if split == "test" else _training(contents, split)
    chosen = torch.tensor(subset(len(images), n, seed, f"dataset fashion_mnist, split {split}"))
    part = "test" if split == "test" else "train"
    names = tuple(f"{part}/{int(place):05d}" for place in places[chosen])
    return ImageSet(area_average(images[chosen], resolution_px), labels[chosen], names)


def _training(contents: files.Contents, split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and places of `train` or `holdout`."""
    images, labels = _pair(contents, files.TRAIN_IMAGES, files.TRAIN_LABELS)
    train = torch.tensor([twelfth(image.tobytes()) in BY_CONTENT["train"] for image in images])
    places = (train if split == "train" else ~train).nonzero()[:, 0]
    return torch.from_numpy(images)[places, None], torch.from_numpy(labels)[places].long(), places


def _test(contents: files.Contents) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and places of the test images that are not training images too."""
    images, labels = _pair(contents, files.TEST_IMAGES, files.TEST_LABELS)
    training, _ = _pair(contents, files.TRAIN_IMAGES, files.TRAIN_LABELS)
    known = {hashlib.sha256(image.tobytes()).digest() for image in training}
    new = torch.tensor([hashlib.sha256(image.tobytes()).digest() not in known for image in images])
    _log.info("fashion_mnist: %d test images are training images too, left out", int((~new).sum()))
    places = new.nonzero()[:, 0]
    return torch.from_numpy(images)[places, None], torch.from_numpy(labels)[places].long(), places


def _pair(
    contents: files.Contents, images: files.Published, labels: files.Published
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images `[N, 28, 28]` and labels `[N]` of one part."""
    pixels, classes = (parse_idx(contents[file.name], file.name) for file in (images, labels))
    if pixels.shape[1:] != (SIZE_PX, SIZE_PX) or classes.shape != pixels.shape[:1]:
        raise UserError(
            f"{images.name}, {labels.name}: hold {pixels.shape} images and {classes.shape} labels, "
            f"wanted [N, {SIZE_PX}, {SIZE_PX}] and [N]"
        )
    return pixels, classes


def parse_idx(content: bytes, where: str) -> NDArray[np.uint8]:
    """The array of a gzipped idx file of unsigned bytes, of the shape its header says.

    Raises:
        UserError: not gzip, another magic number or type, or more or fewer values than the header says.
    Source: the description of the idx format on the MNIST page.
    """
    try:
        raw = _unpacked(content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"{where}: is no readable gzip file ({error}). Fetch it again.") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _UINT8 or len(raw) < 4 + 4 * raw[3]:
        raise UserError(
            f"{where}: begins with {raw[:4].hex()}, wanted an idx file of unsigned bytes (000008..). Fetch it again."
        )
    start = 4 + 4 * raw[3]
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    values = np.frombuffer(raw, np.uint8, offset=start)
    if raw[3] == 0 or len(values) != int(np.prod(shape, dtype=object)):
        raise UserError(f"{where}: holds {len(values)} values, its header says {shape}. Fetch it again.")
    return values.reshape(shape).copy()


def _unpacked(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        raw = file.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise ValueError(f"more than {_LARGEST} bytes unpacked")
    return raw
