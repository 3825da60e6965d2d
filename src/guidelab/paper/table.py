"""The table of an experiment: measured rows in, one row per printed line and metric out, and the rows behind each number.

Every line has the metrics with their intervals, the difference to no guidance on common seeds, and the papers' minimum over
the blocks, which is optimistic and labelled so. Published values are compared where an experiment reproduces a paper's at
full scale; see `published`.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from guidelab.paper import checks, intervals, joint, metric_names, names, published, reported, summary, tuning
from guidelab.paper.lines import Line, images, lines
from guidelab.paper.sources import Source, points

NUMBER = (
    "value", "lo", "hi", "over", "n_trainings", "n_blocks", "n_generated", "status", "note", "difference", "difference_lo",
    "difference_hi", "difference_over", "difference_least", "difference_most", "difference_trainings", "before", "after", "p", "verdict", "min_of_blocks", "blocks_of_min",
)  # fmt: skip
PROTOCOL = ("n_reference", "reference_split", "label_policy", "features", "n_features")
PRINTED = ("metric", "name", "direction", "unit", "digits", "group")
COMPARED = ("fid", "kid", "precision", "recall", "accuracy")  # of images: with a difference to no guidance
LOWEST = ("fid",)  # with the papers' minimum
SOURCES = "sources"  # a column of lists of Source
_Point = tuple[str, float]
_Cells = Mapping[tuple[str, str, str], pd.DataFrame]  # metric, variant, weight to two digits -> rows
_USED = (
    "variant",
    "w",
    "metric",
    "train_seed",
    "seed_block",
    "value",
    "std_error",
    "note",
    joint.PARTS,
    joint.COMMON,
    *PROTOCOL,
    "n_generated",
)


def make_table(
    measurements: pd.DataFrame,
    selected: pd.DataFrame,
    metrics_info: pd.DataFrame,
    listed: pd.DataFrame | None,
    spec: Mapping[str, Any],
) -> pd.DataFrame:
    """Every printed number with its interval: one row for each line and metric. Nothing is dropped: a line or metric
    without rows has status `not run`.

    Args:
        measurements: tidy rows of one experiment.
        selected: the weight of each variant, one row for each metric that chose.
        metrics_info: workflow/resources/metrics.csv, unqualified names.
        listed: workflow/resources/published.csv; None where the papers have no numbers on this dataset.
        spec: experiment, scale, headline (list of `variant/w1.40`), and optionally kind, variants (all planned),
            mains (variant to its main net, where there are several) and published (point to
            published rows).
    Raises:
        UserError: rows that may not be compared or printed; see `reported.rows` and `checks`.
    """
    checks.same_experiment(measurements, spec)
    wide = images(spec)
    rows = reported.rows(measurements, selected)
    described = _in_order(metric_names.describe(metrics_info, measurements["metric"]), metrics_info)
    steps = reported.main_steps(measurements) if wide else None
    directions = {str(m["metric"]): str(m["direction"]) for m in described}
    cells = (
        _cells(rows),
        _cells(measurements[measurements["metric"].map(metric_names.base).isin(LOWEST)]),
    )
    table = []
    for line in lines(measurements, selected, spec):
        base = reported.baseline(reported.sampled(rows), line.variant, spec.get("mains"))
        about = _line(line, measurements, base, spec, steps)
        choosers = [m for m in line.chosen_by if m in directions]
        edges = (
            tuning.edge(measurements, selected, line.variant, m, directions[m], spec.get("mains"))
            for m in choosers
        )
        about["edge"] = next(filter(None, edges), "")
        table += [{**about, **_number(line, *cells, base, info)} for info in described]
    frame = corrected(pd.DataFrame(table))
    made = _by_section(frame) if wide else frame
    return made if listed is None else published.append(made, measurements, listed, spec)


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `verdict_holm`: verdicts that hold when all of a table and feature space are made at once.

    The family of a verdict is every difference of its feature space that has a p-value: with Holm's correction, the chance
    that any difference which is none is called better or worse is at most 5 %.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    held = table["verdict"].astype(str).copy()
    for _, family in table[table["p"].notna()].groupby("space", sort=False):
        ordered = family["p"].sort_values(kind="stable")
        adjusted = (ordered * range(len(ordered), 0, -1)).cummax()
        doubtful = adjusted.index[adjusted > 1 - intervals.LEVEL]
        clear = [i for i in doubtful if held[i] not in ("", summary.UNCLEAR, summary.EQUAL, summary.NOT_RUN)]
        held[clear] = summary.UNCLEAR
    return table.assign(verdict_holm=held)


def _by_section(frame: pd.DataFrame) -> pd.DataFrame:
    """Section by section; other step counts last, each a section of its own."""
    order = {name: i for i, name in enumerate(names.SECTIONS)}
    place = frame["section"].map(order).fillna(len(order))
    sort = frame.assign(_place=place, _steps=pd.to_numeric(frame["steps"]).where(place == len(order)))
    sort = sort.sort_values(["_place", "_steps"], kind="stable")
    return sort.drop(columns=["_place", "_steps"]).reset_index(drop=True)


def _in_order(described: pd.DataFrame, info: pd.DataFrame) -> list[dict[Any, Any]]:
    """Feature space by feature space, each in the order of metrics.csv."""
    place = {str(m): i for i, m in enumerate(info["metric"])}
    spaces = metric_names.spaces(described["metric"])
    key = described["metric"].map(
        lambda m: ((spaces.index(f) if (f := metric_names.features(m)) else -1), place[metric_names.base(m)])
    )
    found: list[dict[Any, Any]] = described.loc[key.sort_values().index].to_dict("records")
    return found


def _line(
    line: Line, measurements: pd.DataFrame, base: _Point | None, spec: Mapping[str, Any], steps: int | None
) -> dict[str, object]:
    """What is equal for all metrics of a line."""
    of_variant = measurements[measurements["variant"] == line.variant]
    first = of_variant.iloc[0].to_dict() if len(of_variant) else {}
    other = steps is not None and bool(first) and int(first["steps"]) != steps
    # no net was called: images of the dataset, which nothing sampled
    real = bool(first) and "nfe" in first and int(first["nfe"]) == 0
    first |= {"w_neutral": float("nan"), "steps": "", "nfe": ""} if real else {}
    return {
        "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])),
        "section": f"{first['steps']} sampler steps" if other else names.section(line.variant), "row": line.row,
        "variant": line.variant, "label": names.prefix(str(spec["scale"])) + names.label(line.variant), "guides": str(first.get("ref", "")),
        "method": str(first.get("method", "")), "w": line.w, "w_neutral": first.get("w_neutral", float("nan")),
        "chosen_by": ", ".join(line.chosen_by), "chosen_on": line.chosen_on, "weights_tried": 0 if real else line.tried,
        "steps": first.get("steps", ""), "nfe": first.get("nfe", ""),
        "baseline": f"{base[0]}/w{base[1]:.2f}" if base else "", "real": real,
    }  # fmt: skip


def _cells(rows: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """The rows of each metric at each point."""
    used = rows[[c for c in _USED if c in rows]]
    by = used.groupby(["metric", "variant", used["w"].map("{:.2f}".format)], sort=False)
    return {(str(metric), str(variant), str(w)): part for (metric, variant, w), part in by}


def _number(
    line: Line, of_report: _Cells, of_all: _Cells, base: _Point | None, info: Mapping[Any, Any]
) -> dict[str, object]:
    """One metric of a line: estimate, difference to no guidance at the same number of steps, minimum of the blocks."""
    metric, nothing = str(info["metric"]), pd.DataFrame(columns=list(_USED))
    at, gap, least, sources = nothing, summary.Difference(), (float("nan"), 0), list[Source]()
    if line.w is not None:
        here = (line.variant, line.w)

        def found(rows: _Cells, point: _Point) -> pd.DataFrame:
            return rows.get((metric, point[0], f"{point[1]:.2f}"), nothing)

        at = found(of_report, here)
        sources += points("mean", "value", metric, here, zip(at["train_seed"], at["seed_block"], strict=True))
        if base is not None and base != here:
            sides = {base: summary.sound(found(of_report, base)), here: summary.sound(at)}
            gap, both = summary.paired(*sides.values()), set.intersection(*map(set, sides.values()))
            sources += points("difference", "value", metric, here, both)
            sources += points("difference", "baseline", metric, base, both)
        all_blocks = summary.sound(found(of_all, here))
        least = summary.least(all_blocks)
        sources += points("minimum", "value", metric, here, all_blocks)
    e = summary.estimate(at, share=info["unit"] == "%")
    numbers = (
        e.value, e.lo, e.hi, e.over, e.n_trainings, e.n_blocks, e.n_generated, e.status, e.note, gap.value, gap.lo, gap.hi,
        gap.over, gap.least, gap.most, gap.n_trainings, gap.before, gap.after, gap.p, "" if gap.n_trainings == 0 else gap.verdict(str(info["direction"])), *least,
    )  # fmt: skip
    counted = str(at["note"].iloc[0]) if len(at) and "note" in at else ""
    return {
        **{key: info.get(key, "") for key in PRINTED},
        "space": metric_names.features(metric),
        **dict(zip(NUMBER, numbers, strict=True)),
        **{key: at[key].iloc[0] if len(at) and key in at else "" for key in PROTOCOL},
        # how precision and recall count neighbours, and of how many
        "counted": counted if counted.startswith("k = ") else "",
        SOURCES: sources,
    }
