"""Smaller images by exact area averaging: every output pixel is the mean of the area it covers."""

import torch
from torch import Tensor

_IMAGES = 4096  # worked on at a time, to bound the float64 copies


def area_average(images: Tensor, resolution_px: int) -> Tensor:
    """Average images down to a smaller square; the ratio may be fractional (28 to 16 pixels).

    Exact: lengths are counted in units in which all overlaps are integers, so the float64 sums hold integers and
    are free of rounding; only the final mean is rounded, to the nearest integer, a half upwards (which is away
    from zero too, as pixels are not negative). The result depends on no summation order and no machine.

    Args:
        images: `[N, C, H, W]` uint8.
        resolution_px: height and width wanted, at least 1 and at most H and W.
    Returns:
        `[N, C, resolution_px, resolution_px]` uint8; the images themselves when they have that size.
    Raises:
        ValueError: other dtype or shape, or a larger resolution.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"area_average: given {images.dtype} {tuple(images.shape)}, wanted uint8 [N, C, H, W]"
        )
    height, width = images.shape[-2:]
    if not 1 <= resolution_px <= min(height, width):
        raise ValueError(f"area_average: given {resolution_px} px, wanted 1 to {min(height, width)}")
    if height == width == resolution_px:
        return images
    down, across = _overlaps(height, resolution_px), _overlaps(width, resolution_px)
    parts = [
        _rounded_mean(down @ part.to(torch.float64) @ across.T, height * width)
        for part in torch.split(images, _IMAGES)
    ]
    return torch.cat(parts)


def _overlaps(length: int, wanted: int) -> Tensor:
    """`[wanted, length]` float64, integers: overlap of output pixel i, [i length, (i+1) length), with input pixel j,
    [j wanted, (j+1) wanted), when the side is length * wanted long. Each row sums to `length`."""
    left_out = torch.arange(wanted)[:, None] * length
    left_in = torch.arange(length)[None] * wanted
    right = torch.minimum(left_out + length, left_in + wanted)
    return (right - torch.maximum(left_out, left_in)).clamp_min(0).to(torch.float64)


def _rounded_mean(sums: Tensor, area: int) -> Tensor:
    """sums / area to the nearest integer, a half upwards, in integers throughout."""
    return ((2 * sums.to(torch.int64) + area) // (2 * area)).to(torch.uint8)
