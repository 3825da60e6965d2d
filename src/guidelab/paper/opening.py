"""What opens the findings: a computed sentence for each headline metric, and one table of what could not be estimated."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.errors import counted
from guidelab.paper import markdown, metric_names, names, reported, summary
from guidelab.paper.cells import Sheet, interval, number
from guidelab.paper.evidence import Evidence
from guidelab.paper.sheets import headline
from guidelab.paper.table import make_table

_MOST = 5  # sentences about metrics
_OVER = {
    summary.TRAININGS: "95 % interval over {n} trainings",
    summary.PAIRED: "95 % interval over the samples of one training, paired",
    summary.AS_UNPAIRED: "95 % interval over the samples of one training, as if unpaired",
    summary.BLOCKS: "95 % interval over the seed blocks of one training",
    summary.NOTHING: "one training, no interval",
}


def sentences(
    measurements: pd.DataFrame, selected: pd.DataFrame, info: pd.DataFrame, spec: Mapping[str, Any]
) -> list[str]:
    """Three to six sentences to quote: what was compared, then for each metric of the headline the method that changes it
    most for the better, and how many methods are clearly better and worse than no guidance.

    Args:
        measurements: tidy rows of one experiment. selected: the chosen weights. info: workflow/resources/metrics.csv.
        spec: as for `table.make_table`; `headline` is not used.
    Raises:
        UserError: rows that may not be compared.
    """
    table = make_table(measurements, selected, info, None, {**spec, "headline": []})
    metrics = [m for m in headline(table) if m["direction"] in ("lower", "higher")]
    said = [_of_metric(_one_line_each(table[table["metric"] == m["metric"]])) for m in metrics[:_MOST]]
    return [_scope(table), *filter(None, [*said, _floor(table, metrics[:_MOST])])]


def _floor(table: pd.DataFrame, metrics: list[dict[Any, Any]]) -> str:
    """`Real data in the place of as many samples have FID in Lite0 features 133 ± 4; recall 84.4 ± 1.1: the best to expect.`"""
    real = (
        table[table["real"] & (table["status"] == summary.OK)].drop_duplicates("metric").set_index("metric")
    )
    said = []
    for row in real.loc[[m["metric"] for m in metrics if m["metric"] in real.index]].to_dict("records"):
        ends = interval(row["value"], row["lo"], row["hi"], str(row["unit"]), int(row["digits"]))
        said.append(f"{_name(row)} {ends}{' %' if row['unit'] == '%' else ''}")
    return (
        f"Real data in the place of as many samples have {'; '.join(said)}: the best to expect."
        if said
        else ""
    )


def _name(info: Mapping[Any, Any]) -> str:
    """`FID in Lite0 features`."""
    space = f" in {metric_names.features_short(info['space'])} features" if info["space"] else ""
    return f"{info['name']}{space}"


def _scope(table: pd.DataFrame) -> str:
    """Experiment, methods, trainings, samples."""
    table = table[~table["real"]]
    ran = table[table["status"] == summary.OK]
    least, most = int(ran["n_trainings"].min()), int(ran["n_trainings"].max())
    trainings = (
        f"{most} training{'s' if most > 1 else ''}" if least == most else f"{least} to {most} trainings"
    )
    guided = int(table.loc[table["baseline"] != table["variant"] + "/w1.00", "variant"].nunique())
    first = table.iloc[0]
    return (
        f"{first['experiment']}, {first['scale']}: {counted(guided, 'variant')} {'is' if guided == 1 else 'are'} compared with no guidance of the same net, on {trainings} of "
        f"each net and {int(ran['n_blocks'].max())} blocks of up to {int(ran['n_generated'].max()):,} samples."
    )


def _one_line_each(mine: pd.DataFrame) -> pd.DataFrame:
    """Of each variant the line whose weight was chosen in this metric's feature space, else the first."""
    space = str(mine["space"].iloc[0])
    own = [space in [metric_names.features(m) for m in str(by).split(", ")] for by in mine["chosen_by"]]
    return (
        mine.assign(_own=own).sort_values("_own", ascending=False, kind="stable").drop_duplicates("variant")
    )


