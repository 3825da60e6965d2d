# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The printed table of divergences of images: bounds in pixels and in features, gains, calibration; the null first."""

import math
from typing import Any

import pandas as pd

from guidelab.paper import latex, markdown, names
from guidelab.paper.cells import Sheet
from guidelab.paper.sigma import grader, numbers
from guidelab.paper.sigma.numbers import CAVEAT, FOUND, MANY, NAMES

PIXELS = (
    "Pixels: a grader may tell samples from photographs by traces no eye sees, most of all at low σ, so these numbers are no measure of "
    "what eyes see; and a bound is as good as its grader, a larger net finds more. Read them along σ and beside the features."
)
_FULL = math.log(2)  # nats: JS of laws that do not overlap
_NEAR = 0.8  # of it: what is so far up says little of how far
_BOUNDS = (
    ("kl", "nwj"),
    ("kl", "dv"),
    ("kl_reverse", "nwj"),
    ("js", "nwj"),
    ("hellinger2", "nwj"),
    ("chi2", "nwj"),
)
_IN_FEATURES = (("js", "nwj"), ("kl", "nwj"), ("kl", "dv"))
NOTHING = (
    "Nothing found: no net did better on validation than none, so that none was kept, and its bound is 0."
)


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
    said = f"NWJ: in expectation a lower bound, on at least {n:,} test images and samples a side that no net has seen. {MANY} {FOUND}"
    along = f"In expectation a lower bound of the mean over the bin, by the recalibrated grader. {FOUND}"
    found = [
        _table(pixels, f"Divergence of images and classes at σ = {low:g}, nats: lower bounds by the grader", list(_BOUNDS),
               [said, CAVEAT, PIXELS]),
        _along(kinds["curve"], "js", "nwj", "JS by noise level, nats: lower bounds", along),
        _features(rows),
        _table(pixels, f"Held-out denoising loss removed, σ {low:g} to {high:g}, nats",
               [("score_error", "gain_guidance"), ("score_error", "gain_grader")],
               ["Gain of guidance: loss of the main net minus loss of the guided one, on test images; of the grader: what its "
                "gradient would take off the sampler's. Each is a lower bound of the score error it removes from; negative: it harms. "
                f"{FOUND}"]),
        _along(kinds["curve"], "score_error", "gain_guidance", "Gain of guidance by noise level, nats per unit of ln σ", FOUND),
        _table(pixels, f"The sigma integral by the grader's gradient, σ {low:g} to {high:g}, nats: no bound",
               [(d, "integral") for d in NAMES if d != "score_error"],
               ["A mean of squares, so never below 0: a grader's noise adds to it, how much is not known (the null's grader is another net, stopped by "
                "its own validation, and no measure of it). Not a bound: right only as far as the grader's gradient is. " + FOUND]),
        grader.recalibrated(rows),
        grader.checks(rows, " in pixels"),
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
            found = [
                mine[(mine["estimator"] == f"{e}@{name}") & (mine["divergence"] == d)]
                for d, e in _IN_FEATURES
            ]
            cells += [_found(f) for f in found]
            p = mine[mine["estimator"] == f"p_value@{name}"]["value"].astype(float)
            cells += [_cell(mine[mine["estimator"] == f"auc@{name}"]), f"{p.iloc[0]:.3f}" if len(p) else "–"]
        body.append(cells)
    columns = [*(numbers.heading(d, e) for d, e in _IN_FEATURES), "AUC", "p"]
    header = ["", *(f"{name}: {what}" for name in known for what in columns)]
    told = rows[rows["estimator"].str.contains("@", regex=False)]["n"]
    n = int(told.min()) if len(told) else 0
    notes = [
        f"Clean images, without their classes; a small net on the features, stopped early, on at least {n:,} test vectors a side it "
        f"was not trained on; not recalibrated. p: two-sample test of its accuracy by shuffled labels. {NOTHING} {FOUND}",
        *(_saturated(rows, name) for name in known),
    ]
    title = "Divergence in feature spaces, nats: lower bounds"
    return Sheet(title, header, body, list(filter(None, notes)), "l" + "r" * (len(columns) * len(known)))


def _found(rows: pd.DataFrame) -> str:
    """A cell, or that training found nothing to keep."""
    nothing = len(rows) and str(rows["note"].iloc[0]).startswith("nothing found")
    return "nothing found" if nothing else _cell(rows)


def _saturated(rows: pd.DataFrame, space: str) -> str:
    """What to say of a space in which every sampler's bound is near the largest JS there is."""
    found = rows[
        (rows["estimator"] == f"nwj@{space}") & (rows["divergence"] == "js") & (rows["point"] != numbers.NULL)
    ]
    values = found["value"].astype(float)
    if values.empty or values.min() < _NEAR * _FULL:
        return ""
    return (
        f"{space} tells every sampler from real images: JS {values.min():.2f} to {values.max():.2f} of at most log 2 = {_FULL:.2f}, "
        "saturated, so that it ranks little."
    )
