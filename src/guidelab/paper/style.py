"""The theme of all figures: seaborn's, at the size of a journal's column, with fonts and lines that print."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from guidelab.errors import UserError
from guidelab.paper import names
from guidelab.paper.looks import GREY, INK

MM = 1 / 25.4  # one millimetre in inches
WIDTH_MM = 84.0  # 3.3 inches, a column of a two-column page: every figure is read at the size it is drawn
_FOOT_PT = 5.5  # size of a footer's letters
_EDGE = 0.01  # of the width: what a footer leaves free at either side

FAINT = GREY  # notes
REGION = "#eaa95c"  # where 99 % of the class's mass lies: light enough for dark samples on top
REGION_OTHER = "#e6e6e6"  # the other class
OUTSIDE = "#c1121f"  # a sample outside the region; also drawn larger, so grey prints show it
DENSITY = "YlGnBu"  # light to dark, monotone in lightness: reads on a grey print
RATIO = LinearSegmentedColormap.from_list(  # violet, grey, orange; dark to light all the way, so grey prints keep the sign
    "ratio", ["#2a0a54", "#6a55a3", "#aaa6b4", "#efae5a", "#ffe7ad"]
)

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: same glyphs on every machine
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "axes.labelpad": 1.0,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,  # a tick says its whole number: `+1.3` at the end of an axis lies on the title
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "text.color": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.2,
    "ytick.major.size": 2.2,
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "savefig.bbox": None,  # exactly the size asked for
    "pdf.fonttype": 42,  # text stays text
}


@contextmanager
def context() -> Iterator[None]:
    """Seaborn's theme with RC inside a `with`; matplotlib's own settings come back after it."""
    with mpl.rc_context():
        sns.set_theme(context="paper", style="ticks", palette="colorblind", color_codes=False, rc=RC)
        yield


def figure(height_mm: float) -> Figure:
    """An empty figure of a column's width and this height, outside pyplot's list of open figures."""
    return Figure(figsize=(WIDTH_MM * MM, height_mm * MM))


def letter(ax: Axes, index: int, title: str, size: float = 7.0) -> None:
    """Title a panel `a  title`, the letter bold and flush with the panel's left edge."""
    for text, shift, weight in (("abcdefghijklmnopqrstuvwxyz"[index], 0.0, "bold"), (title, 8.0, "normal")):
        ax.annotate(
            text, (0, 1), xytext=(shift, 3.0), xycoords="axes fraction", textcoords="offset points",
            weight=weight, size=size, ha="left", va="baseline", annotation_clip=False,
        )  # fmt: skip


def footer(fig: Figure, text: str) -> None:
    """Small print at the lower left: which experiment, at what scale, how many samples. What is too long gets more lines."""
    lines = "\n".join(_broken(text, fig.get_figwidth() / MM))
    fig.text(_EDGE, 0.8 * MM / fig.get_figheight(), lines, size=_FOOT_PT, color=FAINT, ha="left", va="bottom")


def footer_mm(text: str, width_mm: float = WIDTH_MM) -> float:
    """The height in mm that a footer takes."""
    return len(_broken(text, width_mm)) * _FOOT_PT * 1.25 / 72 / MM + 1.5


def _broken(text: str, width_mm: float) -> list[str]:
    """`text` in lines that fit between the edges of a figure, broken at spaces; widths are those of the font's outlines."""
    font, free = FontProperties(family=RC["font.family"], size=_FOOT_PT), (1 - 2 * _EDGE) * width_mm * MM * 72
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0] > free:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def square(ax: Axes, window: tuple[float, float, float, float]) -> None:
    """A map without ticks: equal units on both axes, the window (x0, x1, y0, y1) exactly."""
    ax.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="box")


def rings(table: pd.DataFrame) -> Path:
    """One path of all closed rings (columns x, y, line), to be filled by the even-odd rule."""
    parts = [Path(r[["x", "y"]].to_numpy(float), closed=True) for _, r in table.groupby("line", sort=True)]
    return Path.make_compound_path(*parts)


def origin_line(info: dict[str, Any], *more: str) -> str:
    """The footer: experiment and scale, then what the figure adds, empty texts left out."""
    return "; ".join([names.origin(info), *filter(None, more)])


def need(rows: pd.DataFrame, columns: list[str], figure_name: str) -> None:
    """Refuse rows without these columns, or no rows at all.

    Raises:
        UserError: names the figure, what was given and what was wanted.
    """
    missing = [c for c in columns if c not in rows.columns]
    if missing or rows.empty:
        given = "no rows" if not missing else f"columns {', '.join(map(str, rows.columns))}"
        raise UserError(
            f"figure {figure_name}: given {given}; wanted rows with columns {', '.join(columns)}. "
            f"Delete its CSV and build the figure again."
        )
