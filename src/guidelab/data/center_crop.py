"""The square centre of an image at a given resolution, as ADM prepared ImageNet and EDM2's `center-crop-dhariwal`."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def center_crop(image: NDArray[np.uint8], resolution_px: int) -> NDArray[np.uint8]:
    """Halve with a box filter while both sides stay large enough, then resize bicubically and cut out the centre.

    An image smaller than the resolution is enlarged. Pillow's 8-bit filters are part of the definition, across
    first and then down: another library's filters, or the other order, give other integers.

    Args:
        image: `[H, W]` or `[H, W, C]` uint8, C = 1 or 3.
        resolution_px: height and width wanted.
    Returns:
        `[resolution_px, resolution_px]`, with C if it was given.
    Raises:
        ValueError: another dtype or shape, or a resolution below 1.
    Source: Dhariwal and Nichol 2021, arXiv:2105.05233, and its released data loader.
    """
    shape_known = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not shape_known or image.size == 0 or resolution_px < 1:
        given = f"{image.dtype} {image.shape} and {resolution_px} px"
        raise ValueError(f"center_crop: given {given}, wanted uint8 [H, W], [H, W, 1] or [H, W, 3]")
    flat = image[..., 0] if image.shape[2:] == (1,) else image
    picture = Image.fromarray(np.ascontiguousarray(flat))
    while min(picture.size) >= 2 * resolution_px:
        picture = _resized(picture, picture.width // 2, picture.height // 2, Image.Resampling.BOX)
    scale = resolution_px / min(picture.size)
    width, height = round(picture.width * scale), round(picture.height * scale)
    resized = np.asarray(_resized(picture, width, height, Image.Resampling.BICUBIC))
    top, left = (height - resolution_px) // 2, (width - resolution_px) // 2
    centre = resized[top : top + resolution_px, left : left + resolution_px]
    return centre.reshape(resolution_px, resolution_px, *image.shape[2:]).copy()


def _resized(picture: Image.Image, width: int, height: int, kernel: Image.Resampling) -> Image.Image:
    """Resized horizontally, rounded to 8 bits, then resized vertically.

    One call for both did the same when ADM and EDM2 prepared their data; since Pillow 13 it resizes tall images the
    other way round (pull request 9549), which changes values by one here and there.
    """
    return picture.resize((width, picture.height), kernel).resize((width, height), kernel)
