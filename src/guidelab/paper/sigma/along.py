# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Score mismatch, the weights that make divergences of it, and their products along sigma.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from guidelab.paper import names, style
from guidelab.paper.sigma import numbers

COLUMNS = [
    "point", "variant", "series", "divergence", "sigma_lo", "sigma_hi", "sigma", "value", "lo", "hi", "status", "n",
    "train_seed",
]  # fmt: skip
# series, divergence, title
PANELS = (
    ("score_error_sampler", "score_error", "mismatch, σ² E‖∇log p − s‖²"),
    ("weight", "kl_reverse", "weight of KL(q‖p), E 1/r"),
    ("weight", "js", "weight of JS, E (1 − d)/2"),
    ("weight", "chi2", "weight of Pearson χ², E 2r"),
    ("posterior", "", "discriminator, E d"),
    ("product", "kl_reverse", "product for KL(q‖p)"),
    ("product", "js", "product for JS"),
    ("product", "chi2", "product for Pearson χ²"),
)
_HEIGHT_MM = 102.0


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the points that settings ask for."""
    given = tables["divergences"]
    curves = given[(given["kind"] == "curve") & given["point"].isin(_points(info))]
    found = []
    for series, divergence, _ in PANELS:
        same = curves[(curves["estimator"] == series) & (curves["divergence"] == divergence)]
        for row in same.to_dict("records"):
            lo, hi = float(row["sigma_lo"]), float(row["sigma_hi"])
            found.append({
                "point": row["point"], "variant": names.split_point(str(row["point"]))[0], "series": series,
                "divergence": divergence, "sigma_lo": lo, "sigma_hi": hi, "sigma": float(f"{math.sqrt(lo * hi):.6g}"),
                **numbers.interval(row), "n": row["n"], "train_seed": row["train_seed"],
            })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def _points(info: dict[str, Any]) -> list[str]:
    """The points as rows name them: an unguided one at its neutral weight."""
    return [p if "/" in p else f"{p}/w1.00" for p in info["settings"]["points"]]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: eight panels, one curve a point.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_sigma")
    points = [p for p in _points(info) if p in set(rows["point"])]
    with style.context():
        fig = style.figure(style.PAGE_MM, _HEIGHT_MM)
        for index, (series, divergence, title) in enumerate(PANELS):
            column, row = index % 4, index // 4
            box = (10 + 43.3 * column, _HEIGHT_MM - 42 - 43 * row, 34, 33)
            ax = fig.add_axes(
                (box[0] / style.PAGE_MM, box[1] / _HEIGHT_MM, box[2] / style.PAGE_MM, box[3] / _HEIGHT_MM)
            )
            mine = rows[(rows["series"] == series) & (rows["divergence"] == divergence)]
            _panel(ax, mine, points, log=series in ("score_error_sampler", "product"))
            style.letter(ax, index, title)
            ax.set_label(f"{series} {divergence}".strip())
            if row:
                ax.set_xlabel("σ", labelpad=1)
        handles = [_handle(point) for point in points]
        fig.legend(handles=handles, loc="upper right", ncols=len(points), bbox_to_anchor=(0.99, 1.0))
        style.footer(fig, style.origin_line(info, _said(rows)))
    return fig


def _handle(point: str) -> Line2D:
    look = style.look(names.split_point(point)[0])
    return Line2D(
        [], [], color=look.color, ls=look.dashes, marker=look.marker, ms=3, label=numbers.point_label(point)
    )


def _panel(ax: Axes, rows: pd.DataFrame, points: list[str], log: bool) -> None:
    for point in points:
        mine = rows[(rows["point"] == point)].sort_values("sigma")
        ok = mine[mine["status"] == numbers.OK]
        look = style.look(names.split_point(point)[0])
        x, y, lo, hi = (ok[c].to_numpy(float) for c in ("sigma", "value", "lo", "hi"))
        floor = np.maximum(lo, 0.3 * y) if log else lo  # an interval down to 0 has no end on a log axis
        ax.fill_between(x, floor, hi, color=look.color, alpha=0.18, lw=0, zorder=1)
        ax.plot(x, y, color=look.color, ls=look.dashes, marker=look.marker, ms=2.2, lw=0.9, zorder=3)
        bad = mine[mine["status"] != numbers.OK]
        ax.plot(
            bad["sigma"], np.full(len(bad), 0.97), "x", color=look.color, ms=3.5, transform=ax.get_xaxis_transform(), zorder=4
        )  # fmt: skip
    ax.set_xscale("log")
    if log and (rows["value"] > 0).any():
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(pad=1)


def _said(rows: pd.DataFrame) -> str:
    seeds = sorted(set(rows["train_seed"]))
    return (
        f"training seed {', '.join(map(str, seeds))}; σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, "
        f"{rows['sigma'].nunique()} bins; means over p, {int(rows['n'].min()):,} real points no net has seen; mismatch and products in "
        "nats per unit of ln σ. The mismatch is exact, and KL(p‖q)'s own product: its weight is 1; r and d are the grader's, so no weight or product is a bound; s is the score "
        "that is sampled with. Bands 95 % over points; × not estimable: a few points carry the mean"
    )
