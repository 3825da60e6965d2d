"""Sample grids: the same seeds side by side, one row a sampler; or several samples of a class, for the variety in it.

Arrays (`fields/grid.safetensors`, `fields/variety.safetensors`):
    images/<point> [N, C, H, W]     uint8, in the order of the seeds, e.g. images/cfg/w2.00
    seeds [N], labels [N]           sample seed and class of every column; class -1: unconditional

settings: points [[label, point], ...], a row each; n columns; labels, the classes shown (empty: whatever comes first);
class_names (optional), by class.

Rows: one image each: columns row, label, point, column, seed, class, channels, height, width, pixels (hexadecimal
uint8, channel by channel, line by line). Images above THUMBNAIL pixels a side are averaged down to it.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from guidelab.errors import UserError
from guidelab.paper import arrays as ar
from guidelab.paper import style
from guidelab.paper.images import wording

COLUMNS = ["row", "label", "point", "column", "seed", "class", "channels", "height", "width", "pixels"]
THUMBNAIL = 64  # pixels a side: finer than a printed cell shows, and the CSV stays small
_LEFT_MM, _RIGHT_MM, _GAP_MM, _GROUP_MM = 33.0, 2.0, 0.5, 3.0
_LARGEST_MM = 13.0  # of an image


def rows(arrays: ar.Arrays, info: dict[str, Any]) -> pd.DataFrame:
    """The images to draw, pixels and all.

    Args:
        arrays: see the module.
        info: the job's spec with figure and settings.
    Raises:
        UserError: an array is absent or of another shape, or a class has fewer images than wanted.
    """
    figure, settings = str(info.get("figure", "grid")), info["settings"]
    seeds, labels = (ar.take(arrays, name, (None,), figure).astype(int) for name in ("seeds", "labels"))
    picked = _columns(labels, int(settings["n"]), [int(k) for k in settings.get("labels") or []], figure)
    found = []
    for i, (label, point) in enumerate(settings["points"]):
        images = ar.take(arrays, f"images/{point}", (len(seeds), None, None, None), figure)[picked]
        for column, (at, image) in enumerate(zip(picked, images, strict=True)):
            small = _thumbnail(image)
            name = wording.label(label, info.get("labels"))  # a variant's name is put in words
            found.append((i, name, point, column, seeds[at], labels[at], *small.shape, small.tobytes().hex()))
    return pd.DataFrame(found, columns=COLUMNS)


def _columns(labels: NDArray[np.int_], n: int, classes: list[int], figure: str) -> list[int]:
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


def _thumbnail(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[C, H, W] averaged over whole blocks of pixels until no side exceeds THUMBNAIL."""
    c, h, w = image.shape
    k = -(-max(h, w) // THUMBNAIL)
    if k > 1:
        cut = image[:, : h // k * k, : w // k * k]
        image = cut.reshape(c, h // k, k, w // k, k).mean(axis=(2, 4))
    return np.round(image).astype(np.uint8)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: one line of images for each sampler, its name at the left, classes in groups of columns.

    Raises:
        UserError: a column is missing, there are no rows, or the pixels do not fill their image.
    """
    figure = str(info.get("figure", "grid"))
    style.need(rows, COLUMNS, figure)
    classes = [int(k) for k in info["settings"].get("labels") or []]
    given = [str(name) for name in info["settings"].get("class_names") or []]
    first = rows[rows["row"] == rows["row"].min()].sort_values("column")
    columns = len(first)
    starts = first["class"].ne(first["class"].shift()).to_numpy() if classes else np.zeros(columns, bool)
    groups = max(int(starts.sum()), 1)
    free = style.PAGE_MM - _LEFT_MM - _RIGHT_MM - _GROUP_MM * (groups - 1) - _GAP_MM * (columns - 1)
    cell = min(_LARGEST_MM, free / columns)
    lines = rows["row"].nunique()
    head = 6.0 if classes else 2.0
    said = style.origin_line(info, _said(first, info))
    height = head + lines * (cell + _GAP_MM) + 6.5 + style.footer_mm(said)
    x = _LEFT_MM + np.arange(columns) * (cell + _GAP_MM) + _GROUP_MM * np.maximum(np.cumsum(starts) - 1, 0)
    with style.context():
        fig = style.figure(style.PAGE_MM, height)
        for i, (_, part) in enumerate(rows.groupby("row", sort=True)):
            y = height - head - (i + 1) * (cell + _GAP_MM)
            fig.text(
                (_LEFT_MM - 2) / style.PAGE_MM, (y + cell / 2) / height, str(part["label"].iloc[0]), ha="right",
                va="center", size=7, linespacing=1.1,
            )  # fmt: skip
            for left, image in zip(x, part.sort_values("column").to_dict("records"), strict=True):
                box = (left / style.PAGE_MM, y / height, cell / style.PAGE_MM, cell / height)
                ax = fig.add_axes(box)
                ax.set_axis_off()
                ax.set_label(f"{image['point']} {image['seed']}")
                pixels = _pixels(image, figure)
                ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        for left, start, k in zip(x, starts, first["class"], strict=True):
            if start:
                where = (left / style.PAGE_MM, 1 - (head - 1.5) / height)
                fig.text(*where, given[k] if k < len(given) else f"class {k}", ha="left", va="bottom", size=7)
        style.footer(fig, said)
    return fig


def _pixels(image: dict[Any, Any], figure: str) -> NDArray[np.uint8]:
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


def _said(first: pd.DataFrame, info: dict[str, Any]) -> str:
    """Which seeds, and that every row has the same ones."""
    settings = info["settings"]
    where = f"block {settings.get('block', '')}, training {settings.get('train_seed', 0)}"
    seeds = f"{first['seed'].min()} to {first['seed'].max()}"
    how = (
        f"the first {settings['n']} of each class"
        if settings.get("labels")
        else "in order, none picked by eye"
    )
    return f"a column has one sample seed and one class; seeds {seeds} of {where}, {how}"
