# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The table section of relative errors: how far estimates lie from the exact divergence, in percent of it."""

import math
from typing import Any

import pandas as pd

from guidelab.paper import divergence_numbers, names
from guidelab.paper.cells import Sheet
from guidelab.paper.divergence_numbers import CAVEAT, NAMES, OK

PAIRS = {  # bounds, then estimates that are none
    "kl": ("nwj", "dv", "plug_in", "integral"),
    "kl_reverse": ("nwj", "plug_in", "integral"),
    "js": ("nwj", "plug_in", "integral"),
    "chi2": ("nwj", "plug_in", "integral"),
}
_INTEGRAL = "σ integral"


def error(value: dict[str, Any], truth: dict[str, Any]) -> dict[str, float]:
    """relative_error with relative_lo and relative_hi, as if the errors of both were independent; nan where undefined."""
    sound = truth["status"] == OK and value["status"] == OK and truth["value"] != 0
    if not sound:
        return dict.fromkeys(("relative_error", "relative_lo", "relative_hi"), math.nan)
    exact, estimate = truth["value"], value["value"]
    halves = [(x["hi"] - x["lo"]) / 2 for x in (value, truth)]
    half = math.hypot(halves[0], halves[1] * estimate / exact) / abs(exact)
    found = (estimate - exact) / abs(exact)
    return {"relative_error": found, "relative_lo": found - half, "relative_hi": found + half}


def sheet(table: pd.DataFrame) -> Sheet:
    """Points down, estimates across; a last line of medians over the samplers that have all estimates of a divergence."""
    found: dict[tuple[str, str, str], dict[Any, Any]] = {
        (row["point"], row["divergence"], row["estimator"]): row
        for row in table.to_dict("records")
        if row["estimator"] in PAIRS.get(row["divergence"], ())
    }
    points = [p for p in dict.fromkeys(table["point"].astype(str)) if p != divergence_numbers.NULL]
    known = {d: [p for p in points if all(_known(found, p, d, e) for e in PAIRS[d])] for d in PAIRS}
    shown = [d for d in PAIRS if any(_known(found, p, d, e) for p in points for e in PAIRS[d])]
    pairs = [(d, e) for d in shown for e in PAIRS[d]]
    body = [
        [divergence_numbers.point_label(p), *(_cell(found.get((p, d, e))) for d, e in pairs)] for p in points
    ]
    medians = {(d, e): _median(found, known[d], d, e) for d, e in pairs}
    body.append(["median size", *(f"{100 * m:.0f}" if not math.isnan(m) else "–" for m in medians.values())])
    header = [
        "",
        *(
            f"{NAMES[d]} {_INTEGRAL}" if e == "integral" else divergence_numbers.heading(d, e)
            for d, e in pairs
        ),
    ]
    notes = [
        "(Estimate − exact) / exact; ± 95 %, as if both errors were independent. What a grader does not see is missing, and not in "
        f"equal parts of every sampler. Median: over the samplers that have all estimates of a divergence. {_best(medians, known)}",
        " ".join(filter(None, [CAVEAT, _example(table)])),
    ]
    lost = [NAMES[d] for d in PAIRS if d not in shown and any(d == key[1] for key in found)]
    if lost:
        notes.append(
            f"{', '.join(lost)}: the exact value is not estimable for any sampler, nothing to compare with."
        )
    return Sheet(
        "Relative error against the exact divergence, %", header, body, notes, "l" + "r" * len(pairs)
    )


def _known(found: dict[Any, Any], point: str, divergence: str, estimator: str) -> bool:
    row = found.get((point, divergence, estimator))
    return row is not None and not math.isnan(row["relative_error"])


def _cell(row: Any) -> str:
    if row is None:
        return "–"
    if math.isnan(row["relative_error"]):
        return divergence_numbers.NOT_ESTIMABLE
    half = (row["relative_hi"] - row["relative_lo"]) / 2
    shown = round(100 * row["relative_error"]) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{shown:.0f} ± {100 * half:.0f}".replace("-", "−")


def _median(found: dict[Any, Any], points: list[str], divergence: str, estimator: str) -> float:
    sizes = pd.Series([abs(found[p, divergence, estimator]["relative_error"]) for p in points], dtype=float)
    return float(sizes.median())


def _best(medians: dict[tuple[str, str], float], known: dict[str, list[str]]) -> str:
    """`Best: of KL(p‖q) the σ integral, 54 % over 6 samplers; …`."""
    told = []
    for divergence in dict.fromkeys(d for d, _ in medians):
        mine = {e: m for (d, e), m in medians.items() if d == divergence and not math.isnan(m)}
        if mine:
            e = min(mine, key=lambda name: mine[name])
            name = _INTEGRAL if e == "integral" else divergence_numbers.estimator_label(e).removeprefix("≥ ")
            n = len(known[divergence])
            told.append(
                f"of {NAMES[divergence]} {name}, {100 * mine[e]:.0f} % ({n} sampler{'s' if n > 1 else ''})"
            )
    return f"Smallest median: {'; '.join(told)}." if told else ""


def _example(table: pd.DataFrame) -> str:
    """The sampler with the smallest bound against no guidance: reduction of the exact JS, reduction of the bound."""
    js = table[
        (table["divergence"] == "js") & (table["status"] == OK) & (table["point"] != divergence_numbers.NULL)
    ]
    exact, bound = (
        {str(row["point"]): float(row["value"]) for row in js[js["estimator"] == e].to_dict("records")}
        for e in ("exact", "nwj")
    )
    both = [p for p in bound if p in exact]
    plain = next((p for p in both if names.split_point(p)[0] == "none"), "")
    least = min(both, key=lambda p: bound[p], default="")
    if least == plain or not plain or bound[plain] <= 0:
        return ""
    change = [100 * (values[least] / values[plain] - 1) for values in (exact, bound)]
    return (
        f"The smallest bound here, {divergence_numbers.point_label(least)}: against no guidance the exact JS changes by {change[0]:+.0f} %, its "
        f"bound by {change[1]:+.0f} %.".replace("-", "−")
    )
