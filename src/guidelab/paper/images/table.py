"""The table of an image experiment: one line for each variant at each weight that was chosen for it.

Every line has, in every feature space, the metrics with their intervals, the difference to no guidance on common
seeds, and the papers' minimum over the blocks, which is optimistic and labelled so. The papers' own values stand beside
ours only where an experiment reproduces a paper's at full scale; see `beside`.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from guidelab.errors import UserError
from guidelab.paper import checks, names, summary
from guidelab.paper.images import beside, beside_print, compare, wording
from guidelab.paper.images.sheets import to_latex, to_markdown

__all__ = ["as_rows", "make_table", "to_latex", "to_markdown"]

LINE = [
    "experiment", "scale", "section", "variant", "label", "guides", "method", "w", "w_neutral", "chosen_by",
    "chosen_on", "weights_tried", "steps", "nfe", "baseline",
]  # fmt: skip
NUMBER = [
    "value", "lo", "hi", "over", "n_trainings", "n_blocks", "n_generated", "status", "difference", "difference_lo",
    "difference_hi", "difference_over", "difference_least", "difference_most", "verdict", "min_of_blocks", "blocks_of_min",
]  # fmt: skip
PROTOCOL = ("n_reference", "reference_split", "label_policy")
COMPARED = ("fid", "kid", "precision", "recall", "accuracy")  # with a difference to no guidance
LOWEST = ("fid",)  # with the papers' minimum
PAPERS = "the paper's"  # in chosen_by: a weight that is printed for the published value beside it


@dataclass(frozen=True)
class Line:
    """One printed line: a point, and which metrics chose its weight."""

    variant: str
    w: float | None
    chosen_by: tuple[str, ...] = ()
    chosen_on: str = ""
    weights_tried: int = 0


def make_table(
    measurements: pd.DataFrame,
    selected: pd.DataFrame,
    metrics_info: pd.DataFrame,
    published: pd.DataFrame | None,
    spec: dict[str, Any],
) -> pd.DataFrame:
    """Every printed number: one row for each line and metric, columns LINE, metric and its description, NUMBER, PROTOCOL.

    Args:
        measurements: tidy rows of one image experiment.
        selected: the weight of each variant, one row for each metric that chose.
        metrics_info: workflow/resources/metrics.csv, unqualified names.
        published: workflow/resources/published.csv; None where the papers have no numbers on this dataset.
        spec: experiment, scale, and optionally variants (all planned), labels (words for variants), mains (variant to its
            main net, where there are several) and published (point to published rows).
    Raises:
        UserError: rows that may not be compared or printed; see `compare.report` and `checks`.
    """
    checks.same_experiment(measurements, spec)
    rows = compare.report(measurements, selected)
    described = wording.describe(metrics_info, measurements["metric"])
    steps = compare.main_steps(measurements)
    by_metric = {
        str(m): (measurements[measurements["metric"] == m], part) for m, part in rows.groupby("metric")
    }
    table = []
    for line in _lines(measurements, selected, spec):
        base = compare.baseline(rows, line.variant, spec.get("mains"))
        told = _line(line, measurements, base, spec, steps)
        for info in _in_order(described, metrics_info):
            all_blocks, reported = by_metric.get(str(info["metric"]), (measurements.iloc[:0], rows.iloc[:0]))
            table.append({**told, **_number(line, all_blocks, reported, base, info)})
    frame = pd.DataFrame(table)
    order = {name: i for i, name in enumerate(wording.SECTIONS)}
    place = (
        frame["section"].map(order).fillna(len(order))
    )  # other step counts last, each a section of its own
    sort = frame.assign(_place=place, _steps=pd.to_numeric(frame["steps"]).where(place == len(order)))
    made = (
        sort.sort_values(["_place", "_steps"], kind="stable")
        .drop(columns=["_place", "_steps"])
        .reset_index(drop=True)
    )
    return made if published is None else _with_published(made, measurements, published, spec)


def _with_published(
    table: pd.DataFrame, measurements: pd.DataFrame, published: pd.DataFrame, spec: dict[str, Any]
) -> pd.DataFrame:
    """The table with the published rows after it, or, scaled down, with the word that nothing is compared."""
    if not beside.full_scale(spec):
        return table.assign(published_verdict=beside_print.not_compared(str(spec["scale"])))
    other = spec.get("published_experiment")
    if not spec.get("published") and not beside.has_rows(published, str(other or spec["experiment"])):
        return table  # an experiment of one's own: no paper has numbers on it
    if not spec.get("published") and other not in (None, spec["experiment"]):
        return table.assign(published_verdict=f"see the table of {other}")
    listed = beside.rows(table, measurements, published, spec)
    blank = {
        c: 0 if pd.api.types.is_integer_dtype(t) else "" for c, t in table.dtypes.items() if t != "float64"
    }
    listed = listed.astype(object).fillna({c: v for c, v in blank.items() if c in listed})
    return pd.concat([table.astype(object), listed], ignore_index=True)  # as objects: 250 stays 250


def as_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table as its CSV: one row a line, columns `fid@lite0`, `fid@lite0 lo`, ... side by side.

    What is equal in all columns of a line (blocks, n, reference) stands once. Numbers have six significant digits.
    """
    rows = []
    listed = table[table["section"] == beside.SECTION]
    about = beside_print.csv_columns(listed) if len(listed) else {}
    ours = table[table["section"] != beside.SECTION].infer_objects()
    for (variant, w), part in ours.groupby(["variant", "w"], sort=False, dropna=False):
        first = part.iloc[0]
        row = {key: first[key] for key in LINE} | ({"w": float("nan")} if first["real"] else {})
        row |= {key: part[key].max() for key in ("n_trainings", "n_blocks", "n_generated")}
        met = part[~part["reference_split"].isin(["", "none"])]  # some metrics have no reference
        row |= {key: "; ".join(dict.fromkeys(str(v) for v in met[key])) for key in PROTOCOL}
        for number in part.to_dict("records"):
            row |= _columns(number)
        row |= about.get((variant, w), {})
        if not len(listed) and "published_verdict" in part:
            row |= {"published": "", "published verdict": first["published_verdict"]}
        rows.append(row)
    rows += beside_print.csv_lines(listed, LINE) if len(listed) else []
    wide = pd.DataFrame(rows)
    floats = wide.select_dtypes("float").columns
    return wide.assign(**{c: wide[c].map(lambda v: float(f"{v:.6g}")) for c in floats})


