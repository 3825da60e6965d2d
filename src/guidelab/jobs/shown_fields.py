"""Read the samples that an image grid shows: the same seeds of several samplers."""

from typing import Any

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io.shards import load_manifest, read_block


def shown(job: dict[str, Any]) -> dict[str, Tensor]:
    """Gather the block's images of every point of the settings.

    Raises:
        UserError: a manifest is not of the point it stands for, or two points differ in seeds or classes.
    """
    settings = job["settings"]
    train_seed, block = int(settings["train_seed"]), str(settings["block"])
    arrays: dict[str, Tensor] = {}
    for _, point in settings["points"]:
        (path,) = job["inputs"][f"samples:{point}"]
        images, labels = _point(path, point, train_seed, block)
        first, last = load_manifest(path)["blocks"][block]
        about = {"seeds": torch.arange(first, last + 1), "labels": labels}
        for name, found in about.items():
            if not torch.equal(arrays.setdefault(name, found), found):
                raise UserError(
                    f"{path}: its {name} on block {block} differ from those of the figure's first point; wanted the same "
                    "ones, as they are shown side by side. Sample both again with one set of blocks."
                )
        arrays[f"images/{point}"] = images
    return _needed(arrays, settings)


def _point(path: str, point: str, train_seed: int, block: str) -> tuple[Tensor, Tensor]:
    """Images `[N, C, H, W]` and labels `[N]` (-1 without) of one point."""
    variant = load_manifest(path)["variant"]
    if variant != point.partition("/")[0]:
        raise UserError(f"{path}: holds samples of {variant}, wanted {point}. Delete the file and run again.")
    images, labels = read_block(path, train_seed, block)
    return images, torch.full((len(images),), -1) if labels is None else labels


def _needed(arrays: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """The first n images, or the first n of each requested class: a figure needs no complete block."""
    n, labels = int(settings["n"]), arrays["labels"]
    classes = [int(k) for k in settings.get("labels") or []]
    keep = [torch.nonzero(labels == k)[:n, 0] for k in classes] or [torch.arange(min(n, len(labels)))]
    index = torch.cat(keep).sort().values
    return {name: tensor[index] for name, tensor in arrays.items()}
