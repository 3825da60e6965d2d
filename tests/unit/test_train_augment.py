"""EDM's augmentation on a picture of one spot: where it goes, and the labels the net gets."""

from typing import Any

import pytest
import torch
from torch import Tensor

from guidelab.train.augment import augment, choices


def disc(side: int = 32) -> Tensor:
    """A picture `[1, 1, S, S]` whose parts all differ, smooth enough to be resampled."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    return torch.exp(-8 * ((x - 0.3) ** 2 + (y + 0.2) ** 2))[None, None]


def centre(image: Tensor) -> tuple[float, float, float]:
    """Where a spot is, x and y from -1 to 1, and how much of it there is."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, image.shape[-1])] * 2, indexing="ij")
    mass = image[0, 0].clamp_min(0)
    total = mass.sum()
    return float((x * mass).sum() / total), float((y * mass).sum() / total), float(total)


NOTHING = torch.tensor([[0.9, *[0.9] * 6, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "expected", "moved"),
    [
        ({}, {}, (0.3, -0.2, 1.0)),
        ({0: 0.1}, {0: 1.0}, (-0.3, -0.2, 1.0)),
        ({1: 0.01}, {1: 1.0}, (0.3, 0.2, 1.0)),
        ({2: 0.1, 9: 1.0}, {2: 1.0}, (0.345, -0.23, 1.32)),  # 2^0.2 larger
        ({3: 0.1, 7: 0.75}, {3: -1.0, 4: 1.0}, (-0.2, -0.3, 1.0)),  # a quarter turn
        ({6: 0.1, 11: -0.4, 12: 0.5}, {7: -0.4, 8: 0.5}, (0.2, -0.075, 1.0)),  # in eighths of the side
        ({4: 0.1, 10: 1.0}, {5: 1.0}, (0.345, -0.174, 1.0)),  # wider, and as much flatter
    ],
)
def test_augmentation_labels_name_the_transformation(change: Any, expected: Any, moved: Any) -> None:
    chosen = NOTHING.clone()
    for place, value in change.items():
        chosen[0, place] = value
    image, labels = augment(disc(), chosen)
    wanted = torch.zeros(9)
    for place, value in expected.items():
        wanted[place] = value
    torch.testing.assert_close(labels[0], wanted, atol=1e-6, rtol=0)
    x, y, mass = centre(image)
    assert (x, y) == pytest.approx(moved[:2], abs=0.02)
    assert mass / centre(disc())[2] == pytest.approx(moved[2], rel=0.04)


def test_one_image_in_many_is_augmented() -> None:
    _, labels = augment(torch.zeros(4000, 1, 2, 2), choices(4000, torch.Generator().manual_seed(0)))
    shares = (labels != 0).double().mean(0).tolist()
    wanted = [0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.06, 0.12, 0.12]  # only half of the stretched are turned
    assert shares == pytest.approx(wanted, abs=0.02)
