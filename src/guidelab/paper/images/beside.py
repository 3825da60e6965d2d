"""Published values beside ours: one row for each published number of the experiment, run here or not.

The rule. A difference |ours - published| up to max(2 sd, 1.3 % of the published value) is `reproduced`, up to twice that
`close`, beyond it `not`; sd is the standard deviation over our blocks of seeds and trainings. 1.3 % is the size below
which retraining alone moves FID (arXiv:2606.20536). Where protocols differ there is no difference, only the reason.

A published minimum of three evaluations is compared with the minimum of our three blocks, everything else with our mean.
Values that are conflicting, digitised, assigned by us or of an unstated method stand in the list and are no targets.
An experiment that is not at full scale has no row here: its numbers are never printed beside a paper's.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from guidelab.errors import UserError, closest
from guidelab.paper import checks, names, summary
from guidelab.paper.images import compare, wording

SECTION = "Beside the published values"
PUBLISHED = ("paper", "table", "experiment", "row", "weight", "metric", "value", "n_generated", "protocol", "source",
             "status", "target", "note")  # fmt: skip
COLUMNS = (
    "published_row", "published_metric", "published_weight", "published", "published_printed", "published_protocol",
    "published_from", "published_note", "compared", "compared_as", "published_difference", "allowed", "published_verdict",
)  # fmt: skip
MIN_OF_3 = "min_of_3"
GAP = 0.013  # of the published value; see the module
REPRODUCED, CLOSE, NOT = "reproduced", "close", "not"
NOT_TARGET, NOT_COMPARABLE, NOT_COMPARED = "not a target", "not comparable", "not compared"
RELEASED = "released "  # how measure names a reference that is somebody's statistics
EVALUATOR_REAL = 10_000  # real images that precision and recall meet in ADM's evaluator
PRINTED = "printed"  # a column that a reader may add: the value's own digits, 1.50 and not 1.5
_OTHER_FEATURES = ("lite0", "classifier")  # of our own experiments: no paper measures in them
_OURS = {"fd_dinov2": "fid@dinov2"}  # what a column is called
NAMES = {"fid": "FID", "fd_dinov2": "FD-DINOv2", "nll_bits_per_dim": "NLL (bits per dimension)"}


def targets(published: pd.DataFrame) -> pd.DataFrame:
    """The published rows that a run is to reproduce."""
    return published[(published["target"] == "yes") & (published["status"] == "verified")]


def has_rows(published: pd.DataFrame, experiment: str) -> bool:
    """Whether a paper has numbers on an experiment."""
    return bool((published["experiment"] == experiment).any())


def of_experiment(published: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The published rows of an experiment, each value once: the papers quote each other.

    Raises:
        UserError: a column is missing, or there are no such rows.
    """
    checks.require_columns(published, PUBLISHED, "workflow/resources/published.csv")
    mine = published[published["experiment"] == experiment]
    if mine.empty:
        known = sorted(set(map(str, published["experiment"])))
        raise UserError(
            f"workflow/resources/published.csv: no rows of experiment {experiment!r}; wanted one of {', '.join(known)}"
            f"{closest(experiment, known)}"
        )
    key = ["row", "weight", "metric", "value", "n_generated", "protocol", "status", "target"]
    source = mine["paper"].astype(str) + ", " + mine["table"].astype(str)
    return (
        mine.assign(source=source)
        .groupby(key, sort=False, dropna=False)
        .agg({"source": _once, "note": _once} | ({PRINTED: "first"} if PRINTED in mine else {}))
        .reset_index()
    )


def _once(texts: "pd.Series[str]") -> str:
    """Each text once; empty cells are none."""
    return "; ".join(dict.fromkeys(t for t in texts if isinstance(t, str) and t))


def full_scale(spec: Mapping[str, Any]) -> bool:
    """Whether numbers of this experiment may stand beside a paper's."""
    return str(spec["scale"]) in names.FULL_SCALES


