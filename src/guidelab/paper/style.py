"""The look of all figures: sizes in mm, fonts, and one colour, marker and line per variant.

Colours differ in lightness as well as hue, and every variant has its own marker and dashes, so curves stay apart
for colour-blind readers and on a grey print.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from guidelab.errors import UserError
from guidelab.paper import names

MM = 1 / 25.4  # one millimetre in inches
PAGE_MM = 180.0  # the full text width of a two-column page
COLUMN_MM = 88.0
_FOOT_PT = 5.5  # size of a footer's letters
_EDGE = 0.01  # of the width: what a footer leaves free at either side

INK = "#1a1a1a"  # text, frames, samples
FAINT = "#777777"  # notes
REGION = "#eaa95c"  # where 99 % of the class's mass lies: light enough for dark samples on top
REGION_OTHER = "#e6e6e6"  # the other class
OUTSIDE = "#c1121f"  # a sample outside the region; also drawn larger, so grey prints show it
DENSITY = "YlGnBu"  # light to dark, monotone in lightness: reads on a grey print
RATIO = LinearSegmentedColormap.from_list(  # violet, grey, orange; dark to light all the way, so grey prints keep the sign
    "ratio", ["#2a0a54", "#6a55a3", "#aaa6b4", "#efae5a", "#ffe7ad"]
)

METHODS, GUIDES, DEGRADED = "methods", "choice of the weak model", "degraded main model"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: same glyphs on every machine
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
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


@dataclass(frozen=True)
class Look:
    """How one variant is drawn: `marker` and `dashes` as matplotlib takes them, `family` is its row of panels."""

    color: str
    marker: str
    dashes: Any
    family: str = METHODS


_LOOKS = {  # each family from dark to light
    "none": Look("#1a1a1a", "*", (0, (1, 1.5))),
    "truncation": Look("#c79bdc", "v", (0, (5, 1.5, 1, 1.5))),
    "cfg": Look("#123f86", "s", "-"),
    "cfg_interval": Look("#4a94cc", "D", (0, (4, 1.5))),
    "autog": Look("#dd5f12", "o", "-"),
    "dg": Look("#0b6b4a", "^", "-"),
    "dg_first": Look("#7fcfae", "<", (0, (2, 1))),
    "dg_frozen": Look("#4f9a5b", "D", (0, (1, 1.5))),
    "dg_autog": Look("#b8b13a", "P", (0, (6, 1.5))),
    "cfg_apg": Look("#2e6f9e", "p", (0, (1, 1))),
    "icg": Look("#9cb8d8", "h", (0, (3, 1, 1, 1))),
    "cg": Look("#5b5b5b", "X", (0, (7, 2))),
    "dg_cfg": Look("#7a2f6f", "d", (0, (6, 1.5, 1, 1.5))),
    "cfg_autog": Look("#e8a33d", ">", (0, (3, 2))),
    "adm": Look("#1a1a1a", "*", (0, (4, 2))),
    "dit": Look("#6d6d6d", "*", (0, (1, 2.5))),
    "none_u": Look("#1a1a1a", "*", (0, (4, 2))),
    "none_c": Look("#6d6d6d", "*", (0, (1, 2.5))),
    "interval": Look("#4a94cc", "D", (0, (4, 1.5))),
    "cg_dg": Look("#7a2f6f", "X", (0, (6, 1.5))),
    "cfg_dg": Look("#3c8f73", "v", (0, (3, 1.5))),
    "dg_u": Look("#0b6b4a", "^", "-"),
    "dg_c": Look("#7fcfae", "<", (0, (2, 1))),
    "autog_u": Look("#dd5f12", "o", "-"),
    "autog_c": Look("#f0a878", ">", (0, (3, 2))),
    "dg_autog_u": Look("#b8b13a", "P", (0, (6, 1.5))),
    "dg_autog_c": Look("#d8d48a", "h", (0, (1, 1))),
    "autog_xs": Look("#3b1f6b", "s", (0, (4, 1.5)), GUIDES),
    "autog_t16": Look("#3fa37a", "^", (0, (2, 1)), GUIDES),
    "autog_ema": Look("#d99cc0", "D", (0, (5, 1.5, 1, 1.5)), GUIDES),
    "autog_t4": Look("#7a5a1e", "p", (0, (1, 1)), GUIDES),
    "autog_xs_t8": Look("#b0527f", "P", (0, (6, 1.5)), GUIDES),
    "autog_xs_t16": Look("#5f87c4", "v", (0, (7, 2)), GUIDES),
    "autog_drop": Look("#8c8c8c", "X", (0, (3, 1, 1, 1)), GUIDES),
    "dropout": Look("#123f86", "s", "-", DEGRADED),
    "input_noise": Look("#dd5f12", "o", (0, (4, 1.5)), DEGRADED),
    "mismatched": Look("#86c386", "^", (0, (2, 1)), DEGRADED),
}
_SPARE = ("#5b2a86", "#7d7d7d", "#2d9fa8", "#e09ab3", "#6b4a1e")
_SPARE_MARKERS = "Xhp>d"


def look(variant: str) -> Look:
    """The look of a variant; one this list does not know gets a spare, always the same one for the same name."""
    if variant in _LOOKS:
        return _LOOKS[variant]
    index = sum(variant.encode()) % len(_SPARE)
    return Look(_SPARE[index], _SPARE_MARKERS[index], (0, (3, 1, 1, 1)))


def known(variant: str) -> bool:
    """Whether the variant has a look of its own."""
    return variant in _LOOKS


def context() -> AbstractContextManager[None]:
    """The fonts and line widths of RC inside a `with`; matplotlib's own settings come back after it."""
    return mpl.rc_context(RC)  # type: ignore[arg-type]


def figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure of exactly this size, outside pyplot's list of open figures."""
    return Figure(figsize=(width_mm * MM, height_mm * MM))


def letter(ax: Axes, index: int, title: str) -> None:
    """Title a panel `a  title`, the letter bold and flush with the panel's left edge."""
    for text, shift, weight in (("abcdefghijklmnopqrstuvwxyz"[index], 0.0, "bold"), (title, 10.0, "normal")):
        ax.annotate(
            text, (0, 1), xytext=(shift, 3.0), xycoords="axes fraction", textcoords="offset points",
            weight=weight, size=7.5, ha="left", va="baseline", annotation_clip=False,
        )  # fmt: skip


def footer(fig: Figure, text: str) -> None:
    """Small print at the lower left: which experiment, at what scale, how many samples. What is too long gets more lines."""
    lines = "\n".join(_broken(text, fig.get_figwidth() / MM))
    fig.text(_EDGE, 0.008, lines, size=_FOOT_PT, color=FAINT, ha="left", va="bottom")


def footer_mm(text: str, width_mm: float = PAGE_MM) -> float:
    """The height in mm that a footer takes beyond its first line: 0 for one that fits into one."""
    return (len(_broken(text, width_mm)) - 1) * _FOOT_PT * 1.2 / 72 / MM


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
    """The footer: experiment and scale, then what the figure adds."""
    return "; ".join([names.origin(info), *more])


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
