# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Quality and diversity over the guidance weight: every variant's curves against w minus its neutral weight.

`rows(measurements, selected, metrics_info, info)` makes one row per (variant, w, metric), report blocks only:
columns variant, metric, label, unit, w, offset, value, lo, hi, over, n_trainings, n_generated, selected, status;
offset = w - w_neutral; value, lo and hi are nan unless status is `ok`.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import checks, curves, names, style, summary

COLUMNS = [
    "variant", "metric", "label", "unit", "w", "offset", "value", "lo", "hi", "over", "n_trainings", "n_generated",
    "selected", "status",
]  # fmt: skip
FULL = ("outliers_99", "precision", "recall", "mass_covered", "kl", "kl_reverse", "js")
SHORT = ("outliers_99", "recall", "kl", "js")
PLANES = (("recall", "precision"), ("mass_covered", "outliers_99"))  # (diversity, quality)
NEUTRAL = "none"
ALSO = {style.GUIDES: ("autog",)}  # drawn again where a family is compared with it
_ROW_MM, _PLANE_MM = 37.0, 72.0


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point with its interval, to four significant digits.

    Args:
        tables: `measurements`, tidy rows; `selected`, the chosen weights, ringed in the figure; `metrics`, label and unit of each metric.
        info: the job's spec (experiment and scale are printed by `make`).
    Raises:
        UserError: rows that may not be compared; see `checks`.
    """
    measurements, selected, metrics_info = (tables[name] for name in ("measurements", "selected", "metrics"))
    report = summary.report_rows(measurements, selected)
    checks.known_metrics(FULL, metrics_info)
    chosen = selected[selected["n_candidates"].astype(int) > 1]
    described = metrics_info.set_index("metric")
    parts = []
    for (variant, weight), at in report.groupby(["variant", "w"], sort=False):
        w = float(str(weight))
        ring = bool(((chosen["variant"] == variant) & ((chosen["w"] - w).abs() < 5e-3)).any())
        for metric in FULL:
            unit = str(described.loc[metric, "unit"])
            e = summary.estimate(at[at["metric"] == metric], share=unit == "%")
            parts.append(
                (variant, metric, described.loc[metric, "label"], unit, w, w - at["w_neutral"].iloc[0], e.value,
                 e.lo, e.hi, e.over, e.n_trainings, e.n_generated, ring, e.status)
            )  # fmt: skip
    return curves.round_rows(pd.DataFrame(parts, columns=COLUMNS))


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: all curves of the guidance methods, the main ones of each other family, two planes.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, "sweep")
    families = rows["variant"].map(lambda v: style.look(str(v)).family)
    lines = _lines(rows, families)
    height = _ROW_MM * len(lines) + _PLANE_MM + 8 * (len({f for f, _ in lines}) - 1) + 17
    with style.context():
        fig = style.figure(style.PAGE_MM, height)
        top, index = height - 9.0, 0
        fig.legend(
            handles=curves.sign_handles(rows), loc="upper right", ncols=4, borderaxespad=0, columnspacing=1.5,
            bbox_to_anchor=(0.985, 1 - 1.5 / height),
        )  # fmt: skip
        for i, (family, metrics) in enumerate(lines):
            mine = rows[(families == family) | rows["variant"].isin([NEUTRAL, *ALSO.get(family, ())])]
            opens = i == 0 or lines[i - 1][0] != family
            if opens and i:
                top -= 8.0
            if opens and i:
                fig.text(
                    0.008, (top + 4.0) / height, family.capitalize(), size=7.5, weight="bold", va="bottom"
                )
            for column in range(4):
                box = (12 + 42.5 * column, top - _ROW_MM + 9, 33, _ROW_MM - 14)
                if column < len(metrics):
                    index += 1
                    _panel(_axes(fig, box, height), mine, metrics[column], index - 1)
            if opens and family == style.METHODS:
                _legend(fig, mine, (12 + 42.5 * 3, top - 2 * _ROW_MM + 9, 37, _ROW_MM - 12), height)
            elif opens:
                fig.legend(
                    handles=curves.handles(mine[mine["variant"] != NEUTRAL]), loc="lower left", ncols=4, borderaxespad=0, columnspacing=1.5,
                    bbox_to_anchor=(0.24, (top + 3.4) / height),
                )  # fmt: skip
            top -= _ROW_MM
        methods = rows[(families == style.METHODS) | (rows["variant"] == NEUTRAL)]
        for column, (x, y) in enumerate(PLANES):
            box = (14 + 87.5 * column, top - _PLANE_MM + 12, 75, _PLANE_MM - 18)
            curves.plane(_axes(fig, box, height), methods, x, y, index + column)
        style.footer(fig, style.origin_line(info, _said(rows)))
    return fig


def _lines(rows: pd.DataFrame, families: "pd.Series[Any]") -> list[tuple[str, tuple[str, ...]]]:
    """The rows of panels: (family, metrics), families without curves left out."""
    guided = set(families[rows["variant"] != NEUTRAL])
    lines = [(style.METHODS, FULL[:4]), (style.METHODS, FULL[4:])]
    return lines + [(f, SHORT) for f in (style.GUIDES, style.DEGRADED) if f in guided]


def _axes(fig: Figure, box_mm: tuple[float, float, float, float], height: float) -> Axes:
    x, y, w, h = box_mm
    return fig.add_axes((x / style.PAGE_MM, y / height, w / style.PAGE_MM, h / height))


def _panel(ax: Axes, rows: pd.DataFrame, metric: str, index: int) -> None:
    """One metric over w - neutral."""
    mine = rows[rows["metric"] == metric]
    label, factor = curves.axis_label(mine, metric)
    for variant in names.ordered(mine["variant"]):
        if variant != NEUTRAL:
            curves.curve(ax, mine[mine["variant"] == variant], factor)
    ok = mine[mine["status"] == summary.OK]
    guided = mine[mine["variant"] != NEUTRAL]
    if not (ok["variant"] != NEUTRAL).any():
        said = sorted(set(guided["status"])) or [summary.NOT_RUN]
        ax.text(
            0.5, 0.5, "\n".join(said), transform=ax.transAxes, ha="center", va="center", color=style.FAINT
        )
        ax.set(xticks=[], yticks=[])
    else:
        curves.reference(ax, mine[mine["variant"] == NEUTRAL], factor)
        curves.limits(
            ax, ok["value"].to_numpy() * factor, ok["lo"].to_numpy() * factor, ok["hi"].to_numpy() * factor
        )
        curves.mark_unestimable(ax, mine)
        ax.set_xlabel("w − neutral w", labelpad=1)
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.04)
    style.letter(ax, index, label)
    ax.set_label(metric)


def _legend(
    fig: Figure, rows: pd.DataFrame, box_mm: tuple[float, float, float, float], height: float
) -> None:
    """The methods, in the empty eighth cell."""
    ax = _axes(fig, box_mm, height)
    ax.set_axis_off()
    ax.set_label("legend")
    ax.legend(
        handles=curves.handles(rows), loc="upper left", borderaxespad=0, labelspacing=0.35, handlelength=2.6,
        bbox_to_anchor=(0, 1.1),
    )  # fmt: skip


def _said(rows: pd.DataFrame) -> str:
    """What bands run over, in one line."""
    n = sorted({int(k) for k in rows.loc[rows["status"] == summary.OK, "n_trainings"]})
    if not n:
        return summary.NOT_RUN
    spread = "–".join(str(k) for k in dict.fromkeys((n[0], n[-1])))
    return (
        f"{spread} training{'s' if n[-1] > 1 else ''} a curve; bands: 95 %, over trainings (filled markers) "
        "or samples and seed blocks of one training (open)"
    )
