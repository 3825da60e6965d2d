# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The printed table of divergences of images: bounds in pixels and in features, gains, calibration; the null first."""

from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names
from guidelab.paper.cells import Sheet
from guidelab.paper.sigma import numbers
from guidelab.paper.sigma.numbers import FOUND, NAMES

PIXELS = (
    "Pixels at low σ: any grader tells samples from photographs by traces no eye sees, so these numbers saturate and say little "
    "of quality; a bound is as good as its grader, and a larger net finds more. Read them along σ and beside the features."
)
_BOUNDS = (("kl", "dv"), ("kl_reverse", "nwj"), ("js", "nwj"), ("hellinger2", "nwj"), ("chi2", "nwj"))


def to_markdown(rows: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The table as Markdown; `rows` are all rows of one experiment."""
    return markdown.document(_title(spec), _sheets(rows))


def to_latex(rows: pd.DataFrame, spec: dict[str, Any]) -> str:
    """The table as LaTeX, by booktabs."""
    return latex.document(_title(spec), _sheets(rows))


def _title(spec: dict[str, Any]) -> str:
    return f"{spec['experiment']}, {names.scale_name(str(spec['scale']))}: divergences"


def spaces(rows: pd.DataFrame) -> list[str]:
    """The feature spaces of the rows, in their order."""
    found = rows[rows["estimator"].str.startswith("auc@")]["estimator"]
    return [name.partition("@")[2] for name in dict.fromkeys(found)]


def _sheets(rows: pd.DataFrame) -> list[Sheet]:
    kinds = {kind: rows[rows["kind"] == kind] for kind in ("estimate", "curve", "check")}
    pixels = kinds["estimate"][~kinds["estimate"]["estimator"].str.contains("@")]
    low, high = float(pixels["sigma_lo"].min()), float(pixels["sigma_hi"].max())
    n = int(pixels["n"].min())
    said = f"In expectation a lower bound, on at least {n:,} test images and samples a side that no net has seen. {FOUND}"
    found = [
        _table(pixels, f"Divergence of images and classes at σ = {low:g}, nats: lower bounds by the grader", list(_BOUNDS),
               [said, PIXELS]),
        _along(kinds["curve"], "js", "nwj", "JS by noise level, nats: lower bounds", said),
        _features(rows),
        _table(pixels, f"Held-out denoising loss removed, σ {low:g} to {high:g}, nats",
               [("score_error", "gain_guidance"), ("score_error", "gain_grader")],
               ["Gain of guidance: loss of the main net minus loss of the guided one, on test images; of the grader: what its "
                "gradient would take off the sampler's. Each is a lower bound of the score error it removes from; negative: it harms. "
                f"{FOUND}"]),
        _along(kinds["curve"], "score_error", "gain_guidance", "Gain of guidance by noise level, nats per unit of ln σ", FOUND),
        _table(pixels, f"The sigma integral by the grader's gradient, σ {low:g} to {high:g}, nats: no bound",
               [(d, "integral") for d in NAMES if d != "score_error"],
               ["A mean of squares: the null's is what the grader's own noise adds to every other. Not a bound. " + FOUND]),
        _checks(rows, kinds["check"]),
    ]  # fmt: skip
    return [sheet for sheet in found if sheet.body]


def _points(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["point"]))


def _table(rows: pd.DataFrame, title: str, pairs: list[tuple[str, str]], notes: list[str]) -> Sheet:
    """Points down, estimates across."""
    body = []
    for point in _points(rows):
        mine = rows[rows["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append([numbers.point_label(point), *(_cell(c) for c in cells)])
    header = ["", *(numbers.heading(d, e) for d, e in pairs)]
    return Sheet(title, header, body, notes, "l" + "r" * len(pairs))


def _cell(found: pd.DataFrame) -> str:
    return numbers.cell(numbers.interval(found.iloc[0].to_dict())) if len(found) else "–"


def _along(curves: pd.DataFrame, divergence: str, estimator: str, title: str, note: str) -> Sheet:
    """Points down, noise bins across."""
    shown = curves[(curves["divergence"] == divergence) & (curves["estimator"] == estimator)]
    bins = list(dict.fromkeys(zip(shown["sigma_lo"], shown["sigma_hi"], strict=True)))
    body = [
        [numbers.point_label(point), *(_cell(shown[(shown["point"] == point) & (shown["sigma_lo"] == lo)]) for lo, _ in bins)]
        for point in _points(shown)
    ]  # fmt: skip
    header = ["σ", *(f"{lo:.2g}–{hi:.2g}" for lo, hi in bins)]
    return Sheet(title, header, body, [note], "l" + "r" * len(bins))


def _features(rows: pd.DataFrame) -> Sheet:
    """Bounds and the two-sample test in every feature space."""
    body, known = [], spaces(rows)
    for point in _points(rows):
        mine = rows[rows["point"] == point]
        cells = [numbers.point_label(point)]
        for name in known:
            cells += [
                _cell(mine[(mine["estimator"] == f"{e}@{name}") & (mine["divergence"] == d)])
                for d, e in (("js", "nwj"), ("kl", "dv"))
            ]
            p = mine[mine["estimator"] == f"p_value@{name}"]["value"].astype(float)
            cells += [_cell(mine[mine["estimator"] == f"auc@{name}"]), f"{p.iloc[0]:.3f}" if len(p) else "–"]
        body.append(cells)
    header = ["", *(f"{name}: {what}" for name in known for what in ("JS ≥", "KL(p‖q) ≥ DV", "AUC", "p"))]
    told = rows[rows["estimator"].str.contains("@", regex=False)]["n"]
    n = int(told.min()) if len(told) else 0
    note = (
        f"Clean images, without their classes; a small net on the features, stopped early, on at least {n:,} test vectors a side it "
        f"was not trained on; p: two-sample test of its accuracy by shuffled labels. {FOUND}"
    )
    return Sheet("Divergence in feature spaces, nats: lower bounds", header, body, [note], "l" + "r" * (4 * len(known)))  # fmt: skip


def _checks(rows: pd.DataFrame, checks: pd.DataFrame) -> Sheet:
    """Is the grader calibrated, and does it tell the sides apart at all."""
    body = []
    for point in _points(rows):
        mine = checks[checks["point"] == point]
        cells = [numbers.point_label(point)]
        for name in ("ratio_mean", "inverse_ratio_mean", "ece"):
            found = mine[mine["estimator"] == name]["value"].astype(float)
            cells.append(f"{found.min():.3f}–{found.max():.3f}" if len(found) else "–")
        cells.append(str(int(((mine["estimator"] == "scale") & ~mine["note"].astype(str).str.startswith("did not")).sum())))  # fmt: skip
        for name in ("accuracy", "auc", "p_value"):
            found = mine[mine["estimator"] == name]["value"].astype(float)
            cells.append(f"{found.iloc[0]:.3f}" if len(found) else "–")
        body.append(cells)
    header = ["", "E_q r", "E_p 1/r", "ECE", "bins recalibrated", "accuracy", "AUC", "p"]
    note = "Range over the noise bins (1 and 1 when calibrated); accuracy, AUC and p of the two-sample test at the lowest σ."
    return Sheet("Calibration of the graders, and whether they tell real from generated in pixels", header, body, [note], "lrrrrrrr")  # fmt: skip
