"""Any metric over any number, a line through points named in the settings: EMA length, guides, discriminator, NFE.

settings: x_label; metrics, one panel each; lines {label: [[x, point], ...]}, a point such as `autog/w2.00`; levels
{label: point}, drawn across; log_x; steps_differ (NFE on the x axis: else mixed step counts are refused).

Every point is drawn from the trainings that all points have, so a line never mixes nets of different luck.

Rows: one for each (line, x, metric), columns COLUMNS; kind is `line` or `level`, x is nan for a level.
"""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from guidelab.errors import UserError, closest
from guidelab.paper import arrays as ar
from guidelab.paper import charts, looks, metric_names, names, page, reported, style
from guidelab.paper.figures import weights
from guidelab.paper.looks import INK, Look

COLUMNS = ["kind", "line", "x", "point", *weights.TITLE, *weights.NUMBER]
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
    wanted = [
        (LINE, line, float(x), _split(p, figure)) for line, at in settings["lines"].items() for x, p in at
    ]
    wanted += [
        (LEVEL, label, float("nan"), _split(p, figure)) for label, p in (settings.get("levels") or {}).items()
    ]
    used = pd.concat([_measured(report, point, figure) for _, _, _, point in wanted])
    if not settings.get("steps_differ"):
        reported.same(used, ("steps",), f"figure {figure}")
    report = _common_trainings(report, [point for _, _, _, point in wanted], figure)
    variants = set(report["variant"])
    described = metric_names.describe(tables["metrics"], settings["metrics"]).to_dict("records")
    found: list[dict[str, object]] = [
        {
            "kind": kind, "line": names.label(line) if line in variants else line, "x": x, "point": f"{variant}/w{w:.2f}",
            "features": metric_names.features_short(metric_names.features(str(d["metric"]))),
            **{key: d[key] for key in ("metric", "name", "unit", "direction")}, **weights.number(report, variant, w, d),
        }
        for kind, line, x, (variant, w) in wanted
        for d in described
    ]  # fmt: skip
    return ar.round_table(pd.DataFrame(found, columns=COLUMNS))


def _split(point: str, figure: str) -> tuple[str, float]:
    """`autog/w2.00` -> (autog, 2.0); a point without a weight is at 1."""
    try:
        variant, w = names.split_point(point)
    except ValueError as error:
        raise UserError(
            f"figure {figure}: point {point!r} is no point; wanted VARIANT/wWEIGHT such as autog/w2.00. Mend settings.lines."
        ) from error
    return variant, 1.0 if w is None else w


def _measured(report: pd.DataFrame, point: tuple[str, float], figure: str) -> pd.DataFrame:
    """The rows of a point.

    Raises:
        UserError: none were measured; a line with a hole would look whole.
    """
    at = reported.at_point(report, *point)
    if at.empty:
        known = [
            f"{v}/w{w:.2f}" for v, w in report[["variant", "w"]].drop_duplicates().itertuples(index=False)
        ]
        given = f"{point[0]}/w{point[1]:.2f}"
        raise UserError(
            f"figure {figure}: point {given} was not measured{closest(given, known)}; wanted one of the {len(known)} points "
            "of measurements.csv. Add the weight to the variant, or take the point out of the figure's settings."
        )
    return at


def _common_trainings(report: pd.DataFrame, points: list[tuple[str, float]], figure: str) -> pd.DataFrame:
    """The rows of the trainings that every point has: else a line would mix what x does with luck in training.

    Raises:
        UserError: no training is common.
    """
    trained = [set(reported.at_point(report, *point)["train_seed"]) for point in points]
    common = set.intersection(*trained)
    if not common:
        raise UserError(
            f"figure {figure}: its {len(points)} points have no training in common; wanted at least one. Give the variants "
            "the same train_seeds."
        )
    return report[report["train_seed"].isin(common)]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: two panels a row, the legend above them.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    style.need(rows, COLUMNS, str(info.get("figure", "lines")))
    metrics = list(dict.fromkeys(rows["metric"]))
    lines, levels = _looks(rows)
    handles = [page.handle(of, label) for label, of in lines.items()]
    handles += [page.handle(of, label, marker=False) for label, of in levels.items()]
    said = style.origin_line(info, "↓ lower is better, ↑ higher", weights.spread(rows))
    with style.context():
        text = _x_label(info)
        below = 4.8 + 2.7 * (text.count("\n") + 1)
        fig, axes = page.page(
            handles + page.signs(rows[rows["kind"] == LINE]),
            len(metrics),
            said,
            panel_mm=28.0,
            below_mm=below,
        )
        for i, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], lines, levels, info.get("settings", {}), i)
    return fig


def _looks(rows: pd.DataFrame) -> tuple[dict[str, Look], dict[str, Look]]:
    """The look of every line and level: a variant's own where each line is of one variant, at any step count, else spare ones."""
    lines = rows[rows["kind"] == LINE]
    drawn = {
        str(line): {looks.look(p.partition("/")[0]) for p in part["point"]}
        for line, part in lines.groupby("line", sort=False)
    }
    own = [next(iter(found)) for found in drawn.values() if len(found) == 1]
    # all lines their own look or none: a spare one could be another variant's
    if not len(own) == len(drawn) == len(set(own)):
        own = looks.spare(len(drawn))
    levels = dict.fromkeys(rows.loc[rows["kind"] == LEVEL, "line"])
    return dict(zip(drawn, own, strict=True)), {
        str(name): Look(INK, "", _LEVELS[i % len(_LEVELS)]) for i, name in enumerate(levels)
    }


def _panel(
    ax: Axes,
    rows: pd.DataFrame,
    lines: dict[str, Look],
    levels: dict[str, Look],
    settings: dict[str, Any],
    index: int,
) -> None:
    text, factor = weights.title(rows)
    ok = charts.sound(rows, factor)
    charts.curves(ax, ok[ok["kind"] == LINE], lines, x="x", key="line", band=False)
    for row in ok[ok["kind"] == LEVEL].to_dict("records"):
        charts.level(ax, row, levels[row["line"]])
    if len(ok):
        charts.limits(ax, *(ok[c].to_numpy(float) for c in ("value", "lo", "hi")))
    else:
        page.nothing(ax, rows)
    if settings.get("log_x"):
        ax.set_xscale("log")
    _ticks(ax, sorted(set(rows["x"].dropna())), bool(settings.get("log_x")))
    ax.set(xlabel=_x_label({"settings": settings}), ylabel="")
    style.letter(ax, index, text)
    ax.set_label(str(rows["metric"].iloc[0]))


def _x_label(info: dict[str, Any]) -> str:
    """The label of the axis, in lines that fit below a panel."""
    return textwrap.fill(str(info.get("settings", {}).get("x_label", "x")), 28)


def _ticks(ax: Axes, at: list[float], log: bool) -> None:
    """Ticks at the measured positions, left out where they would touch; matplotlib's own when few would be left."""
    place = [math.log(x) if log else x for x in at]
    ax.tick_params(axis="x", labelsize=5.5 if len(at) > 3 else 6.5)
    least = 0.14 * (place[-1] - place[0])
    kept: list[int] = []
    for i in range(len(at)):
        if not kept or place[i] - place[kept[-1]] >= least:
            kept.append(i)
    if log or len(kept) == len(at):
        ax.xaxis.set_major_locator(FixedLocator([at[i] for i in kept]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
