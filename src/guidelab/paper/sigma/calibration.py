# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Every estimate beside its own truth: on the diagonal, or not.

`rows(tables, info)` makes one row per (point, divergence, estimator): columns point, variant, divergence, estimator, bound,
value, lo, hi, truth, truth_lo, truth_hi, status, n, sigma_lo, sigma_hi.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from guidelab.paper import names, style
from guidelab.paper.sigma import numbers
from guidelab.paper.sigma.table import make_table

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
_HEIGHT_MM = 114.0
_LINEAR = 0.1  # nats: below, the axes of what spans decades are linear


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The estimates of every panel with their truths."""
    table = make_table(tables["divergences"], info)
    wanted = [(d, e) for d, estimators in PANELS for e in estimators]
    kept = table[[pair in wanted for pair in zip(table["divergence"], table["estimator"], strict=True)]]
    flagged = (kept["status"] != numbers.OK) | (kept["truth_status"] != numbers.OK)
    status = np.where(flagged, numbers.NOT_ESTIMABLE, numbers.OK)
    variant = [names.split_point(p)[0] for p in kept["point"]]
    return kept.assign(status=status, variant=variant)[COLUMNS].reset_index(drop=True)


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: a panel a divergence, estimates up, truths across.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_calibration")
    with style.context():
        said = style.origin_line(info, _said(rows))
        height = _HEIGHT_MM + style.footer_mm(said)
        fig = style.figure(style.PAGE_MM, height)
        for index, (divergence, _) in enumerate(PANELS):
            left, bottom = 16 + 57.0 * (index % 3), height - 48 - 54 * (index // 3)
            box = (left / style.PAGE_MM, bottom / height, 42 / style.PAGE_MM, 42 / height)
            ax = fig.add_axes(box)
            _panel(ax, rows[rows["divergence"] == divergence], curved=divergence in ("kl", "score_error"))
            name = "gain" if divergence == "score_error" else numbers.NAMES[divergence]
            style.letter(ax, index, name if divergence == "chi2" else f"{name}, nats")  # χ² has no unit
            ax.set_label(divergence)
        _legend(fig, rows)
        style.footer(fig, said)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, curved: bool) -> None:
    ok = rows[rows["status"] == numbers.OK]
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    lost = rows.loc[rows["status"] != numbers.OK, "point"].nunique()
    if lost:
        text = f"{lost} sampler{'s' if lost > 1 else ''} with an estimate or\ntruth that is not estimable"
        ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", size=5.5, color=style.FAINT)
    for row in ok.to_dict("records"):
        marker, filled, _ = _MARKS[row["estimator"]]
        color = style.look(row["variant"]).color
        ax.plot([row["truth_lo"], row["truth_hi"]], [row["value"]] * 2, "-", color=color, lw=0.6, zorder=2)
        ax.plot([row["truth"]] * 2, [row["lo"], row["hi"]], "-", color=color, lw=0.6, zorder=2)
        face = color if filled else "white"
        ax.plot(row["truth"], row["value"], marker, color=color, mfc=face, ms=4, mew=0.8, zorder=3)
    if curved:
        ax.set_xscale("symlog", linthresh=_LINEAR)
        ax.set_yscale("symlog", linthresh=_LINEAR)
        ax.axhline(0, color=style.FAINT, lw=0.4)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("exact", labelpad=1)
    ax.set_ylabel("estimate", labelpad=1)
    if len(ok):
        ends = [*ax.get_xlim(), *ax.get_ylim()]
        low, high = (min(ends), max(ends)) if curved else (min(0.0, min(ends)), max(ends))
        ax.plot([low, high], [low, high], color=style.INK, lw=0.6, zorder=1)
        ax.set(xlim=(low, high), ylim=(low, high))


def _legend(fig: Figure, rows: pd.DataFrame) -> None:
    """Samplers by colour, estimators by marker, in the empty sixth cell."""
    variants = [v for v in [numbers.NULL, *names.ordered(rows["variant"])] if v in set(rows["variant"])]
    handles: list[Any] = [
        Line2D(
            [],
            [],
            ls="",
            marker=m,
            color=style.FAINT,
            mfc=style.FAINT if full else "white",
            ms=4,
            label=words,
        )
        for estimator, (m, full, words) in _MARKS.items()
        if words and estimator in set(rows["estimator"])
    ]
    for variant in dict.fromkeys(variants):
        label = numbers.point_label(variant) if variant == numbers.NULL else names.label(variant)
        handles.append(Line2D([], [], ls="", marker="s", color=style.look(variant).color, ms=4, label=label))
    fig.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.70, 0.5), labelspacing=0.45)


def _said(rows: pd.DataFrame) -> str:
    here = rows[rows["divergence"] != "score_error"]
    n = int(rows["n"].min())
    return (
        f"one training; divergences at σ = {here['sigma_lo'].min():g} (integral: to {here['sigma_hi'].max():g}), gains over "
        f"σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}; at least {n:,} real points and samples no net has seen; exact: "
        "log-densities of the sampler's flow, for gains the true score; bars 95 % over points; a bound may lie "
        "anywhere below the diagonal, and that of a sampler guided by a discriminator of the grader's kind lies lower for it: do not rank by bounds"
    )