def _of_metric(mine: pd.DataFrame) -> str:
    """`By FID in Lite0 features, CFG at w = 2 improves most on no guidance: 684 → 468, difference −216 [−240, −193] (...).`"""
    compared = mine[mine["difference"].notna()]
    if compared.empty:
        return ""
    info = mine.iloc[0]
    name = _name(info.to_dict())
    better, worse = (int((compared["verdict"] == word).sum()) for word in (summary.BETTER, summary.WORSE))
    held = [int((compared["verdict_holm"] == word).sum()) for word in (summary.BETTER, summary.WORSE)]
    count = f"of {counted(len(compared), 'variant')} {better} {'is' if better == 1 else 'are'} clearly better and {worse} clearly worse"
    count += "" if held == [better, worse] else f" ({held[0]} and {held[1]} after Holm's correction)"
    sign = 1 if info["direction"] == "lower" else -1
    best = compared.iloc[int((sign * compared["difference"]).to_numpy().argmin())].to_dict()
    if sign * best["difference"] >= 0:
        return f"By {name}, no variant improves on no guidance: {count}."
    sure = "" if best["verdict"] == summary.BETTER else ", not clearly"
    edge = f" ({best['edge']})" if best["edge"] else ""
    return f"By {name}, {best['label']} at w = {best['w']:g}{edge} improves most on no guidance{sure}: {_effect(best)}; {count}."


def _effect(row: Mapping[Any, Any]) -> str:
    """`684 → 468, difference −216 ± 24 (95 % interval over 5 trainings)`; the first is no guidance on the same seeds."""
    unit, digits = str(row["unit"]), int(row["digits"])
    gap = interval(row["difference"], row["difference_lo"], row["difference_hi"], unit, digits)
    before, after = row["before"], row["after"]
    ends = " → ".join(interval(x, float("nan"), float("nan"), unit, digits) for x in (before, after))
    percent, points = (" %", " points") if unit == "%" else ("", "")
    over = _OVER[str(row["difference_over"])].format(n=int(row["difference_trainings"]))
    return f"{ends}{percent}, difference {gap}{points} ({over})"


def unestimable(f: Evidence) -> str:
    """The numbers of the report that are flagged or not finite, by metric, as a table that a reader opens."""
    flags = summary.notes(f.rows)
    undefined = flags.str.contains(summary.NOT_DEFINED)
    unsure = flags.str.startswith(summary.NOT_ESTIMABLE) & ~undefined
    infinite = f.rows["value"].isna() & ~undefined & ~unsure
    states = {summary.NOT_ESTIMABLE: unsure, summary.NOT_DEFINED: undefined, summary.NOT_FINITE: infinite}
    body = [
        [
            _metric_name(f.info[str(metric)]),
            state,
            str(len(part)),
            _where(part, f.rows[f.rows["metric"] == metric]),
        ]
        for state, mask in states.items()
        for metric, part in f.rows[mask].groupby("metric", sort=False)
    ]
    if not body:
        return "Everything measured was estimable."
    sheet = Sheet("", ["metric", "state", "numbers", "where"], body, [], "llrl")
    total = number(sum(int(line[2]) for line in body), "", 0)
    return f"<details><summary>{total} numbers of {len(f.rows):,}</summary>\n\n{markdown.pipes(sheet)}\n\n</details>"


def _metric_name(info: Mapping[Any, Any]) -> str:
    space = metric_names.features(str(info["metric"]))
    return str(info["name"]) + (f" in {metric_names.features_short(space)} features" if space else "")


def _where(part: pd.DataFrame, of: pd.DataFrame) -> str:
    """The points of `part`, a variant's weights left out when all of those in `of` are meant."""
    found = []
    for variant in names.ordered(part["variant"]):
        mine, every = reported.weights(part, variant), reported.weights(of, variant)
        labels = [names.point_label(f"{variant}/w{w:.2f}") for w in mine]
        found += [names.label(variant)] if mine == every else labels
    return "; ".join(found)
