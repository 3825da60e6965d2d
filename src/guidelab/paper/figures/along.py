# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Along sigma: score mismatch, the weights that make divergences of it and their products; without a true score, gains.

`rows(tables, info)` makes one row per (point, series, noise bin): columns point, variant, series, divergence, sigma_lo,
sigma_hi, sigma, value, lo, hi, status, n, train_seed. Where the true score is not known the null is drawn too.
"""

import math
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from guidelab.paper import captions, charts, divergence_numbers, looks, names, page, style
from guidelab.paper.looks import INK

COLUMNS = [
    "point", "variant", "series", "divergence", "sigma_lo", "sigma_hi", "sigma", "value", "lo", "hi", "status", "n",
    "train_seed",
]  # fmt: skip


class Panel(NamedTuple):
    """One series of every point; `level`: the value of a sampler whose law is the data's."""

    series: str
    divergence: str
    title: str
    level: float | None = None
    log: bool = False


EXACT = (
    Panel("score_error_sampler", "score_error", "σ² E‖∇log p − s‖²", log=True),
    Panel("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    Panel("weight", "js", "weight of JS, E (1 − d)/2"),
    Panel("weight", "chi2", "weight of χ², E 2r"),
    Panel("posterior", "", "discriminator, E d"),
    Panel("product", "kl_reverse", "product for KL(q‖p)", log=True),
    Panel("product", "js", "product for JS", log=True),
    Panel("product", "chi2", "product for χ²", log=True),
)
BOUNDS = (
    Panel("gain_guidance", "score_error", "gain of guidance", 0.0),
    Panel("gain_grader", "score_error", "gain of the grader", 0.0),
    Panel("weighted_gain", "kl_reverse", "b, weighed for KL(q‖p)", 0.0),
    Panel("weighted_gain", "js", "b, weighed for JS", 0.0),
    Panel("weight", "kl_reverse", "weight of KL(q‖p), E 1/r", 1.0),
    Panel("weight", "js", "weight of JS, E (1 − d)/2", 0.25),
    Panel("nwj", "kl", "KL(p‖q) ≥ NWJ, nats", 0.0),
    Panel("nwj", "js", "JS ≥ NWJ, nats", 0.0),
)


def rows(tables: dict[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """The curves of the points that settings name, and of the null where there is no truth to compare with."""
    given = tables["divergences"]
    exact = divergence_numbers.exact_known(given)
    shown = _points(info, exact)
    curves = given[(given["kind"] == "curve") & given["point"].isin(shown)]
    found = []
    for series, divergence, *_ in EXACT if exact else BOUNDS:
        same = curves[(curves["estimator"] == series) & (curves["divergence"] == divergence)]
        for row in same.to_dict("records"):
            lo, hi = float(row["sigma_lo"]), float(row["sigma_hi"])
            found.append({
                "point": row["point"], "variant": names.split_point(str(row["point"]))[0], "series": series,
                "divergence": divergence, "sigma_lo": lo, "sigma_hi": hi, "sigma": float(f"{math.sqrt(lo * hi):.6g}"),
                **divergence_numbers.interval(row), "n": row["n"], "train_seed": row["train_seed"],
            })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def _points(info: dict[str, Any], exact: bool) -> list[str]:
    """The points of the settings, an unguided one at its neutral weight."""
    shown = [p if "/" in p else f"{p}/w1.00" for p in info["settings"]["points"]]
    return shown if exact else [divergence_numbers.NULL, *shown]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: eight panels, one curve a point.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "divergence_sigma")
    exact = EXACT[0].series in set(rows["series"])
    shown = {p: looks.of_point(p) for p in _points(info, exact) if p in set(rows["point"])}
    said = style.origin_line(info, captions.along(rows, exact=exact))
    handles = [page.handle(look, divergence_numbers.point_label(p)) for p, look in shown.items()]
    panels = EXACT if exact else BOUNDS
    with style.context():
        fig, axes = page.page(handles, len(panels), said, panel_mm=24.0)
        for index, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            mine = rows[(rows["series"] == panel.series) & (rows["divergence"] == panel.divergence)]
            if panel.level is not None:
                ax.axhline(panel.level, color=INK, lw=0.5, zorder=1)
            charts.along(ax, mine, shown, log=panel.log)
            ax.yaxis.set_minor_formatter(NullFormatter())
            style.letter(ax, index, panel.title)
            ax.set_label(f"{panel.series} {panel.divergence}".strip())
            ax.set_xlabel("noise level σ", labelpad=1)
    return fig
