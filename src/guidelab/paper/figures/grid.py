"""Sample grids: the same seeds side by side, one row a sampler; or several samples of a class, for the variety in it.

Of the seeds in the rows the figure shows the SHOWN in which the samplers differ most: those with the largest mean
squared difference from the first row's image, in the order of seeds. With classes every image is shown.

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
from guidelab.paper import charts, names, page, style

COLUMNS = ["row", "label", "point", "column", "seed", "class", "channels", "height", "width", "pixels"]
THUMBNAIL = 64  # pixels a side: finer than a printed cell shows, and the CSV stays small
SHOWN = 6  # columns of one figure, so that a pixel is seen at column width
_LEFT_MM, _HEAD_MM, _GAP_MM = 20.0, 4.0, 0.6


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
            name = names.label(label)  # a variant's name is put in words
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
    """Draw `rows`: one line of images for each sampler, its name at the left; classes one block below the other.

    Raises:
        UserError: a column is missing, there are no rows, or the pixels do not fill their image.
    """
    figure = str(info.get("figure", "grid"))
    style.need(rows, COLUMNS, figure)
    classes = [int(k) for k in info["settings"].get("labels") or []]
    given = [str(name) for name in info["settings"].get("class_names") or []]
    pixels = [_pixels(image, figure) for image in rows.to_dict("records")]
    table = rows.assign(image=pd.Series(pixels, index=rows.index, dtype=object))
    blocks = [table[table["class"] == k] for k in classes] or [table[table["column"].isin(_different(table))]]
    columns = max(block["column"].nunique() for block in blocks)
    said = style.origin_line(info, _said(table, blocks, info))
    width = style.WIDTH_MM - _LEFT_MM - 1.5
    tall, wide = blocks[0]["image"].iloc[0].shape[:2]
    cell = width / columns * tall / wide + _GAP_MM
    lines, head = rows["row"].nunique(), _HEAD_MM if classes else 1.0
    with style.context():
        fig = style.figure(len(blocks) * (head + lines * cell) + style.footer_mm(said) + 1.0)
        top = fig.get_figheight() / style.MM - head
        for i, block in enumerate(blocks):
            if classes:
                name = given[classes[i]] if classes[i] < len(given) else f"class {classes[i]}"
                fig.text(
                    _LEFT_MM / style.WIDTH_MM, (top + 0.8) * style.MM / fig.get_figheight(), name, size=7
                )
            for _, part in block.groupby("row", sort=True):
                top -= cell
                ax = page.place(fig, (_LEFT_MM, top, width, cell - _GAP_MM), bare=True)
                charts.images(ax, part.sort_values("column")["image"].tolist())
                text = str(part["label"].iloc[0])
                ax.text(-0.015, 0.5, text, transform=ax.transAxes, ha="right", va="center", size=6)
                ax.set_label(str(part["point"].iloc[0]))
            top -= head
        style.footer(fig, said)
    return fig


def _different(table: pd.DataFrame) -> list[int]:
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


def _said(table: pd.DataFrame, blocks: list[pd.DataFrame], info: dict[str, Any]) -> str:
    """Which seeds, and that every row has the same ones."""
    settings = info["settings"]
    where = f"block {settings.get('block', '')}, training {settings.get('train_seed', 0)}"
    seeds = f"seeds {table['seed'].min()} to {table['seed'].max()} of {where}"
    if settings.get("labels"):
        how = f"{seeds}, the first {settings['n']} of each class"
    else:
        shown, held = blocks[0]["column"].nunique(), table["column"].nunique()
        how = f"of {seeds}, the {shown} of {held} columns that differ most from the first row (mean squared difference)"
    return f"a column has one sample seed and one class; {how}"