def rows(
    table: pd.DataFrame, measurements: pd.DataFrame, published: pd.DataFrame, spec: Mapping[str, Any]
) -> pd.DataFrame:
    """One row for each published number and each of our points that is to reproduce it; columns of `table` and COLUMNS.

    Args:
        table: of `table.make_table` so far: our numbers, one row for each line and metric.
        measurements: all rows, the selecting block too.
        published: workflow/resources/published.csv.
        spec: experiment, scale, published (point -> published rows, `ROW` or `ROW [metric]`), published_experiment.
    Raises:
        UserError: a point that names an unknown row.
    """
    found = of_experiment(published, str(spec.get("published_experiment") or spec["experiment"]))
    wanted = dict(_wanted(spec.get("published") or {}, found))
    made = [
        row for one in found.to_dict("records") for row in _rows_of(one, wanted, table, measurements, spec)
    ]
    frame = pd.DataFrame(made)
    return frame.reindex(columns=[*dict.fromkeys([*table.columns, *COLUMNS, *frame.columns])])


def points(spec: Mapping[str, Any]) -> dict[str, set[float]]:
    """The weights of each variant that stand beside a published value, chosen by us or not."""
    found: dict[str, set[float]] = {}
    for point in (spec.get("published") or {}) if full_scale(spec) else ():
        variant, w = names.split_point(point)
        found.setdefault(variant, set()).add(1.0 if w is None else w)
    return found


