"""Any metric over any number, a line through points named in the settings: EMA length, guides, discriminator, NFE.

settings: x_label; metrics, one panel each; lines {label: [[x, point], ...]}, a point such as `autog/w2.00`; levels
{label: point}, drawn across; log_x; steps_differ (NFE on the x axis: else mixed step counts are refused).

Every point is drawn from the trainings that all points have, so a line never mixes nets of different luck.

Rows: one for each (line, x, metric), columns COLUMNS; kind is `line` or `level`, x is nan for a level.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from guidelab.errors import UserError, closest
from guidelab.paper import arrays as ar
from guidelab.paper import curves, names, style, summary
from guidelab.paper.images import compare, panels, wording
from guidelab.paper.style import Look

COLUMNS = ["kind", "line", "x", "point", *panels.TITLE, *panels.NUMBER]
LINE, LEVEL = "line", "level"
_PANEL_MM = 58.0
_SPARE = (  # dark to light, each with its own marker and dashes
    Look("#123f86", "s", "-"), Look("#dd5f12", "o", (0, (5, 1.5))), Look("#0b6b4a", "^", (0, (2, 1))),
    Look("#7a2f6f", "D", (0, (5, 1.5, 1, 1.5))), Look("#4a94cc", "v", (0, (1, 1))), Look("#b8b13a", "P", (0, (7, 2))),
    Look("#7d7d7d", "X", (0, (3, 1, 1, 1))), Look("#d99cc0", "h", (0, (3, 2))),
)  # fmt: skip
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
    report = compare.report(tables["measurements"], tables["selected"])
    wanted = [
        (LINE, line, float(x), _split(p, figure)) for line, at in settings["lines"].items() for x, p in at
    ]
    wanted += [
        (LEVEL, label, float("nan"), _split(p, figure)) for label, p in (settings.get("levels") or {}).items()
    ]
    used = pd.concat([_measured(report, point, figure) for _, _, _, point in wanted])
    if not settings.get("steps_differ"):
        compare.same(used, ("steps",), f"figure {figure}")
    report = _common_trainings(report, [point for _, _, _, point in wanted], figure)
    variants = set(report["variant"])
    described = wording.describe(tables["metrics"], settings["metrics"]).to_dict("records")
    found: list[dict[str, object]] = [
        {
            "kind": kind, "line": wording.label(line, info.get("labels")) if line in variants else line, "x": x, "point": f"{variant}/w{w:.2f}",
            "features": wording.features_short(wording.features(str(d["metric"]))),
            **{key: d[key] for key in ("metric", "name", "unit", "direction")}, **panels.number(report, variant, w, d),
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
    at = summary.at_point(report, *point)
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
    trained = [set(summary.at_point(report, *point)["train_seed"]) for point in points]
    common = set.intersection(*trained)
    if not common:
        raise UserError(
            f"figure {figure}: its {len(points)} points have no training in common; wanted at least one. Give the variants "
            "the same train_seeds."
        )
    return report[report["train_seed"].isin(common)]


def make(rows: pd.DataFrame, info: dict[str, Any]) -> Figure:
    """Draw `rows`: up to two panels a row, the legend above them.

    Raises:
        UserError: a column is missing, or there are no rows.
    """
    figure = str(info.get("figure", "lines"))
    style.need(rows, COLUMNS, figure)
    metrics = list(dict.fromkeys(rows["metric"]))
    looks = _looks(rows)
    with style.context():
        handles = [panels.handle(look, label, marker=kind == LINE) for (kind, label), look in looks.items()]
        handles += panels.signs(rows[rows["kind"] == LINE])
        columns = 4 if max(len(label) for _, label in looks) < 28 else 3
        fig, found = panels.page(handles, len(metrics), _PANEL_MM, (12, 89.0, 11, 76, 18), columns)
        for i, (ax, metric) in enumerate(zip(found, metrics, strict=True)):
            _panel(ax, rows[rows["metric"] == metric], looks, info.get("settings", {}), i)
        style.footer(fig, style.origin_line(info, panels.bars(rows)))
    return fig


def _looks(rows: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """The look of every line: a variant's own when the line is all of one variant (any step count or snapshot), else a spare one."""
    found: dict[tuple[str, str], Look] = {}
    spare = iter(_SPARE)
    lines = rows[rows["kind"] == LINE]
    bases = {
        str(line): {re.sub(r"_(s|it)\d+$", "", p.partition("/")[0]) for p in part["point"]}
        for line, part in lines.groupby("line", sort=False)
    }
    own = [next(iter(b)) for b in bases.values() if len(b) == 1]
    # all lines their own look or none: a spare one could be another variant's
    named = len(own) == len(bases) == len(set(own)) and all(style.known(v) for v in own)
    for line, base in bases.items():
        found[LINE, line] = style.look(next(iter(base))) if named else next(spare, style.look(line))
    for i, level in enumerate(dict.fromkeys(rows.loc[rows["kind"] == LEVEL, "line"])):
        found[LEVEL, str(level)] = Look(style.INK, "", _LEVELS[i % len(_LEVELS)])
    return found


def _panel(
    ax: Axes, rows: pd.DataFrame, looks: dict[tuple[str, str], Look], settings: dict[str, Any], index: int
) -> None:
    scale = panels.factor(rows)
    for (kind, label), look in looks.items():
        mine = rows[(rows["kind"] == kind) & (rows["line"] == label)]
        if kind == LEVEL:
            panels.level(ax, mine, look, scale)
        else:
            panels.curve(ax, mine, "x", look, scale, label)
    ok = rows[rows["status"] == summary.OK]
    if len(ok):
        curves.limits(ax, *(ok[c].to_numpy(float) * scale for c in ("value", "lo", "hi")))
    else:
        ax.text(0.5, 0.5, summary.NOT_RUN, transform=ax.transAxes, ha="center", color=style.FAINT)
    if settings.get("log_x"):
        ax.set_xscale("log")
    _ticks(ax, sorted(set(rows["x"].dropna())), bool(settings.get("log_x")))
    ax.margins(x=0.05)
    ax.set_xlabel(str(settings.get("x_label", "x")), labelpad=1)
    style.letter(ax, index, panels.title(rows))
    ax.set_label(str(rows["metric"].iloc[0]))


def _ticks(ax: Axes, at: list[float], log: bool) -> None:
    """Ticks at the measured positions, left out where they would touch; matplotlib's own when few would be left."""
    place = [math.log(x) if log else x for x in at]
    least = 0.07 * (place[-1] - place[0])
    kept: list[int] = []
    for i in range(len(at)):
        if not kept or place[i] - place[kept[-1]] >= least:
            kept.append(i)
    if log or len(kept) == len(at):
        ax.xaxis.set_major_locator(FixedLocator([at[i] for i in kept]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
