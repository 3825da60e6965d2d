"""Sample grids: the same seeds side by side, one row a sampler; or several samples of a class, for the variety in it.

Of the seeds in the rows the figure shows the SHOWN in which the samplers differ most: those with the largest mean
squared difference from the first row's image, in the order of seeds. With classes every image is shown.

Arrays (`fields/grid.safetensors`, `fields/variety.safetensors`):
    images/<point> [N, C, H, W]     uint8, in the order of the seeds, e.g. images/cfg/w2.00
    seeds [N], labels [N]           sample seed and class of every column; class -1: unconditional

settings: points [[label, point], ...], a row each; n columns; labels, the classes shown (empty: the first images);
class_names (optional), by class.

Rows: one image each: columns row, label, point, column, seed, class, channels, height, width, pixels (hexadecimal
uint8, channel by channel, line by line). Images above THUMBNAIL pixels a side are averaged down to it.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import captions, charts, names, page, pictures, style

COLUMNS = ["row", "label", "point", "column", "seed", "class", "channels", "height", "width", "pixels"]
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
    picked = pictures.columns(
        labels, int(settings["n"]), [int(k) for k in settings.get("labels") or []], figure
    )
    found = []
    for i, (label, point) in enumerate(settings["points"]):
        images = ar.take(arrays, f"images/{point}", (len(seeds), None, None, None), figure)[picked]
        for column, (at, image) in enumerate(zip(picked, images, strict=True)):
            small = pictures.thumbnail(image)
            name = names.label(label)  # a variant's name is put in words
            found.append((i, name, point, column, seeds[at], labels[at], *small.shape, small.tobytes().hex()))
    return pd.DataFrame(found, columns=COLUMNS)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: one line of images for each sampler, its name at the left; classes one block below the other.

    Raises:
        UserError: a column is missing, there are no rows, or the pixels do not fill their image.
    """
    figure = str(info.get("figure", "grid"))
    style.need(rows, COLUMNS, figure)
    classes = [int(k) for k in info["settings"].get("labels") or []]
    given = [str(name) for name in info["settings"].get("class_names") or []]
    pixels = [pictures.pixels(image, figure) for image in rows.to_dict("records")]
    table = rows.assign(image=pd.Series(pixels, index=rows.index, dtype=object))
    blocks = [table[table["class"] == k] for k in classes] or [
        table[table["column"].isin(pictures.different(table))]
    ]
    columns = max(block["column"].nunique() for block in blocks)
    said = style.origin_line(info, captions.grid(table, blocks, info))
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
