"""What trainings at the papers' size learn from: images or latents of a ZIP, checked against the job."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidelab.data.large.stream import ZipImages, ZipLatents
from guidelab.errors import UserError

Latent = Mapping[str, Any]  # `encoding`, `side_px`, `channels`


def open_examples(path: str, latent: Latent | None) -> ZipImages | ZipLatents:
    """A ZIP of latents where the job has `latent`, else of images.

    Raises:
        UserError: unreadable, images in the place of latents or the other way round, or latents of another shape.
    """
    if latent is None:
        images = ZipImages(path)
        if images.shape[0] not in (1, 3):
            raise UserError(
                f"{path}: its arrays have {images.shape[0]} channels, wanted images of 1 or 3; it may hold latents. Give the "
                "ZIP of images, or a dataset with `latent`."
            )
        return images
    latents = ZipLatents(path, latent["encoding"])
    side, channels = latent["side_px"], latent["channels"]
    if latents.shape != (2 * channels, side, side):
        raise UserError(
            f"{path}: holds latents {latents.shape}, wanted means and deviations {(2 * channels, side, side)}. Encode the "
            "images again, or change `latent` in params.yaml."
        )
    return latents


def event_shape(examples: ZipImages | ZipLatents) -> tuple[int, int, int]:
    """`(C, H, W)` of what a net sees of them."""
    channels, height, width = examples.shape
    return (channels // 2 if isinstance(examples, ZipLatents) else channels, height, width)


def check_labels(labels: Tensor | None, classes: int, path: str, what: str) -> None:
    """Refuse labels that are missing or too large.

    Raises:
        UserError: says which, and what to do.
    """
    if labels is None:
        raise UserError(
            f"{path}: has no labels, and {what} needs one for each. Give labelled images, or a net that is told no class "
            "(conditional: false)."
        )
    if len(labels) and int(labels.max()) >= classes:
        raise UserError(f"{path}: has a label {int(labels.max())}, wanted 0 to {classes - 1}")
