"""Precision against recall along the weight, one panel a feature space: right is more diverse, up is more faithful.

Rows: as those of `weights`, for the metrics precision and recall of each feature space.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import curves, style, summary
from guidelab.paper.images import panels, weights

COLUMNS = weights.COLUMNS
FEATURES = ("lite0", "classifier")
NEUTRAL = weights.NEUTRAL
_PANEL_MM = 84.0


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point; settings.variants and settings.features say what is drawn.

    Raises:
        UserError: rows that may not be compared; see `compare.report`.
    """
    settings = info.get("settings", {})
    wanted = [NEUTRAL, *(settings.get("variants") or weights.VARIANTS)]
    metrics = [
        f"{m}@{space}" for space in settings.get("features") or FEATURES for m in ("recall", "precision")
    ]
    return curves.round_rows(weights.points(tables, wanted, metrics, info)[COLUMNS])


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "precision_recall")
    spaces = list(dict.fromkeys(rows["metric"].str.partition("@")[2]))
    labels = dict(zip(rows["variant"], rows["label"], strict=True))
    with style.context():
        handles = [panels.handle(style.look(v), label) for v, label in labels.items()]
        handles += panels.signs(rows, chosen=bool(rows["selected"].any()))
        fig, found = panels.page(handles, len(spaces), _PANEL_MM, (14, 88.0, 12, 74, 19))
        for i, (ax, space) in enumerate(zip(found, spaces, strict=True)):
            _plane(ax, rows[rows["metric"].str.endswith(f"@{space}")], space, i)
        style.footer(fig, style.origin_line(info, "numbers beside markers: w", panels.bars(rows)))
    return fig


def _plane(ax: Axes, rows: pd.DataFrame, space: str, index: int) -> None:
    """One feature space: a line for each method from no guidance through its weights, which are written beside."""
    ok = rows[rows["status"] == summary.OK]
    sides = [ok[ok["metric"] == f"{m}@{space}"] for m in ("recall", "precision")]
    both = sides[0].merge(
        sides[1], on=["variant", "w", "offset"], suffixes=("_x", "_y"), validate="one_to_one"
    )
    start = both[both["variant"] == NEUTRAL]
    points: list[tuple[float, float, float]] = []
    for variant in dict.fromkeys(both["variant"]):
        part = both[both["variant"] == variant].sort_values("offset")
        look = style.look(variant)
        x, y = part["value_x"].to_numpy(float), part["value_y"].to_numpy(float)
        ax.hlines(y, part["lo_x"], part["hi_x"], color=look.color, lw=0.5, alpha=0.4, zorder=1)
        ax.vlines(x, part["lo_y"], part["hi_y"], color=look.color, lw=0.5, alpha=0.4, zorder=1)
        ax.plot(x, y, color=look.color, ls=look.dashes, zorder=3, label=variant)
        many = (part["n_trainings_x"] > 1).to_numpy()
        for mask, face in ((many, look.color), (~many, look.color if variant == NEUTRAL else "white")):
            ax.plot(
                x[mask], y[mask], look.marker, ms=8 if variant == NEUTRAL else 4, mfc=face, mec=look.color, mew=0.9, zorder=4
            )  # fmt: skip
        chosen = part[part["selected_x"].astype(bool)]
        panels.ring(ax, chosen["value_x"], chosen["value_y"])
        if variant != NEUTRAL and len(start) and part["starts_x"].all() and part["offset"].min() > 0:
            ends = start.iloc[0]
            ax.plot(
                [ends["value_x"], x[0]],
                [ends["value_y"], y[0]],
                color=look.color,
                lw=0.6,
                alpha=0.5,
                zorder=2,
            )
        named = part["w"] if variant != NEUTRAL else [float("nan")] * len(part)
        points += [(float(a), float(b), float(w)) for a, b, w in zip(x, y, named, strict=True)]
    name = str(rows["features"].iloc[0])
    style.letter(ax, index, f"precision against recall, {name} features")
    ax.set_xlabel("recall  → more diverse")
    ax.set_ylabel("precision  → more faithful")
    ax.margins(0.08)
    if points:
        curves.name_weights(ax, points)
    asked = len(rows[["variant", "w"]].drop_duplicates())
    if asked > len(both):
        ax.text(
            0.99,
            0.01,
            f"{asked - len(both)} points without both numbers",
            transform=ax.transAxes,
            ha="right",
            size=5.5,
        )
    ax.set_label(space)
