# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Divergences of images along sigma: what is lost in denoising, the grader's weights, and bounds; the null beside them.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed.
"""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from guidelab.paper import names, style
from guidelab.paper.sigma import numbers

COLUMNS = [
    "point", "variant", "series", "divergence", "sigma_lo", "sigma_hi", "sigma", "value", "lo", "hi", "status", "n",
    "train_seed",
]  # fmt: skip
# series, divergence, title, where nothing differs
PANELS = (
    ("gain_guidance", "score_error", "gain of guidance", 0.0),
    ("gain_grader", "score_error", "gain of the grader", 0.0),
    ("weighted_gain", "kl_reverse", "b, weighed for KL(q‖p)", 0.0),
    ("weighted_gain", "js", "b, weighed for JS", 0.0),
    ("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    ("weight", "js", "weight of JS, E (1 − d)/2", 0.25),
    ("nwj", "kl", "KL(p‖q) ≥ NWJ, nats", 0.0),
    ("nwj", "js", "JS ≥ NWJ, nats", 0.0),
)
_HEIGHT_MM = 96.0


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the null and of the points that settings ask for."""
    given = tables["divergences"]
    curves = given[(given["kind"] == "curve") & given["point"].isin(_points(info))]
    found = []
    for series, divergence, _, _ in PANELS:
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
    """The null, then the points as rows name them: an unguided one at its neutral weight."""
    return [numbers.NULL, *(p if "/" in p else f"{p}/w1.00" for p in info["settings"]["points"])]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: eight panels, one curve a point.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_sigma")
    points = [p for p in _points(info) if p in set(rows["point"])]
    with style.context():
        said = style.origin_line(info, _said(rows))
        height = _HEIGHT_MM + style.footer_mm(said)
        fig = style.figure(style.PAGE_MM, height)
        for index, (series, divergence, title, level) in enumerate(PANELS):
            left, bottom = 10 + 43.3 * (index % 4), height - 42 - 43 * (index // 4)
            ax = fig.add_axes((left / style.PAGE_MM, bottom / height, 34 / style.PAGE_MM, 33 / height))
            _panel(ax, rows[(rows["series"] == series) & (rows["divergence"] == divergence)], points, level)
            style.letter(ax, index, title)
            ax.set_label(f"{series} {divergence}")
            if index >= 4:
                ax.set_xlabel("σ", labelpad=1)
        fig.legend(
            handles=[_handle(point) for point in points],
            loc="upper right",
            ncols=len(points),
            bbox_to_anchor=(0.995, 1.0),
            columnspacing=0.9,
            handlelength=1.6,
            handletextpad=0.5,
        )
        style.footer(fig, said)
    return fig


def _look(point: str) -> dict[str, Any]:
    if point == numbers.NULL:
        return {"color": style.FAINT, "ls": (0, (2, 1)), "marker": "x"}
    look = style.look(names.split_point(point)[0])
    return {"color": look.color, "ls": look.dashes, "marker": look.marker}


def _handle(point: str) -> Line2D:
    return Line2D([], [], ms=3, lw=0.9, label=numbers.point_label(point), **_look(point))


def _panel(ax: Axes, rows: pd.DataFrame, points: list[str], level: float) -> None:
    ax.axhline(level, color=style.INK, lw=0.5, zorder=1)
    for point in points:
        mine = rows[rows["point"] == point].sort_values("sigma")
        ok, how = mine[mine["status"] == numbers.OK], _look(point)
        x, y, lo, hi = (ok[c].to_numpy(float) for c in ("sigma", "value", "lo", "hi"))
        ax.fill_between(x, lo, hi, color=how["color"], alpha=0.18, lw=0, zorder=2)
        ax.plot(x, y, ms=2.2, lw=0.9, zorder=3, **how)
        bad = mine[mine["status"] != numbers.OK]
        place = ax.get_xaxis_transform()
        ax.plot(bad["sigma"], [0.97] * len(bad), "x", color=how["color"], ms=3.5, transform=place, zorder=4)
    ax.set_xscale("log")
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(pad=1)


def _said(rows: pd.DataFrame) -> str:
    seeds = sorted(set(rows["train_seed"]))
    return (
        f"training seed {', '.join(map(str, seeds))}; σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, "
        f"{rows['sigma'].nunique()} bins; at least {int(rows['n'].min()):,} test images and samples a side that no net has seen. "
        "a, b: held-out denoising loss that guidance removes, and that the grader's gradient would remove after it, nats per unit of ln σ: lower bounds of the score error; below 0 it harms; c, d: b under "
        "each divergence's weight by the grader's r. g, h: lower bounds, means over a bin. Pixels at low σ are told apart by traces no "
        "eye sees: bounds there saturate. Black line: where nothing differs. Bands 95 % over images; × at the top: not estimable"
    )
