# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The table sections on the grader: calibration, effect of recalibration, two-sample tests."""

import math

import pandas as pd

from guidelab.paper import divergence_numbers
from guidelab.paper.cells import Sheet

_OFF = 1e-6  # a scale this small leaves nothing of the logit
_CHECKS = ("ratio_mean", "inverse_ratio_mean", "ratio_mean_raw", "inverse_ratio_mean_raw")


def recalibrated(rows: pd.DataFrame) -> Sheet:
    """JS by the grader as recalibrated and as trained, and in how many bins recalibration was applied."""
    body = []
    for point in dict.fromkeys(rows["point"]):
        mine = rows[rows["point"] == point]
        bounds = mine[(mine["kind"] == "estimate") & (mine["divergence"] == "js")]
        cells = [_cell(bounds[bounds["estimator"] == name]) for name in ("nwj", "nwj_raw")]
        body.append([divergence_numbers.point_label(str(point)), *cells, _changed(mine), *_pair(mine, "ece")])
    header = [
        "",
        "JS ≥ NWJ",
        "JS ≥ NWJ, not recalibrated",
        "bins recalibrated",
        "worst ECE",
        "not recalibrated",
    ]
    note = (
        "A scale and a bias of the logit in each noise bin, fitted on other points, where they lower the cross-entropy of points "
        "the fit did not use. ECE: expected calibration error, largest over bins; in brackets what a calibrated grader would show "
        "there. Switched off: with a scale of 0, where the logit helped nothing: a bound there is 0. Every other number of these tables is of the recalibrated grader, those of feature spaces excepted."
    )
    return Sheet("What recalibration changes, at the lowest σ, nats", header, body, [note], "lrrrrr")


def checks(rows: pd.DataFrame, where: str = "") -> Sheet:
    """The worst noise bin of each check with its interval; the two-sample test."""
    body = []
    for point in dict.fromkeys(rows["point"]):
        mine = rows[(rows["point"] == point) & (rows["kind"] == "check")]
        cells = [_worst(mine[mine["estimator"] == name]) for name in _CHECKS]
        tests = [
            mine[mine["estimator"] == name]["value"].astype(float) for name in ("accuracy", "auc", "p_value")
        ]
        body.append(
            [
                divergence_numbers.point_label(str(point)),
                *cells,
                *(f"{t.iloc[0]:.3f}" if len(t) else "–" for t in tests),
            ]
        )
    header = [
        "",
        "E_q r",
        "E_p 1/r",
        "E_q r, not recalibrated",
        "E_p 1/r, not recalibrated",
        "accuracy",
        "AUC",
        "p",
    ]
    notes = [
        "E_q r and E_p 1/r: 1 when calibrated; printed is the noise bin farthest from 1 with its own 95 % interval; being the farthest "
        "of several it often leaves out 1 by chance. n. e.: bins that are not estimable. Accuracy, AUC and the p-value of the two-sample "
        "test: at the lowest σ."
    ]
    title = f"Calibration of the graders, and whether they tell real from generated{where}"
    return Sheet(title, header, body, notes, "lrrrrrrr")


def _cell(found: pd.DataFrame) -> str:
    return (
        divergence_numbers.cell(divergence_numbers.interval(found.iloc[0].to_dict())) if len(found) else "–"
    )


def _changed(mine: pd.DataFrame) -> str:
    """`4 of 8`, and in how many of them nothing of the logit is left."""
    scales = mine[(mine["kind"] == "check") & (mine["estimator"] == "scale")]
    helped = scales[~scales["note"].astype(str).str.startswith("did not")]
    flat = int((helped["value"].astype(float).abs() < _OFF).sum())
    return (
        f"{len(helped)} of {len(scales)}" + (f", {flat} switched off" if flat else "") if len(scales) else "–"
    )


def _pair(mine: pd.DataFrame, name: str) -> list[str]:
    """A calibration error of the recalibrated grader and of the one as trained."""
    cells = []
    for estimator in (name, f"{name}_raw"):
        found = mine[(mine["kind"] == "check") & (mine["estimator"] == estimator)]
        if found.empty:
            cells.append("–")
            continue
        worst = found.iloc[int(found["value"].to_numpy(float).argmax())]
        floor = str(worst["note"]).partition(" on average")[0]
        cells.append(
            f"{float(worst['value']):.3f} ({float(floor):.3f})" if floor else f"{float(worst['value']):.3f}"
        )
    return cells


def _worst(found: pd.DataFrame) -> str:
    """`1.068 ± 0.040`: of the bins that are estimable the one farthest from 1, by its logarithm."""
    told = [divergence_numbers.interval(row) for row in found.to_dict("records")]
    sound = [t for t in told if t["status"] == divergence_numbers.OK and t["value"] > 0]
    lost = f"{len(told) - len(sound)} n. e." if len(sound) < len(told) else ""
    if not sound:
        return divergence_numbers.NOT_ESTIMABLE if told else "–"
    cell = divergence_numbers.cell(max(sound, key=lambda t: abs(math.log(t["value"]))))
    return f"{cell}; {lost}" if lost else cell