def _columns(number: dict[Any, Any]) -> dict[str, object]:
    """The CSV's columns of one metric."""
    metric = str(number["metric"])
    found = {metric: number["value"], f"{metric} lo": number["lo"], f"{metric} hi": number["hi"]}
    found[f"{metric} over"] = number["over"] if number["status"] == summary.OK else number["status"]
    if wording.base(metric) in COMPARED:
        found |= {f"{metric} difference": number["difference"]}
        found |= {
            f"{metric} difference {side}": number[f"difference_{side}"] for side in ("lo", "hi", "over")
        }
        found |= {f"{metric} verdict": number["verdict"]}
    if wording.base(metric) in LOWEST:
        blocks = f"min of {number['blocks_of_min']} (paper style)" if number["blocks_of_min"] else ""
        found |= {f"{metric} min of blocks": number["min_of_blocks"], f"{metric} min is": blocks}
    return found


def _lines(measurements: pd.DataFrame, selected: pd.DataFrame, spec: dict[str, Any]) -> list[Line]:
    """The lines in order; every measured or planned variant has at least one, two metrics may choose two weights."""
    lines = []
    papers = beside.points(spec)
    for variant in wording.ordered([*spec.get("variants", []), *measurements["variant"]]):
        weights = sorted(measurements.loc[measurements["variant"] == variant, "w"].unique())
        mine = selected[selected["variant"] == variant]
        if len(weights) > 1 and mine.empty:
            raise UserError(
                f"selected: no row for {variant}, which was measured at {len(weights)} weights; wanted one, else "
                "the table would drop it. Collect again."
            )
        if len(weights) < 2:
            lines.append(Line(variant, float(weights[0]) if weights else None, weights_tried=len(weights)))
            continue
        for w, part in mine.groupby("w", sort=False):
            by = tuple(str(m) for m in part["metric"])
            lines.append(
                Line(
                    variant,
                    float(str(w)),
                    by,
                    str(part["selected_on"].iloc[0]),
                    int(part["n_candidates"].iloc[0]),
                )
            )
        taken = {round(float(w), 2) for w in mine["w"]}
        more = sorted({round(w, 2) for w in papers.get(variant, ())} - taken)
        lines += [Line(variant, w, (PAPERS,), "", 0) for w in more if any(abs(w - x) < 5e-3 for x in weights)]
    return lines


