# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The table of divergences: every estimate beside what it estimates, and how often its interval holds it."""

import math
from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names
from guidelab.paper.cells import Sheet
from guidelab.paper.sigma import numbers
from guidelab.paper.sigma.numbers import FOUND, NAMES, NOT_ESTIMABLE, OK, Z95

COLUMNS = [
    "experiment", "scale", "point", "label", "train_seed", "divergence", "estimator", "sigma_lo", "sigma_hi", "n",
    "bound", "value", "lo", "hi", "status", "estimates", "truth", "truth_lo", "truth_hi", "truth_status",
    "relative_error", "coverage", "above_truth", "repeats", "repeats_status", "note",
]  # fmt: skip
_KINDS = ("truth", "estimate", "target")
_BEST = {
    "kl": "dv",
    "kl_reverse": "nwj",
    "js": "nwj",
    "chi2": "nwj",
    "chi2_neyman": "nwj",
    "hellinger2": "nwj",
}


def make_table(rows: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """One row for each point, divergence and estimator, columns COLUMNS.

    Args:
        rows: of `guidelab diverge`, all points of one experiment.
        spec: experiment and scale.
    """
    table = []
    for (point, seed), mine in rows.groupby(["point", "train_seed"], sort=False):
        kept = mine[mine["kind"].isin(_KINDS) & ~mine["estimator"].str.endswith("_target")]
        for row in kept.to_dict("records"):
            table.append({
                "experiment": spec["experiment"], "scale": names.scale_name(str(spec["scale"])), "point": point,
                "label": numbers.point_label(str(point)), "train_seed": seed,
                **{key: row[key] for key in ("divergence", "estimator", "sigma_lo", "sigma_hi", "n", "bound", "note")},
                **numbers.interval(row), **_beside(mine, row), **_repeated(mine, row),
            })  # fmt: skip
    found = pd.DataFrame(table, columns=COLUMNS)
    floats = found.select_dtypes("float").columns
    return found.assign(**{c: found[c].map(lambda v: float(f"{v:.6g}")) for c in floats})


def _beside(mine: pd.DataFrame, row: dict[Any, Any]) -> dict[str, Any]:
    """What a row estimates, with its interval: the exact divergence, or the gain's own target."""
    if row["kind"] == "truth":
        return {"estimates": "itself"}
    gain = row["divergence"] == "score_error"
    wanted = f"{row['estimator']}_target" if gain else "exact"
    found = mine[(mine["estimator"] == wanted) & (mine["divergence"] == row["divergence"])]
    found = found[found["kind"].isin(("truth", "target"))]
    if found.empty:
        return {"estimates": "nothing known"}
    truth = numbers.interval(found.iloc[0].to_dict())
    told = {f"truth{'' if k == 'value' else '_' + k}": truth[k] for k in ("value", "lo", "hi", "status")}
    sound = truth["status"] == OK and numbers.interval(row)["status"] == OK and truth["value"] != 0
    error = (row["value"] - truth["value"]) / abs(truth["value"]) if sound else math.nan
    name = "exact difference of score errors" if gain else "exact divergence"
    return {"estimates": name, "relative_error": error, **told}


def _repeated(mine: pd.DataFrame, row: dict[Any, Any]) -> dict[str, Any]:
    """Share of repeats whose interval holds what is estimated, or lies above what it is a lower bound of."""
    same = mine[(mine["estimator"] == row["estimator"]) & (mine["divergence"] == row["divergence"])]
    found = {kind: same[same["kind"] == kind] for kind in ("coverage", "above truth")}
    told: dict[str, Any] = {
        kind.replace(" ", "_"): float(part["value"].iloc[0]) for kind, part in found.items() if len(part)
    }
    if len(found["coverage"]):
        note = str(found["coverage"]["note"].iloc[0])
        told["repeats"] = int(note.removeprefix(f"{NOT_ESTIMABLE}: ").split()[0])
        told["repeats_status"] = NOT_ESTIMABLE if note.startswith(NOT_ESTIMABLE) else OK
    return told


def to_markdown(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as Markdown."""
    return markdown.document(_title(table), _sheets(table, rows))


def to_latex(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table as LaTeX, by booktabs."""
    return latex.document(_title(table), _sheets(table, rows))


def _title(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['experiment']}, {first['scale']}: divergences"


def _sheets(table: pd.DataFrame, rows: pd.DataFrame) -> list[Sheet]:
    low = f"{table['sigma_lo'].min():g}"
    span = f"{low} to {table['sigma_hi'].max():g}"
    n = int(table["n"].min())
    known = [d for d in ("kl", "js", "kl_reverse", "chi2") if (table["divergence"] == d).any()]
    pairs = [(d, e) for d in known for e in ("exact", _BEST[d])]
    bounds = _sheet(
        table, f"Divergence at σ = {low}, nats: exact, and lower bound by the grader", pairs,
        ["exact: log-densities of the sampler's flow; bounds (Donsker–Varadhan for KL(p‖q), else NWJ) hold in "
         f"expectation, on at least {n:,} real points and samples that no net has seen. {FOUND}"],
    )  # fmt: skip
    integral = _sheet(
        table, f"The sigma integral by the grader's gradient, σ {span}, nats: no bound",
        [(d, "integral") for d in NAMES if d != "score_error"],
        ["Each under the measure of least variance, with the divergence at the upper end. Not a bound: right only as far as the "
         f"grader's gradient is. {FOUND}"],
    )  # fmt: skip
    errors = [("score_error", e) for e in ("score_error_main", "score_error_sampler")]
    errors += [
        ("score_error", e)
        for e in ("gain_guidance", "gain_guidance_target", "gain_grader", "gain_grader_target")
    ]
    gains = _sheet(
        _with_targets(table, rows), f"Score error and gains, σ {span}, nats", errors,
        ["Score error: of the main net and of the guided score, exact. Gain: how much of it a term removes, from real points "
         f"alone; a lower bound of the error, negative where the term harms. Exact: by the true score. {FOUND}"],
    )  # fmt: skip
    return [
        bounds,
        gains,
        integral,
        _coverage(table, "coverage"),
        _coverage(table, "above_truth"),
        _checks(rows),
    ]


def _with_targets(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table and its gains' targets as rows of their own."""
    targets = rows[(rows["kind"] == "target")]
    made = [
        {
            "point": r["point"],
            "divergence": r["divergence"],
            "estimator": r["estimator"],
            **numbers.interval(r),
        }
        for r in targets.to_dict("records")
    ]
    return pd.concat([table, pd.DataFrame(made)], ignore_index=True) if made else table


def _sheet(table: pd.DataFrame, title: str, pairs: list[tuple[str, str]], notes: list[str]) -> Sheet:
    """Points down, estimates across."""
    body = []
    for point in dict.fromkeys(table["point"]):
        mine = table[table["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append(
            [numbers.point_label(point), *(numbers.cell(c.iloc[0]) if len(c) else "–" for c in cells)]
        )
    header = ["", *(numbers.heading(d, e) for d, e in pairs)]
    return Sheet(title, header, body, notes, "l" + "r" * len(pairs))


def _coverage(table: pd.DataFrame, column: str) -> Sheet:
    """How often intervals hold what they estimate, or lie above what they bound."""
    held = table[table[column].notna()]
    pairs = list(dict.fromkeys(zip(held["divergence"], held["estimator"], strict=True)))
    body = []
    for point in dict.fromkeys(held["point"]):
        mine = held[held["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append([numbers.point_label(point), *(_percent(cell, column) for cell in cells)])
    repeats = int(held["repeats"].max()) if len(held) else 0
    half = 100 * Z95 * math.sqrt(0.05 * 0.95 / max(repeats, 1))
    if column == "coverage":
        title = f"Share of 95 % intervals that hold what they estimate, %, of {repeats} repeats"
        note = f"At 95 %, {repeats} repeats give 95 ± {half:.1f}. What a bound estimates is its own mean, not the divergence."
        note += " Not estimable: most repeats flag themselves so."
    else:
        title = f"Share of 95 % intervals above what they are a lower bound of, %, of {repeats} repeats"
        note = "At most 2.5 % are expected, at equality. –: the truth itself is not estimable."
    return Sheet(
        title, ["", *(numbers.heading(d, e) for d, e in pairs)], body, [note], "l" + "r" * len(pairs)
    )


def _percent(cell: pd.DataFrame, column: str) -> str:
    """A share in percent."""
    if cell.empty:
        return "–"
    found = cell.iloc[0]
    return NOT_ESTIMABLE if found["repeats_status"] != OK else f"{100 * float(found[column]):.1f}"


def _checks(rows: pd.DataFrame) -> Sheet:
    """Is the grader calibrated, and does it tell the sides apart at all."""
    body = []
    for point in dict.fromkeys(rows["point"]):
        mine = rows[(rows["point"] == point) & (rows["kind"] == "check")]
        cells = [numbers.point_label(point)]
        for name in ("ratio_mean", "inverse_ratio_mean", "ece"):
            found = mine[mine["estimator"] == name]["value"].astype(float)
            cells.append(f"{found.min():.3f}–{found.max():.3f}" if len(found) else "–")
        helped = mine[(mine["estimator"] == "scale") & ~mine["note"].str.startswith("did not")]
        cells.append(str(len(helped)))
        for name, digits in (("accuracy", 3), ("auc", 3), ("p_value", 3)):
            found = mine[mine["estimator"] == name]["value"].astype(float)
            cells.append(f"{found.iloc[0]:.{digits}f}" if len(found) else "–")
        body.append(cells)
    header = ["", "E_q r", "E_p 1/r", "ECE", "bins recalibrated", "accuracy", "AUC", "p"]
    notes = [
        "Range over the noise bins (1 and 1 when calibrated); accuracy, AUC and the two-sample test's p-value at the lowest σ."
    ]
    return Sheet(
        "Calibration of the graders, and whether they tell real from generated",
        header,
        body,
        notes,
        "lrrrrrrr",
    )
