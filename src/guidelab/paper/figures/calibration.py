# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Every estimate against its own truth: on the diagonal, or not.

`rows(tables, info)` makes one row per (point, divergence, estimator): columns point, variant, divergence, estimator, bound,
value, lo, hi, truth, truth_lo, truth_hi, status, n, sigma_lo, sigma_hi.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from guidelab.paper import captions, charts, divergence_numbers, looks, names, page, ranges, style
from guidelab.paper.divergence_table import make_table
from guidelab.paper.looks import GREY

COLUMNS = [
    "point", "variant", "divergence", "estimator", "bound", "value", "lo", "hi", "truth", "truth_lo", "truth_hi", "status",
    "n", "sigma_lo", "sigma_hi",
]  # fmt: skip
_MARKS = {  # marker, filled, words
    "nwj": ("^", True, "lower bound (NWJ)"),
    "plug_in": ("o", False, "plug-in: no bound"),
    "integral": ("s", False, "σ integral: no bound"),
    "gain_guidance": ("D", True, "gain of guidance"),
    "gain_grader": ("v", True, "gain of grader"),
}
PANELS = (
    ("kl", ("nwj", "plug_in", "integral")),
    ("kl_reverse", ("nwj", "plug_in", "integral")),
    ("js", ("nwj", "plug_in", "integral")),
    ("chi2", ("nwj", "plug_in", "integral")),
    ("score_error", ("gain_guidance", "gain_grader")),
)


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The estimates of every panel with their truths."""
    table = make_table(tables["divergences"], info)
    wanted = [(d, e) for d, estimators in PANELS for e in estimators]
    kept = table[[pair in wanted for pair in zip(table["divergence"], table["estimator"], strict=True)]]
    flagged = (kept["status"] != divergence_numbers.OK) | (kept["truth_status"] != divergence_numbers.OK)
    status = np.where(flagged, divergence_numbers.NOT_ESTIMABLE, divergence_numbers.OK)
    variant = [names.split_point(p)[0] for p in kept["point"]]
    return kept.assign(status=status, variant=variant)[COLUMNS].reset_index(drop=True)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel a divergence, estimates up, truths across.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_calibration")
    shown = [d for d, _ in PANELS if (_samplers(rows)["divergence"] == d).any()]
    lost = [divergence_numbers.NAMES[d] for d, _ in PANELS if d not in shown]
    left_out = [f"left out, not estimable for any sampler: {', '.join(lost)}"] if lost else []
    with style.context():
        said = style.origin_line(info, captions.calibration(rows), *left_out)
        fig, axes = page.page(_handles(rows), len(shown), said, panel_mm=27.0, left_mm=11.5)
        for index, (ax, divergence) in enumerate(zip(axes, shown, strict=True)):
            _panel(ax, rows[rows["divergence"] == divergence], curved=divergence in ("kl", "score_error"))
            name = "gain" if divergence == "score_error" else divergence_numbers.NAMES[divergence]
            style.letter(ax, index, name if divergence == "chi2" else f"{name}, nats")  # χ² has no unit
            ax.set_label(divergence)
    return fig


def _samplers(rows: pd.DataFrame) -> pd.DataFrame:
    """Estimates of samplers: real against real alone shows nothing."""
    return rows[(rows["status"] == divergence_numbers.OK) & (rows["point"] != divergence_numbers.NULL)]


def _panel(ax: Axes, rows: pd.DataFrame, curved: bool) -> None:
    ok = charts.sound(rows)
    lost = rows.loc[rows["status"] != divergence_numbers.OK, "point"].nunique()
    if lost:
        text = f"{lost} sampler{'s' if lost > 1 else ''} not estimable"
        ax.text(0.04, 0.97, text, transform=ax.transAxes, va="top", size=5.5, color=style.FAINT)
    for row in ok.to_dict("records"):
        marker, filled, _ = _MARKS[row["estimator"]]
        color = looks.of_point(row["point"]).color
        ax.plot([row["truth_lo"], row["truth_hi"]], [row["value"]] * 2, "-", color=color, lw=0.6, zorder=2)
        ax.plot([row["truth"]] * 2, [row["lo"], row["hi"]], "-", color=color, lw=0.6, zorder=2)
        face = color if filled else "white"
        ax.plot(row["truth"], row["value"], marker, color=color, mfc=face, ms=3.6, mew=0.8, zorder=3)
    ranges.square(ax, curved=curved, drawn=bool(len(ok)))
    ax.set_xlabel("exact", labelpad=1)
    ax.set_ylabel("estimate", labelpad=1)


def _handles(rows: pd.DataFrame) -> list[Line2D]:
    """Samplers by colour, estimators by marker."""
    found = []
    for estimator, (marker, filled, words) in _MARKS.items():
        if estimator in set(rows["estimator"]):
            face = GREY if filled else "white"
            found.append(Line2D([], [], ls="", marker=marker, color=GREY, mfc=face, ms=3.6, label=words))
    present = set(rows["variant"])
    for variant in [divergence_numbers.NULL, *names.ordered(present - {divergence_numbers.NULL})]:
        if variant in present:
            color, label = looks.of_point(variant).color, divergence_numbers.point_label(variant)
            found.append(Line2D([], [], ls="", marker="s", color=color, ms=3.6, label=label))
    return found