def _in_order(described: pd.DataFrame, info: pd.DataFrame) -> list[dict[Any, Any]]:
    """Feature space by feature space, each in the order of metrics.csv."""
    place = {str(m): i for i, m in enumerate(info["metric"])}
    spaces = wording.spaces(described["metric"])
    key = described["metric"].map(
        lambda m: ((spaces.index(f) if (f := wording.features(m)) else -1), place[wording.base(m)])
    )
    found: list[dict[Any, Any]] = described.loc[key.sort_values().index].to_dict("records")
    return found


def _line(
    line: Line, measurements: pd.DataFrame, base: tuple[str, float] | None, spec: dict[str, Any], steps: int
) -> dict[str, object]:
    """What is equal for all metrics of a line."""
    of_variant = measurements[measurements["variant"] == line.variant]
    told = of_variant.iloc[0].to_dict() if len(of_variant) else {}
    other = bool(told) and int(told["steps"]) != steps
    # no net was called: images of the dataset, which nothing sampled
    real = bool(told) and int(told["nfe"]) == 0
    told |= {"w_neutral": float("nan"), "steps": "", "nfe": ""} if real else {}
    found = {
        "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])),
        "section": f"{told['steps']} sampler steps" if other else wording.section(line.variant), "variant": line.variant,
        "label": names.prefix(str(spec["scale"])) + wording.label(line.variant, spec.get("labels")), "guides": str(told.get("ref", "")),
        "method": str(told.get("method", "")), "w": line.w, "w_neutral": told.get("w_neutral", float("nan")),
        "chosen_by": ", ".join(line.chosen_by), "chosen_on": line.chosen_on, "weights_tried": 0 if real else line.weights_tried,
        "steps": told.get("steps", ""), "nfe": told.get("nfe", ""),
        "baseline": f"{base[0]}/w{base[1]:.2f}" if base else "",
    }  # fmt: skip
    return {key: found[key] for key in LINE} | {"real": real}


def _number(
    line: Line,
    measurements: pd.DataFrame,
    rows: pd.DataFrame,
    base: tuple[str, float] | None,
    info: dict[Any, Any],
) -> dict[str, object]:
    """One metric of a line: estimate, difference to no guidance at the same number of steps, minimum of the blocks."""
    metric, empty = str(info["metric"]), float("nan")
    at = rows.iloc[:0] if line.w is None else summary.at_point(rows, line.variant, line.w, metric)
    e = summary.estimate(at, share=info["unit"] == "%")
    gap = compare.Difference()
    if line.w is not None and base is not None and base != (line.variant, line.w):
        gap = compare.difference(rows, base, (line.variant, line.w), metric)
    least, blocks = (
        (empty, 0) if line.w is None else compare.lowest(measurements, line.variant, line.w, metric)
    )
    printed = {key: info[key] for key in ("metric", "name", "direction", "unit", "digits")}
    numbers = (
        e.value, e.lo, e.hi, e.over, e.n_trainings, e.n_blocks, e.n_generated, e.status, gap.value, gap.lo, gap.hi,
        gap.over, gap.least, gap.most, "" if gap.n_trainings == 0 else gap.verdict(str(info["direction"])), least, blocks,
    )  # fmt: skip
    protocol = {key: at[key].iloc[0] if len(at) and key in at else "" for key in PROTOCOL}
    said = str(at["note"].iloc[0]) if len(at) and "note" in at else ""
    return {
        **printed,
        "features": wording.features(metric),
        **dict(zip(NUMBER, numbers, strict=True)),
        **protocol,
        # how precision and recall count neighbours, and of how many
        "counted": said if said.startswith("k = ") else "",
    }
