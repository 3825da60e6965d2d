"""The images of a grid: selection, downscaling, and pixels as text in a CSV."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from guidelab.errors import UserError

THUMBNAIL = 64  # pixels a side: finer than a printed cell shows, and the CSV stays small
SHOWN = 6  # columns of one figure, so that a pixel is seen at column width


def columns(labels: NDArray[np.int_], n: int, classes: list[int], figure: str) -> list[int]:
    """Which images are drawn: the first n, or the first n of each class."""
    wanted: list[int] = []
    groups: list[int | None] = [*classes] or [None]
    for k in groups:
        of_class = range(len(labels)) if k is None else np.flatnonzero(labels == k).tolist()
        if len(of_class) < n:
            held = f"{len(of_class)} images" + ("" if k is None else f" of class {k}")
            raise UserError(
                f"figure {figure}: its block holds {held}, wanted {n}. Ask for fewer (settings.n), another class "
                "(settings.labels), or a larger block."
            )
        wanted += list(of_class[:n])
    return wanted


def thumbnail(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[C, H, W] averaged over whole blocks of pixels until no side exceeds THUMBNAIL."""
    c, h, w = image.shape
    k = -(-max(h, w) // THUMBNAIL)
    if k > 1:
        cut = image[:, : h // k * k, : w // k * k]
        image = cut.reshape(c, h // k, k, w // k, k).mean(axis=(2, 4))
    return np.round(image).astype(np.uint8)


def different(table: pd.DataFrame) -> list[int]:
    """The columns whose images differ most from the first row's, by the mean over rows of the squared difference."""
    first = table[table["row"] == table["row"].min()].set_index("column")["image"]
    apart = table.assign(
        apart=[
            float(np.mean((image.astype(float) - first[column].astype(float)) ** 2))
            for image, column in zip(table["image"], table["column"], strict=True)
        ]
    )
    mean = apart.groupby("column")["apart"].mean()
    return sorted(int(c) for c in mean.sort_values(ascending=False, kind="stable").index[:SHOWN])


def pixels(image: dict[Any, Any], figure: str) -> NDArray[np.uint8]:
    """[H, W] grey or [H, W, 3] colour.

    Raises:
        UserError: the hexadecimal text is of another length.
    """
    shape = tuple(int(image[k]) for k in ("channels", "height", "width"))
    flat = np.frombuffer(bytes.fromhex(str(image["pixels"])), dtype=np.uint8)
    if flat.size != np.prod(shape) or shape[0] not in (1, 3):
        raise UserError(
            f"figure {figure}: the pixels of {image['point']}, seed {image['seed']}, are {flat.size} bytes, wanted "
            f"{' x '.join(map(str, shape))} with 1 or 3 channels. Delete its CSV and build the figure again."
        )
    found: NDArray[np.uint8] = flat.reshape(shape).transpose(1, 2, 0)
    return found[:, :, 0] if shape[0] == 1 else found
