"""`guidelab preview`: the first images of a block as one PNG, to look at."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from guidelab.io import atomic_write
from guidelab.io.shards import read_block

BACKGROUND = 255  # between the images


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Write the PNG: equal samples give equal bytes."""
    settings = job["settings"]
    (path,) = job["inputs"]["samples"]
    images, labels = read_block(path, int(settings.get("train_seed", 0)), str(settings["block"]))
    n = min(int(settings.get("n", 64)), len(images))
    if labels is not None:
        order = torch.sort(labels[:n], stable=True).indices  # lines of one class show its variety
        images = images[:n][order]
    sheet = tile(images[:n], int(settings.get("columns", 16)), int(settings.get("zoom", 3)))
    picture = Image.fromarray(sheet.squeeze(-1).numpy() if sheet.shape[-1] == 1 else sheet.numpy())
    with atomic_write(outputs[0]) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def tile(images: Tensor, columns: int, zoom: int) -> Tensor:
    """Images `[N, C, H, W]` uint8 as one picture `[rows * H', columns * W', C]`, one pixel apart, each pixel `zoom` wide.

    Args:
        images: what to show, in reading order.
        columns: images a line; the last line is filled with background.
        zoom: a whole number; pixels are repeated, not smoothed, so that what is seen is what was sampled.
    """
    n, c, h, w = images.shape
    columns = min(columns, n)
    lines = -(-n // columns)
    big = images.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
    cells = torch.full((lines * columns, c, h * zoom + 1, w * zoom + 1), BACKGROUND, dtype=torch.uint8)
    cells[:n, :, : h * zoom, : w * zoom] = big
    rows = cells.view(lines, columns, c, h * zoom + 1, w * zoom + 1)
    return rows.permute(0, 3, 1, 4, 2).reshape(lines * (h * zoom + 1), columns * (w * zoom + 1), c)
