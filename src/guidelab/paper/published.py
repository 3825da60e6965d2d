"""Published values next to ours: one row for each published number of the experiment, run here or not.

The rule of the verdicts is in `reproduced`. An experiment that is not at full scale has no row here: its numbers are never printed next to a paper's.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from guidelab.errors import UserError, closest
from guidelab.paper import checks, names, summary
from guidelab.paper.reproduced import NOT_COMPARABLE, judged, no_target, stands_for

SECTION = "Published values"
PUBLISHED = ("paper", "table", "experiment", "row", "weight", "metric", "value", "n_generated", "protocol", "source",
             "status", "target", "note")  # fmt: skip
COLUMNS = (
    "published_row", "published_metric", "published_weight", "published", "published_printed", "published_protocol",
    "published_from", "published_note", "compared", "compared_as", "published_difference", "allowed", "published_verdict",
)  # fmt: skip
NOT_COMPARED = "not compared"
PRINTED = "printed"  # a column that a reader may add: the value's own digits, 1.50 and not 1.5
_OURS = {"fd_dinov2": "fid@dinov2"}  # what a column is called
NAMES = {"fid": "FID", "fd_dinov2": "FD-DINOv2", "nll_bits_per_dim": "NLL (bits per dimension)"}


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
    """Whether numbers of this experiment may stand next to a paper's."""
    return str(spec["scale"]) in names.FULL_SCALES


def not_compared(scale: str) -> str:
    """What stands where published values would: `smoke: not compared`."""
    return f"{'smoke' if scale == names.SMOKE else 'scaled down'}: {NOT_COMPARED}"


def not_run_table(published: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Every published number of an experiment with `not run` next to it: the table before anything was measured.

    Raises:
        UserError: no published rows of this experiment.
    """
    nothing = pd.DataFrame(columns=["variant", "w", "metric"])
    return rows(nothing, nothing, published, {"experiment": experiment, "scale": names.FULL_SCALE})


def append(
    table: pd.DataFrame, measurements: pd.DataFrame, published: pd.DataFrame, spec: Mapping[str, Any]
) -> pd.DataFrame:
    """The table with the published rows after it, or, scaled down, with the note that nothing is compared."""
    if not full_scale(spec):
        return table.assign(published_verdict=not_compared(str(spec["scale"])))
    other = spec.get("published_experiment")
    if not spec.get("published") and not has_rows(published, str(other or spec["experiment"])):
        return table  # an experiment of one's own: no paper has numbers on it
    if not spec.get("published") and other not in (None, spec["experiment"]):
        return table.assign(published_verdict=f"see the table of {other}")
    listed = rows(table, measurements, published, spec)
    blank = {
        c: 0 if pd.api.types.is_integer_dtype(t) else "" for c, t in table.dtypes.items() if t != "float64"
    }
    listed = listed.astype(object).fillna({c: v for c, v in blank.items() if c in listed})
    return pd.concat([table.astype(object), listed], ignore_index=True)  # as objects: 250 stays 250


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
    """The weights of each variant that have a published value, chosen by us or not."""
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
    """The rows of one published number: one for each of our points, or one marked `not run`."""
    weight = pd.to_numeric(one["weight"], errors="coerce")
    about = {
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
        ours = ours[[stands_for(str(m), str(one["metric"])) for m in ours["metric"]]]
        found = [judged(one, row, measurements) | {"section": SECTION} for row in ours.to_dict("records")]
        if found:
            ran = True
            yield about | _first(found)
    if not ran:
        yield about | _not_run(one, weight, table)


def _first(judged: list[dict[str, object]]) -> dict[str, object]:
    """The first of our numbers that can be compared, else the first."""
    sound = [j for j in judged if not str(j["published_verdict"]).startswith(NOT_COMPARABLE)]
    return (sound or judged)[0]


def _not_run(one: Mapping[str, Any], weight: float, table: pd.DataFrame) -> dict[str, object]:
    """What stands next to a published number that was not run; in the CSV's column of our metric, if we have one."""
    missing, theirs = no_target(one), str(one["metric"])
    ours = next((m for m in map(str, table["metric"]) if stands_for(m, theirs)), _OURS.get(theirs, theirs))
    return {
        "variant": "", "label": one["row"], "w": float(weight), "metric": ours,
        "name": name_of(theirs), "status": summary.NOT_RUN, "n_trainings": 0, "n_blocks": 0,
        "n_generated": 0, "value": math.nan, "lo": math.nan, "hi": math.nan, "over": "", "unit": "", "space": "",
        "published_verdict": f"{missing}; {summary.NOT_RUN}" if missing else summary.NOT_RUN,
    }  # fmt: skip


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
