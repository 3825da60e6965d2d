# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""What guidance does to each divergence, in pixels and in features, next to quality and diversity.

`rows(tables, info)` makes one row per (panel, point): columns panel, metric, point, variant, value, lo, hi, status, n, bound.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from guidelab.paper import (
    captions,
    divergence_numbers,
    looks,
    metric_names,
    names,
    page,
    plotted,
    style,
)
from guidelab.paper.looks import INK

COLUMNS = ["panel", "metric", "point", "variant", "value", "lo", "hi", "status", "n", "bound"]
_LOWEST = "{name} ≥, pixels, σ = {sigma:g}"


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Bounds of every graded point, and the metrics named in the settings at the same points."""
    given = tables["divergences"]
    wanted = [
        p
        for p in dict.fromkeys(given["point"])
        if names.split_point(str(p))[0] in {divergence_numbers.NULL, "none", *info["settings"]["variants"]}
    ]
    known = divergence_numbers.spaces(given)
    found = []
    estimates = given[given["kind"] == "estimate"]
    pixels = estimates[(estimates["estimator"] == "nwj") & (estimates["divergence"] == "js")]
    lowest = float(pixels["sigma_lo"].min())
    shown = [(_LOWEST.format(name="JS", sigma=lowest), "js", "nwj")]
    shown += [(f"JS ≥, {metric_names.features_short(space)}", "js", f"nwj@{space}") for space in known]
    shown += [(f"KL(p‖q) ≥, {metric_names.features_short(space)}", "kl", f"nwj@{space}") for space in known]
    shown += [("gain of guidance, nats", "score_error", "gain_guidance")]
    for panel, divergence, estimator in shown:
        same = estimates[(estimates["divergence"] == divergence) & (estimates["estimator"] == estimator)]
        for row in same[same["point"].isin(wanted)].to_dict("records"):
            told = divergence_numbers.interval(row)
            found.append({"panel": panel, "metric": f"{divergence} {estimator}", "point": row["point"], **told,
                          "n": row["n"], "bound": row["bound"]})  # fmt: skip
    found += plotted.at_points(tables, info["settings"]["metrics"], wanted)
    table = pd.DataFrame(found)
    table["variant"] = [names.split_point(str(p))[0] for p in table["point"]]
    for column in ("value", "lo", "hi"):
        table[column] = table[column].map(lambda v: float(f"{v:.6g}"))
    return table[COLUMNS]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel a number, points down.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_weight")
    points = list(dict.fromkeys(rows["point"]))
    titles = _estimable(rows)
    handles = [page.handle(looks.of_point(p), divergence_numbers.point_label(p)) for p in points]
    with style.context():
        said = style.origin_line(info, captions.divergence_points(rows, titles))
        fig, axes = page.page(handles, len(titles), said, panel_mm=2.4 * len(points) + 2, left_mm=3.0)
        for index, (ax, panel) in enumerate(zip(axes, titles, strict=True)):
            _panel(ax, rows[rows["panel"] == panel], points)
            style.letter(ax, index, panel)
            ax.set_label(panel)
    return fig


def _estimable(rows: pd.DataFrame) -> list[str]:
    """The panels with a number of some sampler: real against real alone shows nothing."""
    sound = rows[(rows["status"] == divergence_numbers.OK) & (rows["point"] != divergence_numbers.NULL)]
    return [panel for panel in dict.fromkeys(rows["panel"]) if panel in set(sound["panel"])]


def _panel(ax: Axes, rows: pd.DataFrame, points: list[str]) -> None:
    """One number of every point, its interval as a bar; a cross at the right: not estimable."""
    for place, point in enumerate(points):
        look = looks.of_point(point)
        for row in rows[rows["point"] == point].to_dict("records"):
            if row["status"] != divergence_numbers.OK:
                ax.plot(0.97, place, "x", color=look.color, ms=3.5, transform=ax.get_yaxis_transform())
                continue
            ax.plot([row["lo"], row["hi"]], [place, place], "-", color=look.color, lw=0.9, zorder=2)
            ax.plot(row["value"], place, look.marker, color=look.color, ms=3.6, zorder=3)
    if (rows["bound"] == "yes").any():
        ax.axvline(0, color=INK, lw=0.5, zorder=1)
    ax.set_ylim(len(points) - 0.5, -0.5)
    ax.set_yticks(range(len(points)), [""] * len(points))  # from top to bottom as in the legend
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(False, axis="y")
    ax.margins(x=0.08)
