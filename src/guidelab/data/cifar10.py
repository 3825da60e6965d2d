"""CIFAR-10 from its binary version: `cifar-10-binary.tar.gz`, or the folder `cifar-10-batches-bin` unpacked from it.

The Python version is a pickle and is never read. A record is a byte of class and 3072 bytes of colours: red, green
and blue planes of 32 x 32 pixels.
Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from guidelab.data.fold import Fold
from guidelab.data.folds import check_split, subset, twelfth
from guidelab.data.image_decode import Pixels
from guidelab.data.image_zip import read_zip
from guidelab.data.resize import area_average
from guidelab.data.tar import read_members
from guidelab.errors import UserError, home_path

VARIABLE = "GUIDELAB_CIFAR10"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
SIDE, RECORD, RECORDS, CLASSES = 32, 3073, 10_000, 10
MADE_UP = "synthetic.json"  # next to synthetic batches: their numbers of records and classes
_MAX_MADE_UP = 1 << 16
_WANTED = (
    "cifar-10-binary.tar.gz, the folder unpacked from it, or EDM's cifar10-32x32.zip (training images alone)"
)


class _Counts(NamedTuple):
    classes: int
    records: dict[str, int]  # by file


def prepare(
    split: str,
    resolution_px: int,
    source: str | Path | None = None,
    *,
    classes: int = CLASSES,
    n: int | None = None,
    seed: int = 0,
) -> Fold:
    """One split, in the order of the files.

    `train` is all 50,000 training images, because both papers train on all of them and compare with their
    statistics. The 10,000 test images serve twice: `test` and `holdout` are halves of them by a hash of the pixels
    (so that equal images never fall on two sides), one to compare with, one to evaluate discriminators on.

    Args:
        split: `train`, `holdout` or `test`.
        resolution_px: height and width wanted: 32, or less by area averaging.
        source: the archive or the folder.
        classes: number of classes required; 10 unless the batches are synthetic.
        n: how many images of the split, chosen at random; all when None.
        seed: of that choice.
    Raises:
        UserError: no source, files that are missing, cut short or of another version, unknown labels, another number
            of classes, an unknown split, too large an n or resolution.
    """
    check_split(split, "dataset cifar10")
    if source is None or str(source) == "":
        raise UserError(
            f"dataset cifar10: no source given; wanted {_WANTED}. Give `source:` in the dataset, or set {VARIABLE}."
        )
    if not 1 <= resolution_px <= SIDE:
        raise UserError(
            f"dataset cifar10: given resolution_px {resolution_px}, wanted 1 to {SIDE}: images are not enlarged"
        )
    root = home_path(source)
    if zipfile.is_zipfile(root):
        records = _of_zip(root, split, classes)
    else:
        records = _records(root, TRAIN if split == "train" else TEST, classes)
    if split != "train":
        first_half = np.array([twelfth(record[1:].tobytes()) < 6 for record in records], bool)
        records = records[first_half == (split == "test")]
    where = f"{root}, split {split}"
    if not len(records):
        raise UserError(
            f"{where}: none of its images falls in this split. Give more images, or another split."
        )
    records = records[subset(len(records), n, seed, where)]
    images = partial(_images, records, resolution_px)
    return Fold(str(root), records[:, 0].astype(int).tolist(), images, len(records))


def _of_zip(root: Path, split: str, classes: int) -> NDArray[np.uint8]:
    """The records `[N, 3073]` of EDM's dataset, a ZIP of the 50,000 training images with their labels."""
    if split != "train":
        raise UserError(
            f"{root}: is a ZIP of training images, so it has no split {split!r}; wanted cifar-10-binary.tar.gz, or the folder "
            "unpacked from it"
        )
    found = read_zip(root)
    if found.labels is None or tuple(found.images.shape[1:]) != (3, SIDE, SIDE) or found.classes != classes:
        shape = " x ".join(str(side) for side in found.images.shape[1:])
        raise UserError(
            f"{root}: holds images of {shape} and {found.classes} classes, wanted 3 x {SIDE} x {SIDE} and {classes}: CIFAR-10 "
            "as EDM's dataset_tool.py writes it"
        )
    labels = found.labels.to(torch.uint8).reshape(-1, 1)
    records: NDArray[np.uint8] = torch.cat([labels, found.images.flatten(1)], 1).numpy()
    return records


def _images(records: NDArray[np.uint8], resolution_px: int, threads: int) -> Iterator[Pixels]:
    for record in records:
        image = torch.from_numpy(record[1:].reshape(1, 3, SIDE, SIDE))
        yield area_average(image, resolution_px)[0].numpy()


def _records(root: Path, names: tuple[str, ...], classes: int) -> NDArray[np.uint8]:
    """The records `[N, 3073]` of some files, their lengths and labels checked."""
    counts = _counts(root)
    if classes != counts.classes:
        raise UserError(
            f"{root}: holds {counts.classes} classes, wanted {classes}. Mend `classes:` of the dataset."
        )
    contents = _contents(root, names, {name: counts.records[name] * RECORD for name in names})
    found = []
    for name, content in contents.items():
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        if len(records) and int(records[:, 0].max()) >= classes:
            raise UserError(
                f"{root}: {name} holds the label {int(records[:, 0].max())}, wanted 0 to {classes - 1}; it is damaged, or the "
                "binary version of CIFAR-100. Copy it again."
            )
        found.append(records)
    records = np.concatenate(found)
    absent = sorted(set(range(classes)) - set(np.unique(records[:, 0]).tolist()))
    if absent:
        raise UserError(
            f"{root}: no image has the label {absent[0]} in {', '.join(names)}. Copy the files again."
        )
    return records


def _contents(root: Path, names: tuple[str, ...], sizes: Mapping[str, int]) -> dict[str, bytes]:
    if root.is_file():
        contents = read_members(root, sizes)
    elif root.is_dir():
        folder = next((f for f in (root, root / "cifar-10-batches-bin") if (f / names[0]).is_file()), root)
        contents = {}
        for name in names:
            if (folder / name).is_file():
                with open(folder / name, "rb") as file:
                    contents[name] = file.read(sizes[name] + 1)
    else:
        raise UserError(f"{root}: no such file or folder; wanted {_WANTED}")
    for name in names:
        if name not in contents:
            hint = (
                "; it is the Python version, a pickle" if (root / name.removesuffix(".bin")).is_file() else ""
            )
            raise UserError(f"{root}: holds no {name}{hint}; wanted {_WANTED}")
        if len(contents[name]) != sizes[name]:
            given = f"{len(contents[name])} bytes" if len(contents[name]) < sizes[name] else "more"
            raise UserError(
                f"{root}: {name} holds {given}, wanted {sizes[name]} ({sizes[name] // RECORD} records of {RECORD}). Copy it again."
            )
    return {name: contents[name] for name in names}


def _counts(root: Path) -> "_Counts":
    """How many classes and records there must be: the counts in `synthetic.json`, or the official ones."""
    place = root / MADE_UP
    if not place.is_file():
        return _Counts(CLASSES, dict.fromkeys((*TRAIN, *TEST), RECORDS))
    try:
        content = json.loads(place.read_text(encoding="utf-8")[:_MAX_MADE_UP])
        classes = int(content["classes"])
        records = {name: int(content["records"][name]) for name in (*TRAIN, *TEST)}
        if not 1 <= classes <= 256 or min(records.values()) < 1 or max(records.values()) > RECORDS:
            raise ValueError("counts out of range")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{place}: is malformed ({error}). Make the batches again, or remove it.") from error
    return _Counts(classes, records)
