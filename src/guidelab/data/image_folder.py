"""Pictures in folders, of any size: a folder of files, class folders as ImageNet's, or the EDM2 layout unpacked."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from guidelab.data import limits
from guidelab.data.archive import LISTING, is_leftover, sort_out
from guidelab.data.center_crop import center_crop
from guidelab.data.folds import OWN_SPLITS, check_split, choose
from guidelab.data.image_decode import (
    Pixels,
    UnusableError,
    decode_all,
    decode_any,
    gray_throughout,
)
from guidelab.data.image_labels import labels_of
from guidelab.data.image_set import ImageSet
from guidelab.errors import UserError


def read_folder(path: str | Path, resolution_px: int) -> ImageSet:
    """All pictures under a folder, centre-cropped to one resolution as ADM does, in the order of their names.

    Labels come from dataset.json in the folder, or else from the names of its folders in alphabetical order. The
    set is gray when every picture is, RGB otherwise.

    Args:
        path: the folder.
        resolution_px: height and width wanted; smaller pictures are enlarged.
    Raises:
        UserError: no such folder, no pictures, files that are none, or corrupt, or without a label.
    """
    names, labels = _listed(path)
    return _decoded(path, names, list(range(len(names))), labels, resolution_px)


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    *,
    n: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """One fold of a user's pictures: 10/12, 1/12 and 1/12 of them by a hash of each file's bytes, or all.

    Args:
        split: `train`, `holdout`, `test`, or `all`.
        resolution_px: height and width wanted; see `read_folder`.
        source: the folder.
        n: how many images of the fold, chosen at random; all when None.
        seed: of that choice.
    Raises:
        UserError: see `read_folder`; or no source, an unknown or empty split, too large an n.
    """
    check_split(split, "dataset image_folder", OWN_SPLITS)
    if source is None:
        raise UserError("dataset image_folder: no source given; wanted the path of a folder (`source:`)")
    names, labels = _listed(source)
    chosen = choose(str(source), names, partial(_content, Path(source)), split, n, seed)
    return _decoded(source, names, chosen, labels, resolution_px)


def _listed(path: str | Path) -> tuple[list[str], torch.Tensor | None]:
    """Names of the pictures, and their labels."""
    names, root = names_in(path), Path(path)
    try:
        listing = (root / LISTING).read_bytes() if (root / LISTING).is_file() else None
    except OSError as error:
        raise _unreadable(error) from error
    return names, labels_of(names, listing, str(path))


def names_in(path: str | Path) -> list[str]:
    """Names of the pictures under a folder, relative with `/`, sorted.

    Raises:
        UserError: no such folder, no pictures, files that are none.
    """
    root = Path(path)
    if not root.is_dir():
        hint = "; use the dataset image_zip for a ZIP" if root.is_file() else ""
        raise UserError(f"{path}: is no folder; wanted a folder of pictures{hint}")
    try:
        return sort_out([str(file.relative_to(root).as_posix()) for file in _files(root, ())], str(path))
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> UserError:
    return UserError(f"{error.filename}: cannot be read ({error.strerror}). Mend its permissions.")


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Every file under a folder. Links are followed: caches link to files, ImageNet trees to folders."""
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder}: is a link to a folder above it, so it has no end. Remove it.")
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_leftover(entry.name):  # named, but not searched
            yield Path(entry.path)
        elif entry.is_dir():
            yield from _files(Path(entry.path), (*above, real))
        elif entry.is_file():
            yield Path(entry.path)
        else:
            raise UserError(f"{entry.path}: is a broken link or a special file. Repair or remove it.")


def _content(root: Path, name: str) -> bytes:
    return (root / name).read_bytes()


def _decoded(
    path: str | Path, names: list[str], chosen: list[int], labels: torch.Tensor | None, resolution_px: int
) -> ImageSet:
    if resolution_px < 1:
        raise UserError(f"{path}: given resolution_px {resolution_px}, wanted at least 1")
    content = partial(_content, Path(path))
    gray = gray_throughout(str(path), names, content)  # of all: folds must not differ in their channels

    def decode(name: str, file: bytes) -> Pixels:
        pixels = decode_any(name, file, gray)
        height, width = pixels.shape[:2]
        if resolution_px**2 * max(height, width) > limits.PIXELS * min(height, width):
            raise UnusableError(
                f"is {width} x {height}: too narrow to be brought to {resolution_px} px in this memory"
            )
        cropped = center_crop(np.ascontiguousarray(pixels), resolution_px)
        return cropped.transpose(2, 0, 1)

    picked = [names[index] for index in chosen]
    images = decode_all(str(path), picked, content, decode)
    return ImageSet(images, None if labels is None else labels[torch.tensor(chosen)], tuple(picked))