def _wanted(given: Mapping[str, Any], found: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Point -> (published row, metric or empty for any).

    Raises:
        UserError: no such published row.
    """
    known = list(dict.fromkeys(map(str, found["row"])))
    for point, listed in given.items():
        rows_: list[tuple[str, str]] = []
        for name in [listed] if isinstance(listed, str) else listed:
            row, _, metric = str(name).removesuffix("]").partition(" [")
            if row not in known:
                raise UserError(
                    f"paper.published: {point}: {name!r} is no row of published.csv; wanted one of its {len(known)} rows "
                    f"of this experiment{closest(row, known)}"
                )
            rows_.append((row, metric))
        yield point, rows_


def _rows_of(
    one: dict[Any, Any], wanted: Mapping[str, list[tuple[str, str]]], table: pd.DataFrame,
    measurements: pd.DataFrame, spec: Mapping[str, Any],
) -> Iterator[dict[str, object]]:  # fmt: skip
    """The rows of one published number: one for each of our points, or one that says it was not run."""
    weight = pd.to_numeric(one["weight"], errors="coerce")
    told = {
        "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])), "section": SECTION,
        "published_row": one["row"], "published_metric": one["metric"], "published_weight": float(weight),
        "published": float(one["value"]), "published_printed": str(one.get(PRINTED) or f"{float(one['value']):g}"),
        "published_protocol": _protocol(one), "published_from": one["source"], "published_note": one["note"],
        "compared": math.nan, "compared_as": "", "published_difference": math.nan, "allowed": math.nan,
    }  # fmt: skip
    ran = False
    for point, rows_ in wanted.items():
        if not {(one["row"], ""), (one["row"], one["metric"])} & set(rows_):
            continue
        variant, w = names.split_point(point)
        w = 1.0 if w is None else w
        if not math.isnan(weight) and abs(w - weight) > 5e-3:
            continue
        ours = table[(table["variant"] == variant) & ((table["w"].astype(float) - w).abs() < 5e-3)]
        ours = ours[[_stands_for(str(m), str(one["metric"])) for m in ours["metric"]]]
        judged = [_judged(one, row, measurements) for row in ours.to_dict("records")]
        if judged:
            ran = True
            yield told | _first(judged)
    if not ran:
        yield told | _not_run(one, weight, table)


def _first(judged: list[dict[str, object]]) -> dict[str, object]:
    """The first of our numbers that can be compared, else the first."""
    sound = [j for j in judged if not str(j["published_verdict"]).startswith(NOT_COMPARABLE)]
    return (sound or judged)[0]


def _not_run(one: Mapping[str, Any], weight: float, table: pd.DataFrame) -> dict[str, object]:
    """What stands beside a published number that was not run; in the CSV's column of our metric, if we have one."""
    missing, theirs = _no_target(one), str(one["metric"])
    ours = next((m for m in map(str, table["metric"]) if _stands_for(m, theirs)), _OURS.get(theirs, theirs))
    return {
        "variant": "", "label": one["row"], "w": float(weight), "metric": ours,
        "name": name_of(theirs), "status": summary.NOT_RUN, "n_trainings": 0, "n_blocks": 0,
        "n_generated": 0, "value": math.nan, "lo": math.nan, "hi": math.nan, "over": "", "unit": "", "features": "",
        "published_verdict": f"{missing}; {summary.NOT_RUN}" if missing else summary.NOT_RUN,
    }  # fmt: skip


def _judged(one: Mapping[str, Any], ours: Mapping[Any, Any], measurements: pd.DataFrame) -> dict[str, object]:
    """One of our numbers beside a published one: what is compared, the difference, how large it may be, the verdict."""
    found = {str(key): value for key, value in ours.items()} | {"section": SECTION}
    if ours["status"] != summary.OK:
        return found | {"published_verdict": str(ours["status"])}
    at = (str(ours["variant"]), float(ours["w"]), str(ours["metric"]))
    least, blocks = compare.lowest(measurements, *at)
    as_minimum = one["protocol"] == MIN_OF_3
    value = least if as_minimum else float(ours["value"])
    found |= {"compared": value, "compared_as": f"min of {blocks}" if as_minimum else "mean"}
    reason = _no_target(one) or _incomparable(one, ours, blocks)
    if reason:
        return found | {"published_verdict": reason}
    target = float(one["value"])
    sd = _sd(summary.at_point(measurements, *at))
    allowed = max(GAP * abs(target), 0.0 if math.isnan(sd) else 2 * sd)
    return found | {
        "published_difference": value - target, "allowed": allowed, "published_verdict": verdict(value - target, allowed),
    }  # fmt: skip


def verdict(difference: float, allowed: float) -> str:
    """`reproduced` up to what is allowed, `close` up to twice that, else `not`."""
    if abs(difference) <= allowed:
        return REPRODUCED
    return CLOSE if abs(difference) <= 2 * allowed else NOT


def _no_target(one: Mapping[str, Any]) -> str:
    if one["status"] != "verified":
        return f"{NOT_TARGET}: {one['status']}"
    return "" if one["target"] == "yes" else f"{NOT_TARGET}: {one['note'] or 'marked so'}"


def _incomparable(one: Mapping[str, Any], ours: Mapping[Any, Any], blocks: int) -> str:
    """Why ours is no measurement of the same thing; empty where it is."""
    n, theirs = int(ours["n_generated"]), int(float(one["n_generated"]))
    split, metric = str(ours["reference_split"]), wording.base(str(ours["metric"]))
    reason = ""
    if n != theirs:
        reason = f"n {n:,}, published {theirs:,}"
    elif one["protocol"] == MIN_OF_3 and blocks != 3:
        reason = f"minimum of {blocks}, published of 3"
    elif metric == "fid" and not split.startswith(RELEASED):
        reason = f"reference {split}, published against released statistics"
    elif metric in ("precision", "recall") and int(ours["n_reference"]) != EVALUATOR_REAL:
        reason = f"{int(ours['n_reference']):,} real images, published against {EVALUATOR_REAL:,}"
    return f"{NOT_COMPARABLE}: {reason}" if reason else ""


def _sd(at: pd.DataFrame) -> float:
    """Standard deviation over blocks and trainings; of one number its standard error; nan without either."""
    values = at["value"].to_numpy(np.float64)
    if len(values) > 1:
        return float(values.std(ddof=1))
    return float(at["std_error"].iloc[0]) if len(values) else math.nan


def _stands_for(ours: str, theirs: str) -> bool:
    """Whether one of our metrics measures a published one: fid@dinov2 is their fd_dinov2."""
    space = wording.features(ours)
    if theirs in ("fid", "fd_dinov2") and wording.base(ours) == "fid":
        return space not in _OTHER_FEATURES and wording.of_dinov2(space) == (theirs == "fd_dinov2")
    return wording.base(ours) == theirs


def name_of(metric: str) -> str:
    """A published metric in words."""
    return NAMES.get(metric, metric.replace("_", " "))


def _protocol(one: Mapping[str, Any]) -> str:
    """`min of 3, n 50,000`."""
    n = pd.to_numeric(one["n_generated"], errors="coerce")
    parts: Iterable[str] = (
        str(one["protocol"] or "").replace("_", " "),
        "" if math.isnan(n) else f"n {int(n):,}",
    )
    return ", ".join(filter(None, parts))
