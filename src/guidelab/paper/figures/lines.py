"""Any metric over any number, a line through points named in the settings: EMA length, guides, discriminator, NFE.

settings: x_label; metrics, one panel each; lines {label: [[x, point], ...]}, a point such as `autog/w2.00`; levels
{label: point}, drawn across; log_x; steps_differ (NFE on the x axis: else mixed step counts are refused).

Every point is drawn from the trainings that all points have, so a line never mixes nets of different luck.

Rows: one for each (line, x, metric), columns COLUMNS; kind is `line` or `level`, x is nan for a level.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidelab.paper import arrays as ar
from guidelab.paper import charts, looks, metric_names, names, page, plotted, ranges, reported, style
from guidelab.paper.looks import INK, Look

COLUMNS = ["kind", "line", "x", "point", *plotted.TITLE, *plotted.NUMBER]
LINE, LEVEL = "line", "level"
_LEVELS = ((0, (1, 1.5)), (0, (6, 2)), (0, (3, 1, 1, 1)), "-")


def rows(tables: Mapping[str, pd.DataFrame], info: dict[str, Any]) -> pd.DataFrame:
    """Every drawn point with its interval, to four significant digits.

    Args:
        tables: `measurements`, tidy rows; `selected`, the chosen weights, whose block is left out; `metrics`, workflow/resources/metrics.csv.
        info: the job's spec with figure and settings; see the module.
    Raises:
        UserError: a point that was not measured, mixed step counts, or rows that may not be compared.
    """
    settings, figure = info["settings"], str(info.get("figure", "lines"))
    report = reported.rows(tables["measurements"], tables["selected"])
    levels = settings.get("levels") or {}
    given = [(LINE, line, float(x), p) for line, at in settings["lines"].items() for x, p in at]
    given += [(LEVEL, label, float("nan"), p) for label, p in levels.items()]
    wanted = [(kind, line, x, reported.point(p, figure)) for kind, line, x, p in given]
    used = pd.concat([reported.measured_at(report, point, figure) for *_, point in wanted])
    if not settings.get("steps_differ"):
        reported.same(used, ("steps",), f"figure {figure}")
    report = reported.common_trainings(report, [point for *_, point in wanted], figure)
    variants = set(report["variant"])
    described = metric_names.describe(tables["metrics"], settings["metrics"]).to_dict("records")
    found: list[dict[str, object]] = [
        {
            "kind": kind, "line": names.label(line) if line in variants else line, "x": x, "point": f"{variant}/w{w:.2f}",
            "features": metric_names.features_short(metric_names.features(str(d["metric"]))),
            **{key: d[key] for key in ("metric", "name", "unit", "direction")}, **plotted.number(report, variant, w, d),
        }
        for kind, line, x, (variant, w) in wanted
        for d in described
    ]  # fmt: skip
    return ar.round_table(pd.DataFrame(found, columns=COLUMNS))


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: two panels a row, the legend above them.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, str(info.get("figure", "lines")))
    settings = info.get("settings", {})
    metrics = list(dict.fromkeys(rows["metric"]))
    drawn = rows[rows["kind"] == LINE]
    lines = looks.of_lines({str(k): part["point"] for k, part in drawn.groupby("line", sort=False)})
    across = dict.fromkeys(rows.loc[rows["kind"] == LEVEL, "line"])
    levels = {str(name): Look(INK, "", _LEVELS[i % len(_LEVELS)]) for i, name in enumerate(across)}
    handles = [page.handle(of, label) for label, of in lines.items()]
    handles += [page.handle(of, label, marker=False) for label, of in levels.items()]
    said = style.origin_line(info, "↓ lower is better, ↑ higher", plotted.bars(rows))
    with style.context():
        below = 4.8 + 2.7 * (_x_label(settings).count("\n") + 1)
        handles += page.signs(drawn)
        fig, axes = page.page(handles, len(metrics), said, panel_mm=28.0, below_mm=below)
        for i, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], lines | levels, settings)
            style.letter(ax, i, plotted.title(rows[rows["metric"] == metric])[0])
            ax.set_label(metric)
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, of: dict[str, Look], settings: dict[str, Any]) -> None:
    """One metric: lines through their points, levels across."""
    ok = charts.sound(rows, plotted.title(rows)[1])
    lines, levels = (ok[ok["kind"] == kind] for kind in (LINE, LEVEL))
    charts.curves(ax, lines, {k: v for k, v in of.items() if v.marker}, x="x", key="line", band=False)
    for row in levels.to_dict("records"):
        charts.level(ax, row, of[row["line"]])
    if len(ok):
        ranges.limits(ax, *(ok[c].to_numpy(float) for c in ("value", "lo", "hi")))
    else:
        page.nothing(ax, rows)
    if settings.get("log_x"):
        ax.set_xscale("log")
    ranges.ticks(ax, sorted(set(rows["x"].dropna())), bool(settings.get("log_x")))
    ax.set(xlabel=_x_label(settings), ylabel="")


def _x_label(settings: dict[str, Any]) -> str:
    """The label of the axis, in lines that fit below a panel."""
    return textwrap.fill(str(settings.get("x_label", "x")), 28)
