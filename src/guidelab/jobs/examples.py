"""Training examples of streamed experiments, checked against the job: images or latents in a ZIP, or samples."""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from guidelab.data.zip_reader import ZipImages, ZipLatents
from guidelab.errors import UserError
from guidelab.io import sha256
from guidelab.io.shards import folder_of, load_manifest

Latent = Mapping[str, Any]  # `encoding`, `side_px`, `channels`


def open_examples(path: str, latent: Latent | None) -> ZipImages | ZipLatents:
    """A ZIP of latents where the job has `latent`, else of images.

    Raises:
        UserError: unreadable, images instead of latents or vice versa, or latents of another shape.
    """
    if latent is None:
        return _images(path)
    latents = ZipLatents(path, latent["encoding"])
    side, channels = latent["side_px"], latent["channels"]
    if latents.shape != (2 * channels, side, side):
        raise UserError(
            f"{path}: holds latents {latents.shape}, wanted means and deviations {(2 * channels, side, side)}. Encode the "
            "images again, or change `latent` in params.yaml."
        )
    return latents


def _images(path: str) -> ZipImages:
    try:
        return ZipImages(path)
    except UserError:
        try:
            ZipLatents(path)
        except UserError:
            pass  # neither: what the first one said
        else:
            raise UserError(
                f"{path}: holds latents, wanted images. Give the ZIP of images, or a dataset with `latent`."
            ) from None
        raise


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
            f"{path}: has no labels, and {what} needs one for each. Give labelled images, or an unconditional net "
            "(conditional: false)."
        )
    if len(labels) and int(labels.max()) >= classes:
        raise UserError(f"{path}: has a label {int(labels.max())}, wanted 0 to {classes - 1}")


class ShardImages:
    """The images of one training seed and block of a samples manifest, read by index.

    Attributes:
        path: the manifest.
        labels: int64, or None where a shard has none.
        shape: `(C, H, W)` of every image.
    Raises:
        UserError: the block is not in the manifest, or a shard is absent, cut, of other images, or not the one the
            manifest lists.
    """

    def __init__(self, path: str, train_seed: int, block: str) -> None:
        listed = load_manifest(path)["shards"]
        mine = [s for s in listed if s["train_seed"] == train_seed and s["block"] == block]
        if not mine:
            known = sorted({(s["train_seed"], s["block"]) for s in listed})
            raise UserError(f"{path}: holds no block {block!r} of training seed {train_seed}; it has {known}")
        mine.sort(key=lambda s: s["first"])
        self.path = path
        self._files = [folder_of(path) / s["file"] for s in mine]
        labels = []
        shapes = set()
        for file, entry in zip(self._files, mine, strict=True):
            if not file.is_file() or sha256(file) != entry["sha256"]:
                state = "is not the file its manifest lists" if file.is_file() else "is missing"
                raise UserError(
                    f"{file}: {state}. Delete it and {path} and run again: the other shards stay."
                )
            with safe_open(file, framework="pt") as shard:
                shapes.add(tuple(shard.get_slice("images").get_shape()[1:]))
                labels.append(shard.get_tensor("labels") if "labels" in shard.keys() else None)  # noqa: SIM118
        if len(shapes) > 1:
            raise UserError(
                f"{path}: its shards hold images of different shapes {sorted(shapes)}. Delete it and run again."
            )
        (self.shape,) = shapes
        given = [part for part in labels if part is not None]
        self.labels: Tensor | None = torch.cat(given) if len(given) == len(labels) else None
        self._ends = torch.tensor([s["n"] for s in mine]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Tensor) -> Tensor:
        """Images `[n, C, H, W]` uint8 at `index [n]`; safe from any number of threads."""
        out = torch.empty(len(index), *self.shape, dtype=torch.uint8)
        within = torch.searchsorted(self._ends, index, right=True)
        for number in torch.unique(within).tolist():
            first = int(self._ends[number - 1]) if number else 0
            with safe_open(self._files[number], framework="pt") as shard:
                images = shard.get_slice("images")
                for row in torch.nonzero(within == number)[:, 0].tolist():
                    out[row] = images[int(index[row]) - first]
        return out
