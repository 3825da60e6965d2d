# ruff: noqa: RUF001 - dashes are what readers see
"""What the curves of image experiments share: rows of points with intervals, and how a curve is drawn with bars."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from guidelab.paper import style, summary
from guidelab.paper.style import Look

NUMBER = ["value", "lo", "hi", "over", "n_trainings", "n_blocks", "n_generated", "status"]
TITLE = ["metric", "name", "features", "unit", "direction"]


def number(rows: pd.DataFrame, variant: str, w: float, info: dict[Any, Any]) -> dict[str, object]:
    """The estimate of one metric at a point of report rows: columns NUMBER."""
    e = summary.estimate(summary.at_point(rows, variant, w, str(info["metric"])), share=info["unit"] == "%")
    return {key: getattr(e, key) for key in NUMBER}


def factor(rows: pd.DataFrame) -> float:
    """What a panel's values are multiplied by: 100 for shares."""
    return 100.0 if len(rows) and rows["unit"].iloc[0] == "%" else 1.0


def axes(fig: Figure, box_mm: tuple[float, float, float, float], height: float) -> Axes:
    """Axes at (left, bottom, width, height) in mm on a page-wide figure of this height."""
    x, y, w, h = box_mm
    ax = fig.add_axes((x / style.PAGE_MM, y / height, w / style.PAGE_MM, h / height))
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def curve(ax: Axes, rows: pd.DataFrame, x: str, look: Look, scale: float, name: str) -> None:
    """One line through the points of `rows` that have a number, with their intervals as bars.

    Markers are open where one training stands behind the number.
    """
    ok = rows[rows["status"] == summary.OK].sort_values(x)
    if ok.empty:
        return
    at, y, lo, hi = (
        ok[c].to_numpy(float) * s for c, s in ((x, 1.0), ("value", scale), ("lo", scale), ("hi", scale))
    )
    ax.plot(at, y, color=look.color, ls=look.dashes, zorder=3, label=name)
    ax.vlines(at, lo, hi, color=look.color, lw=0.8, alpha=0.75, zorder=2)
    many = (ok["n_trainings"] > 1).to_numpy()
    for mask, face in ((many, look.color), (~many, "white")):
        ax.plot(at[mask], y[mask], look.marker, color=look.color, mfc=face, mec=look.color, mew=0.9, zorder=4)


def level(ax: Axes, rows: pd.DataFrame, look: Look, scale: float) -> None:
    """A number as a line across with its interval as a band."""
    ok = rows[rows["status"] == summary.OK]
    if ok.empty:
        return
    first = ok.iloc[0]
    ax.axhline(first["value"] * scale, color=look.color, ls=look.dashes, lw=0.9, zorder=2)
    ax.axhspan(first["lo"] * scale, first["hi"] * scale, color=look.color, alpha=0.09, lw=0, zorder=0)


def ring(ax: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    """A ring around the chosen points."""
    ax.plot(list(x), list(y), "o", ms=7.5, mfc="none", mec=style.INK, mew=0.7, zorder=5)


def handle(look: Look, label: str, *, marker: bool = True) -> Line2D:
    """A legend entry."""
    sign = {"marker": look.marker, "ms": 6.0 if look.marker == "*" else 3.6} if marker else {}
    return Line2D([], [], color=look.color, ls=look.dashes, label=label, **sign)  # type: ignore[arg-type]


def signs(rows: pd.DataFrame, *, chosen: bool = False) -> list[Line2D]:
    """Legend entries of ring and open marker, where they occur."""
    found = []
    if chosen:
        found.append(
            Line2D(
                [], [], ls="", marker="o", ms=7.5, mfc="none", mec=style.INK, mew=0.7, label="chosen weight"
            )
        )
    if (rows.loc[rows["status"] == summary.OK, "n_trainings"] == 1).any():
        found.append(
            Line2D(
                [], [], ls="", marker="o", mfc="white", mec=style.FAINT, mew=0.7, label="one training only"
            )
        )
    return found


def legend(fig: Figure, handles: list[Any], height: float, columns: int = 5) -> float:
    """A legend across the top of the figure; returns its height in mm."""
    _legend(fig, handles, height, columns)
    return legend_mm(len(handles), columns)


def _legend(fig: Figure, handles: list[Any], height: float, columns: int) -> Legend:
    return fig.legend(
        handles=handles, loc="upper left", ncols=columns, borderaxespad=0, columnspacing=1.6, handlelength=2.6,
        bbox_to_anchor=(10 / style.PAGE_MM, 1 - 2.0 / height),
    )  # fmt: skip


def fitting(handles: list[Any], most: int = 5) -> int:
    """Into how many columns, `most` or fewer, a legend goes without leaving the page."""
    for columns in range(most, 1, -1):
        fig = style.figure(style.PAGE_MM, style.PAGE_MM)
        renderer = FigureCanvasAgg(fig).get_renderer()  # type: ignore[no-untyped-call]
        if _legend(fig, handles, style.PAGE_MM, columns).get_window_extent(renderer).x1 <= fig.bbox.x1:
            return columns
    return 1


def legend_mm(entries: int, columns: int = 5) -> float:
    """The height in mm that `legend` will take."""
    return 3.7 * -(-entries // columns) + 2.5


def page(
    handles: list[Line2D],
    count: int,
    panel_mm: float,
    inset: tuple[float, float, float, float, float],
    columns: int = 5,
) -> tuple[Figure, list[Axes]]:
    """A page of panels, two a row, under a legend.

    Args:
        handles: of the legend, in `columns` or as many fewer as fit.
        count: how many panels.
        panel_mm: height of a row.
        inset: of a panel's axes in mm: from the left, between two, from below, width, and what the row keeps of its height.
    """
    left, pitch, below, width, kept = inset
    columns = fitting(handles, columns)
    height = -(-count // 2) * panel_mm + legend_mm(len(handles), columns) + 4
    fig = style.figure(style.PAGE_MM, height)
    top = height - legend(fig, handles, height, columns)
    boxes = (
        (left + pitch * (i % 2), top - (i // 2 + 1) * panel_mm + below, width, panel_mm - kept)
        for i in range(count)
    )
    return fig, [axes(fig, box, height) for box in boxes]


def title(rows: pd.DataFrame) -> str:
    """`FID, Lite0 features (lower is better)`."""
    first = rows.iloc[0]
    unit = " (%)" if first["unit"] == "%" else ""
    better = {"lower": "lower is better", "higher": "higher is better"}.get(str(first["direction"]), "")
    return f"{first['name']}{unit}, {first['features']} features" + (f" ({better})" if better else "")


def bars(rows: pd.DataFrame) -> str:
    """What bars run over and from how many images, in one line."""
    ok = rows[rows["status"] == summary.OK]
    if ok.empty:
        return summary.NOT_RUN
    over = ", ".join(dict.fromkeys(str(o) for o in ok["over"] if o)) or "nothing"
    blocks = "–".join(str(b) for b in dict.fromkeys((int(ok["n_blocks"].min()), int(ok["n_blocks"].max()))))
    counts = "–".join(
        str(b) for b in dict.fromkeys((int(ok["n_trainings"].min()), int(ok["n_trainings"].max())))
    )
    return (
        f"{counts} training{'s' if ok['n_trainings'].max() > 1 else ''}, {blocks} blocks of {int(ok['n_generated'].iloc[0]):,} "
        f"images that chose no weight; bars: 95 %, over {over}"
    )
