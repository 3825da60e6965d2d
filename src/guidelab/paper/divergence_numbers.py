# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""How numbers about divergences are named, bounded by intervals and printed."""

import math
from typing import Any

import pandas as pd

from guidelab.paper import names

OK, NOT_ESTIMABLE = "ok", "not estimable"
Z95 = 1.959963984540054
FOUND = "± 95 % over points, for these nets."
# On toy2d DG lowers the exact JS by a tenth and its bound by half: guide and grader see the same.
CAVEAT = (
    "Bounds of samplers guided by a discriminator of the grader's kind are lowered by more than their divergence: do not rank by "
    "them."
)
MANY = (
    "DV, Donsker–Varadhan: a bound for many points only, the logarithm of its mean lies above at few. Numbers of the grader as "
    "recalibrated on other points, which leaves a bound a bound."
)
NAMES = {
    "kl": "KL(p‖q)",
    "kl_reverse": "KL(q‖p)",
    "js": "JS",
    "chi2": "Pearson χ²",
    "chi2_neyman": "Neyman χ²",
    "hellinger2": "H²",
    "score_error": "score error",
}
_ESTIMATORS = {
    "exact": "exact",
    "dv": "DV, many points",
    "nwj": "≥ NWJ",
    "nwj_raw": "≥ NWJ, not recalibrated",
    "plug_in": "plug-in",
    "integral": "",
    "score_error_main": "main net",
    "score_error_sampler": "sampler",
    "gain_guidance": "gain of guidance",
    "gain_guidance_target": "exact",
    "gain_grader": "gain of grader",
    "gain_grader_target": "exact",
}
NULL = "real_vs_real"
TOTALS = (
    "truth",
    "estimate",
    "target",
)  # kinds of rows that are a number of their own, not one of a curve or a check
_ROUNDING = 1e-12  # what sums of ones minus ones leave: a ratio recalibrated to a constant 1 has divergence 0


def exact_known(rows: pd.DataFrame) -> bool:
    """Whether exact values stand among the rows: the density of the data is known."""
    return bool((rows["kind"] == "truth").any())


def spaces(rows: pd.DataFrame) -> list[str]:
    """The feature spaces of the rows, in their order."""
    found = rows[rows["estimator"].str.startswith("auc@")]["estimator"]
    return [name.partition("@")[2] for name in dict.fromkeys(found)]


def point_label(point: str) -> str:
    """`cfg/w4.00` -> `CFG, w = 4`; the null has a label of its own."""
    return "real against real" if point == NULL else names.point_label(point)


def estimator_label(estimator: str) -> str:
    """`≥ NWJ`; one this list does not know keeps its own name."""
    return _ESTIMATORS.get(estimator, estimator.replace("_", " "))


def heading(divergence: str, estimator: str) -> str:
    """`KL(p‖q) ≥ NWJ`."""
    told = estimator_label(estimator)
    return told if divergence == "score_error" else f"{NAMES.get(divergence, divergence)} {told}".strip()


def interval(row: dict[Any, Any]) -> dict[str, Any]:
    """value, lo, hi and status of one row; a flagged value keeps its number and has no interval."""
    value, error = (0.0 if abs(x) < _ROUNDING else x for x in (float(row["value"]), float(row["std_error"])))
    flagged = str(row.get("note", "")).startswith(NOT_ESTIMABLE) or not math.isfinite(value)
    half = math.nan if flagged else Z95 * error
    return {
        "value": value,
        "lo": value - half,
        "hi": value + half,
        "status": NOT_ESTIMABLE if flagged else OK,
    }


def cell(row: Any) -> str:
    """`0.170 ± 0.005`, to the digits its interval allows; `not estimable`."""
    if row["status"] != OK:
        return NOT_ESTIMABLE
    value, half = float(row["value"]), (float(row["hi"]) - float(row["lo"])) / 2
    if half == 0 or math.isnan(half):
        return f"{value:.3g}".replace("-", "−")
    digits = max(0, 1 - math.floor(math.log10(half)))
    shown = round(value, digits) + 0.0
    return f"{shown:.{digits}f} ± {half:.{digits}f}".replace("-", "−")
