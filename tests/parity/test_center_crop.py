"""Centre crops of any size and shape against the filters written out, and a family that notices one wrong pixel."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import test_parity
import torch
from families import Reference, family_of
from safetensors.torch import save_file

from guidelab.data.center_crop import center_crop


def check(path: Path, tensors: dict[str, torch.Tensor]) -> list[str]:
    save_file(tensors, path, {"config": json.dumps({})})
    reference = Reference.load(path)
    return test_parity.failures(family_of(path)(reference.tensors, reference.config), reference.pinned())


def cubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def box(x: float) -> float:
    return float(-0.5 < x <= 0.5)


def naive_pass(image: np.ndarray, wanted: int, kernel, support: float) -> np.ndarray:
    """Resample the first axis as Pillow does 8-bit images: 22-bit fixed-point weights, rounded after each pass."""
    scale = len(image) / wanted
    stretch = max(scale, 1.0)
    if len(image) == wanted:
        return image
    out = []
    for i in range(wanted):
        centre = (i + 0.5) * scale
        first = max(int(centre - support * stretch + 0.5), 0)
        last = min(int(centre + support * stretch + 0.5), len(image))
        weights = [kernel((j - centre + 0.5) * (1 / stretch)) for j in range(first, last)]
        total = sum(weights)
        fixed = [math.trunc(w / total * (1 << 22) + math.copysign(0.5, w)) for w in weights]
        sums = sum(w * image[j].astype(np.int64) for w, j in zip(fixed, range(first, last), strict=True))
        out.append(np.clip((sums + (1 << 21)) >> 22, 0, 255))
    return np.array(out).astype(np.uint8)


def naive_resize(image: np.ndarray, height: int, width: int, kernel, support: float) -> np.ndarray:
    across = naive_pass(image.swapaxes(0, 1), width, kernel, support).swapaxes(
        0, 1
    )  # Pillow's order: width first
    return naive_pass(across, height, kernel, support)


def naive_crop(image: np.ndarray, size: int) -> np.ndarray:
    while min(image.shape[:2]) >= 2 * size:
        image = naive_resize(image, image.shape[0] // 2, image.shape[1] // 2, box, 0.5)
    scale = size / min(image.shape[:2])
    image = naive_resize(image, round(image.shape[0] * scale), round(image.shape[1] * scale), cubic, 2.0)
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (71, 40, 16),
        (40, 71, 16),
        (33, 35, 32),
        (20, 20, 20),
        (9, 13, 24),
        (64, 65, 32),
        (131, 37, 9),
        (1, 5, 1),
    ],
)
def test_crops_equal_the_filters_written_out(tmp_path: Path, height: int, width: int, size: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tensors = {
        "in/image0": torch.from_numpy(image),
        f"out/cropped0_{size}": torch.from_numpy(naive_crop(image, size).copy()),
    }
    assert check(tmp_path / "center_crop_other.safetensors", tensors) == []
    gray = image[..., 1]
    assert np.array_equal(center_crop(gray, size), center_crop(image, size)[..., 1])
    assert np.array_equal(center_crop(gray[..., None], size)[..., 0], center_crop(gray, size))


def test_one_pixel_off_by_one_is_noticed() -> None:
    path = test_parity.BUNDLED / "center_crop.safetensors"
    reference = Reference.load(path)
    outputs = list(family_of(path)(reference.tensors, reference.config))
    pinned = reference.pinned()
    assert len(pinned) == 3 and test_parity.failures(outputs, pinned) == []
    for name, value in pinned.items():
        changed = value.clone()
        changed[3, 5, 1] ^= 1
        found = test_parity.failures(outputs, {**pinned, name: changed})
        assert len(found) == 1 and found[0].startswith(f"{name}:")


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (np.zeros((4, 4, 3), np.float32), 2),
        (np.zeros((4, 4, 4), np.uint8), 2),
        (np.zeros((0, 4), np.uint8), 2),
        (np.zeros((4, 4), np.uint8), 0),
    ],
)
def test_what_is_no_image_is_refused(image: np.ndarray, size: int) -> None:
    with pytest.raises(ValueError, match=r"center_crop: given .* wanted uint8"):
        center_crop(image, size)
