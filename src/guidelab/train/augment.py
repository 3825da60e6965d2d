"""EDM's augmentation: mirroring and geometry, with labels of the transformation as net input, so that it does not leak.

Images are resampled bicubically between reflected borders; the released code filters with a wavelet instead.

Source: Karras et al. 2022, arXiv:2206.00364, appendix F.2 (after Karras et al. 2020, arXiv:2006.06676).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

LABELS = 9  # mirrored, upside down, scale, rotation (2), anisotropy (2), translation (2)
P = 0.12  # of each but mirroring
_SCALE_STD = _ANISOTROPY_STD = 0.2  # in octaves
_ANISOTROPY_TURNED = 0.5  # share of the anisotropic whose axes are turned
_SHIFT_STD = 0.125  # of the side


def choices(n: int, generator: torch.Generator) -> Tensor:
    """What decides the augmentation of `n` images: nine uniform and four normal numbers each, `[n, 13]`."""
    return torch.cat([torch.rand(n, 9, generator=generator), torch.randn(n, 4, generator=generator)], dim=1)


def augment(images: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Images `[B, C, H, W]` augmented, and what was done to each, `[B, 9]`; zeros mean no change.

    Args:
        images: square, floating.
        chosen: `choices` of each, `[B, 13]`.
    """
    chance, turn, normal = chosen[:, :7], chosen[:, 7:9], chosen[:, 9:]
    across, over = chance[:, 0] < 0.5, chance[:, 1] < 0.5 * P
    images = torch.where(across[:, None, None, None], images.flip(3), images)
    images = torch.where(over[:, None, None, None], images.flip(2), images)
    scale = torch.where(chance[:, 2] < P, normal[:, 0], 0)
    angle = torch.where(chance[:, 3] < P, (2 * turn[:, 0] - 1) * math.pi, 0)
    stretch = torch.where(chance[:, 4] < P, normal[:, 1], 0)
    axis = torch.where(chance[:, 5] < _ANISOTROPY_TURNED, (2 * turn[:, 1] - 1) * math.pi, 0)
    shift = torch.where(chance[:, 6:7] < P, normal[:, 2:], 0)
    labels = [across.float(), over.float(), scale, angle.cos() - 1, angle.sin()]
    labels += [stretch * axis.cos(), stretch * axis.sin(), shift[:, 0], shift[:, 1]]
    augmentation = torch.stack(labels, dim=1)
    inverse = _turn(angle) / (2 ** (scale * _SCALE_STD))[:, None, None]
    ratio = 2 ** (stretch * _ANISOTROPY_STD)
    squeezed = torch.diag_embed(torch.stack([1 / ratio, ratio], dim=1))
    inverse = inverse @ _turn(-axis) @ squeezed @ _turn(axis)
    offset = -2 * _SHIFT_STD * (inverse @ shift[:, :, None])  # sides are 2 long in the coordinates of grids
    moved = augmentation[:, 2:].abs().amax(1) > 0  # the others stay as they are
    if moved.any():
        images = images.clone()
        images[moved] = _resampled(images[moved], torch.cat([inverse, offset], dim=2)[moved])
    return images, augmentation


def _turn(angle: Tensor) -> Tensor:
    """Rotations `[B, 2, 2]` by `angle [B]`."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _resampled(images: Tensor, inverse: Tensor) -> Tensor:
    """Images whose pixels come from where `inverse [B, 2, 3]` sends theirs."""
    grid = functional.affine_grid(inverse.to(images.dtype), list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
