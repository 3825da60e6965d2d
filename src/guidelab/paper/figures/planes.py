"""Quality against diversity along the weight: right is more diverse; of images precision against recall, by feature space.

Rows: those of `weights` (images) or of `sweep` (points), for the two metrics of each plane.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import charts, looks, names, page, plotted, reported, style, summary
from guidelab.paper.figures import weights

FEATURES = ("lite0", "classifier")
POINTS = (("recall", "precision"), ("mass_covered", "outliers_99"))  # diversity, quality
NEUTRAL = weights.NEUTRAL


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point; of images settings.variants and settings.features say what is drawn.

    Raises:
        UserError: rows that may not be compared; see `reported.rows`.
    """
    settings = info.get("settings", {})
    if info.get("kind") != "images":
        report = reported.sampled(reported.rows(tables["measurements"], tables["selected"]))
        methods = report[report["variant"].map(names.section) == names.METHODS]
        return plotted.estimates(methods, [m for pair in POINTS for m in pair], tables)
    wanted = [NEUTRAL, *(settings.get("variants") or weights.VARIANTS)]
    metrics = [f"{m}@{s}" for s in settings.get("features") or FEATURES for m in ("recall", "precision")]
    return ar.round_table(plotted.points(tables, wanted, metrics, info)[plotted.OF_IMAGES])


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`, a plane below the other.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    images = info.get("kind") == "images"
    style.need(rows, plotted.OF_IMAGES if images else plotted.OF_POINTS, str(info.get("figure", "planes")))
    spaces = list(dict.fromkeys(rows["metric"].str.partition("@")[2])) if images else []
    pairs = [(f"recall@{s}", f"precision@{s}") for s in spaces] or list(POINTS)
    bars = (
        plotted.bars(rows)
        if images
        else plotted.bands(rows).partition("; ")[0] + "; filled markers: several trainings"
    )
    said = style.origin_line(
        info,
        "numbers at markers: guidance weight w; star: no guidance",
        plotted.at_edge(rows) if images else "",
        bars,
    )
    ok = rows[rows["status"] == summary.OK]  # other points are counted in the panels
    handles = page.handles(rows["variant"]) + page.signs(ok, chosen=images and bool(ok["selected"].any()))
    with style.context():
        fig, axes = page.page(handles, len(pairs), said, columns=1, panel_mm=52.0, left_mm=12.0)
        for i, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
            _plane(ax, rows[rows["metric"].isin(pair)], pair, i, images)
    return fig


def _plane(ax: Axes, rows: pd.DataFrame, pair: tuple[str, str], index: int, images: bool) -> None:
    """One plane: a line for each method from no guidance through its weights, which are written at the markers."""
    (label_x, factor_x), (label_y, factor_y) = (_label(rows, metric, images) for metric in pair)
    sides = [
        charts.sound(rows[rows["metric"] == m], f) for m, f in zip(pair, (factor_x, factor_y), strict=True)
    ]
    both = sides[0].merge(
        sides[1], on=["variant", "w", "offset"], suffixes=("_x", "_y"), validate="one_to_one"
    )
    both = both.rename(columns={"value_x": "x", "value_y": "y"})
    both = both.assign(many=both["n_trainings_x"] > 1, written=both["variant"] != NEUTRAL)
    shown = {v: looks.look(v) for v in names.ordered(both["variant"])}
    charts.plane(ax, both, shown, bars=images)
    if images:
        chosen = both[both["selected_x"].astype(bool)]
        charts.rings(ax, chosen["x"], chosen["y"])
        _starts(ax, both, shown)
    name = f", {rows['features'].iloc[0]} features" if images else ""
    style.letter(ax, index, f"{label_y.removesuffix(' (%)')} against {label_x.removesuffix(' (%)')}{name}")
    ax.set(xlabel=f"{label_x}  → more diverse", ylabel=f"{label_y}{'  → more faithful' if images else ''}")
    lost = len(rows[["variant", "w"]].drop_duplicates()) - len(both)
    if lost:
        said = f"{lost} points without both numbers"
        ax.text(0.99, 0.01, said, transform=ax.transAxes, ha="right", size=5.5)
    ax.set_label(pair[0].partition("@")[2] if images else f"{label_y} against {label_x}")


def _label(rows: pd.DataFrame, metric: str, images: bool) -> tuple[str, float]:
    mine = rows[rows["metric"] == metric]
    return (metric.partition("@")[0], 1.0) if images or mine.empty else plotted.label(mine)


def _starts(ax: Axes, both: pd.DataFrame, shown: Mapping[str, looks.Look]) -> None:
    """Join no guidance to the first point of each method that starts there."""
    start = both[both["variant"] == NEUTRAL]
    for variant, look in shown.items():
        part = both[both["variant"] == variant].sort_values("offset")
        if variant != NEUTRAL and len(start) and part["starts_x"].all() and part["offset"].min() > 0:
            ends = [pd.concat([start[c], part[c]]).iloc[:2] for c in ("x", "y")]
            ax.plot(*ends, color=look.color, lw=0.6, alpha=0.5, zorder=2)
