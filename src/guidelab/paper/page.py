"""The layout of a figure: a legend on top, panels in rows, notes below; all lengths in mm on a column's width."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from guidelab.paper import charts, names, style, summary
from guidelab.paper.looks import Look, look

OFFSET = "w − neutral w"  # noqa: RUF001 - a true minus sign
WEIGHTS = "w: guidance weight; neutral w guides nothing"
_ENTRY_MM = 3.5  # a line of the legend
_TITLE_MM = 4.5  # above a panel's axes


def page(
    handles: list[Any],
    count: int,
    said: str,
    *,
    panel_mm: float = 22.0,
    columns: int = 2,
    left_mm: float = 9.5,
    below_mm: float = 7.5,
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels under a legend, with the notes `said` below.

    Args:
        handles: of the legend; none for no legend.
        count: how many panels.
        said: the notes.
        panel_mm: height of a panel's axes.
        columns: panels a row.
        left_mm: for the ticks and the label at the left of a panel.
        below_mm: for those below it.
    """
    pitch = (style.WIDTH_MM - 1.5) / columns
    box = (pitch - left_mm - 0.8, panel_mm)
    return _grid(handles, count, said, box, columns, pitch, left_mm, (_TITLE_MM, below_mm))


def _grid(
    handles: list[Any],
    count: int,
    said: str,
    box_mm: tuple[float, float],
    columns: int,
    pitch_mm: float,
    left_mm: float,
    around_mm: tuple[float, float],
    *,
    head_mm: float = 0.0,
    foot_mm: float = 0.0,
    bare: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of so many equal axes under a legend, with notes below.

    Args:
        handles, count, said, columns: see `page`.
        box_mm: width and height of each axes.
        pitch_mm: from one column to the next, the first at `left_mm`.
        left_mm: see `pitch_mm`.
        around_mm: above and below each axes.
        head_mm: above the first row; `foot_mm` below the last.
        foot_mm: see `head_mm`.
        bare: see `place`.
    """
    most = fitting(handles)
    top = (_ENTRY_MM * -(-len(handles) // most) + 1.5 if handles else 0.5) + head_mm
    row = box_mm[1] + sum(around_mm)
    height = top + row * -(-count // columns) + style.footer_mm(said) + foot_mm
    fig = style.figure(height)
    if handles:
        _legend(fig, handles, most)
    axes = []
    for i in range(count):
        y = height - top - row * (i // columns + 1) + around_mm[1]
        axes.append(place(fig, (left_mm + pitch_mm * (i % columns), y, *box_mm), bare=bare))
    style.footer(fig, said)
    return fig, axes


def place(fig: Figure, box_mm: tuple[float, float, float, float], *, bare: bool = False) -> Axes:
    """Axes at (left, bottom, width, height) in mm; `bare` without a grid."""
    across, up = style.WIDTH_MM, fig.get_figheight() / style.MM
    x, y, w, h = box_mm
    ax = fig.add_axes((x / across, y / up, w / across, h / up))
    if not bare:
        ax.grid(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(pad=1.5)
        ax.margins(x=0.05)
    return ax


def _legend(fig: Figure, handles: list[Any], columns: int) -> Legend:
    return fig.legend(
        handles=handles, loc="upper left", ncols=columns, borderaxespad=0, columnspacing=1.2, handlelength=2.2,
        handletextpad=0.5, labelspacing=0.35, bbox_to_anchor=(0.012, 1 - 0.8 * style.MM / fig.get_figheight()),
    )  # fmt: skip


def fitting(handles: list[Any], most: int = 4) -> int:
    """Into how many columns, `most` or fewer, a legend goes without leaving the figure."""
    for columns in range(min(most, len(handles)), 1, -1):
        fig = style.figure(style.WIDTH_MM)
        renderer = FigureCanvasAgg(fig).get_renderer()  # type: ignore[no-untyped-call]
        if _legend(fig, handles, columns).get_window_extent(renderer).x1 <= fig.bbox.x1:
            return columns
    return 1


def handle(of: Look, label: str, *, marker: bool = True) -> Line2D:
    """A legend entry."""
    sign: dict[str, Any] = {"marker": of.marker, "ms": 6.0 if of.marker == "*" else 3.4} if marker else {}
    return Line2D([], [], color=of.color, ls=of.dashes, label=label, **sign)


def handles(variants: Any) -> list[Line2D]:
    """Legend entries of variants, in the order of params.yaml."""
    return [handle(look(v), names.label(v)) for v in names.ordered(variants)]


def signs(rows: pd.DataFrame, *, chosen: bool = False) -> list[Line2D]:
    """Legend entries of ring, open marker and cross, where they occur."""
    found = [Line2D([], [], ls="", label="chosen weight", **charts.RING)] if chosen else []
    grey: dict[str, Any] = {"ls": "", "color": style.FAINT}
    if (rows.loc[rows["status"] == summary.OK, "n_trainings"] == 1).any():
        found.append(Line2D([], [], marker="o", ms=3.4, mfc="white", label="one training only", **grey))
    if charts.unsure(rows).any():
        found.append(Line2D([], [], marker="x", ms=3, label="not estimable", **grey))
    return found


def nothing(ax: Axes, rows: pd.DataFrame) -> None:
    """Print in an empty panel why it is empty."""
    said = "\n".join(sorted(set(rows["status"])) or [summary.NOT_RUN])
    ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", color=style.FAINT)
    ax.set(xticks=[], yticks=[])


# ---- maps ------------------------------------------------------------------------------------------------------------


def maps(
    handles: list[Any],
    count: int,
    window: tuple[float, ...],
    said: str,
    *,
    columns: int = 3,
    title_mm: float = 4.5,
    below_mm: float = 0.5,
    head_mm: float = 0.0,
    left_mm: float = 0.8,
    foot_mm: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """A figure of maps of one window (x0, x1, y0, y1), three a row, under a legend; see `page`.

    Args:
        handles: of the legend.
        count: how many maps.
        window: that all show.
        said: the notes.
        columns: maps a row.
        title_mm: above each map; `below_mm` below it, for a colour bar.
        below_mm: see `title_mm`.
        head_mm: above the first row; `left_mm` at the left of all, `foot_mm` below all.
        left_mm: see `head_mm`.
        foot_mm: see `head_mm`.
    """
    side = (style.WIDTH_MM - left_mm - 0.8 * columns) / columns
    tall = side * (window[3] - window[2]) / (window[1] - window[0])
    return _grid(
        handles, count, said, (side, tall), columns, side + 0.8, left_mm, (title_mm, below_mm),
        head_mm=head_mm, foot_mm=foot_mm + 0.5, bare=True,
    )  # fmt: skip


def bar(fig: Figure, over: list[Axes], drawn: Any, label: str, ticks: list[float], extend: str) -> None:
    """A colour bar below the maps `over`, across three quarters of their width."""
    x0, x1 = over[0].get_position().x0, over[-1].get_position().x1
    y0, mm = over[0].get_position().y0, style.MM / fig.get_figheight()
    ax = fig.add_axes((x0 + 0.12 * (x1 - x0), y0 - 2.2 * mm, 0.76 * (x1 - x0), 1.6 * mm))
    fig.colorbar(drawn, cax=ax, orientation="horizontal", extend=extend, extendfrac=0.04)
    ax.set_xticks(ticks, [f"{t:g}".replace("-", "−") for t in ticks])  # noqa: RUF001 - a true minus sign
    ax.tick_params(labelsize=5.5, length=1.5, pad=1)
    ax.set_xlabel(label, size=6, labelpad=0.5)
