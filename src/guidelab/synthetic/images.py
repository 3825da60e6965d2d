"""Synthetic images in the layouts of ImageNet and CIFAR-10, with distinguishable classes."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from guidelab.data.cifar10 import MADE_UP, TEST, TRAIN

_MIN_PX, _MAX_PX = 36, 120  # sides of the pictures
_GRAY_EVERY, _CMYK_EVERY = 7, 11  # ImageNet has a few of both
Pixels = NDArray[np.uint8]


def wnid(index: int) -> str:
    """A name like WordNet's, in the order of the index; no such entry exists."""
    return f"n{90_000_000 + 37 * index:08d}"


def write_imagenet_like(
    folder: str | Path, classes: int, train_per_class: int, val_per_class: int, seed: int
) -> None:
    """Write `train/<class>/*.JPEG` and `val/<class>/*.JPEG`: real JPEG files of many sizes, some gray, some CMYK.

    Args:
        folder: made if it is not there.
        classes: how many.
        train_per_class, val_per_class: pictures of each.
        seed: the same seed gives the same pictures.
    """
    for part, count in (("train", train_per_class), ("val", val_per_class)):
        for label in range(classes):
            place = Path(folder) / part / wnid(label)
            place.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                random = np.random.default_rng([seed, part == "val", label, index])
                height, width = random.integers(_MIN_PX, _MAX_PX, 2)
                picture = Image.fromarray(_picture(random, label, classes, int(height), int(width)))
                if index % _GRAY_EVERY == _GRAY_EVERY - 1:
                    picture = picture.convert("L")
                elif index % _CMYK_EVERY == _CMYK_EVERY - 1:
                    picture = picture.convert("CMYK")
                picture.save(place / f"{wnid(label)}_{index}.JPEG", "JPEG", quality=90)


def write_cifar_like(folder: str | Path, classes: int, train_per_batch: int, test: int, seed: int) -> None:
    """Write the six files of CIFAR-10's binary version with fewer records, and `synthetic.json` with their number.

    Every class is there as often as any other, give or take one.

    Args:
        folder: made if it is not there.
        classes: how many, 1 to 256.
        train_per_batch: records of each of the five training files, at least `classes`.
        test: records of the test file, at least `classes`.
        seed: the same seed gives the same files.
    Raises:
        ValueError: too few records for every class, or more than the real files hold.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(TRAIN, train_per_batch) | dict.fromkeys(TEST, test)
    if not 1 <= classes <= 256 or not classes <= min(counts.values()) <= max(counts.values()) <= 10_000:
        raise ValueError(
            f"write_cifar_like: given {classes} classes, {counts} records; wanted {classes} to 10000 each"
        )
    for batch, (name, count) in enumerate(counts.items()):
        with open(root / name, "wb") as file:
            for index in range(count):
                label = index % classes
                random = np.random.default_rng([seed, batch, index])
                file.write(
                    bytes([label]) + _picture(random, label, classes, 32, 32).transpose(2, 0, 1).tobytes()
                )
    (root / MADE_UP).write_text(json.dumps({"classes": classes, "records": counts}) + "\n", encoding="utf-8")


def _picture(random: np.random.Generator, label: int, classes: int, height: int, width: int) -> Pixels:
    """`[height, width, 3]`: a blob of the class's colour at a random place over stripes of the class's direction."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle, phase = np.pi * label / classes, random.uniform(0, 2 * np.pi)
    stripes = np.sin(16 * (x * np.cos(angle) + y * np.sin(angle)) + phase)[..., None]
    centre = random.uniform(0.2, 0.5, 2)
    blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 0.02)[..., None]
    hue = 2 * np.pi * (label / classes + np.arange(3) / 3)
    colour = np.cos(hue) * random.uniform(0.7, 1.0)
    noise = random.normal(0, 0.05, (height, width, 1))
    values = 127.5 + 50 * stripes + 90 * blob * colour + 127.5 * noise
    picture: Pixels = values.clip(0, 255).astype(np.uint8)
    return picture
