# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""The printed sections of the divergence table: with exact values if known, and in feature spaces."""

import math

import pandas as pd

from guidelab.paper import divergence_errors, divergence_grader, divergence_numbers, divergence_repeats
from guidelab.paper.cells import Sheet
from guidelab.paper.divergence_numbers import CAVEAT, FOUND, MANY, NAMES

PIXELS = (
    "Pixels: a grader may tell samples from photographs by traces no eye sees, most of all at low σ, so these numbers are no measure of "
    "what eyes see; and a bound is as good as its grader, a larger net finds more. Read them along σ and beside the features."
)
NOTHING = (
    "Nothing found: no net did better on validation than none, so that none was kept, and its bound is 0."
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
_WITH_TRUTH = {"kl": ("nwj", "dv"), "kl_reverse": ("nwj",), "js": ("nwj",), "chi2": ("nwj",)}
_GAINS = ("gain_guidance", "gain_grader")
_IN_FEATURES = (("js", "nwj"), ("kl", "nwj"), ("kl", "dv"))
_INTEGRALS = [(d, "integral") for d in NAMES if d != "score_error"]


def sheets(table: pd.DataFrame, rows: pd.DataFrame) -> list[Sheet]:
    """The sheets that have a line.

    Args:
        table: of `table.make_table`.
        rows: of `guidelab diverge`, all points of one experiment.
    """
    found = _exact(table, rows) if divergence_numbers.exact_known(rows) else _bounds(rows)
    return [sheet for sheet in found if sheet.body]


def _exact(table: pd.DataFrame, rows: pd.DataFrame) -> list[Sheet]:
    """Estimates beside exact values."""
    low = f"{table['sigma_lo'].min():g}"
    span = f"{low} to {table['sigma_hi'].max():g}"
    known = [d for d in _WITH_TRUTH if (table["divergence"] == d).any()]
    errors = ["score_error_main", "score_error_sampler"]
    errors += [name for gain in _GAINS for name in (gain, f"{gain}_target")]
    return [
        _across(rows, f"Divergence at σ = {low}, nats: exact, and lower bound by the grader",
            [(d, e) for d in known for e in ("exact", *_WITH_TRUTH[d])],
            [f"NWJ: in expectation a lower bound for any number of points; here {_sizes(table)} that no net has seen. {MANY} {FOUND}",
             "Exact: log-densities of the sampler's flow at this σ, before its last step. Bounds: of its final samples, with noise of this σ "
             "added, so with that step's error in them; KL(q‖p) feels it most.",
             CAVEAT]),
        divergence_errors.sheet(table),
        _across(rows, f"Score error and gains, σ {span}, nats", [("score_error", e) for e in errors],
            ["Score error: of the main net and of the guided score, exact. Gain: how much of it a term removes, from real points "
             f"alone; a lower bound of the error, negative where the term harms. Exact: by the true score. {FOUND}"]),
        _across(rows, f"The sigma integral by the grader's gradient, σ {span}, nats: no bound", _INTEGRALS,
            ["Each under the measure that keeps its weight bounded or lets it grow least, with the divergence at the upper end. Not a "
             f"bound: right only as far as the grader's gradient is. {FOUND}"]),
        divergence_grader.recalibrated(rows),
        *divergence_repeats.sheets(table),
        divergence_grader.checks(rows),
    ]  # fmt: skip


def _bounds(rows: pd.DataFrame) -> list[Sheet]:
    """Lower bounds of images, in pixels and in features."""
    estimates, curves = rows[rows["kind"] == "estimate"], rows[rows["kind"] == "curve"]
    pixels = estimates[~estimates["estimator"].str.contains("@")]
    low, high = float(pixels["sigma_lo"].min()), float(pixels["sigma_hi"].max())
    said = (
        f"NWJ: in expectation a lower bound, on at least {int(pixels['n'].min()):,} test images and samples a side that no net has seen. "
        f"{MANY} {FOUND}"
    )
    along = f"In expectation a lower bound of the mean over the bin, by the recalibrated grader. {FOUND}"
    return [
        _across(rows, f"Divergence of images and classes at σ = {low:g}, nats: lower bounds by the grader", list(_BOUNDS),
            [said, CAVEAT, PIXELS]),
        _along(curves, "js", "nwj", "JS by noise level, nats: lower bounds", along),
        _features(rows),
        _across(rows, f"Held-out denoising loss removed, σ {low:g} to {high:g}, nats", [("score_error", e) for e in _GAINS],
            ["Gain of guidance: loss of the main net minus loss of the guided one, on test images; of the grader: what its "
             "gradient would take off the sampler's. Each is a lower bound of the score error it removes from; negative: it harms. "
             f"{FOUND}"]),
        _along(curves, "score_error", "gain_guidance", "Gain of guidance by noise level, nats per unit of ln σ", FOUND),
        _across(rows, f"The sigma integral by the grader's gradient, σ {low:g} to {high:g}, nats: no bound", _INTEGRALS,
            ["A mean of squares, so never below 0: a grader's noise adds to it, how much is not known (the null's grader is another net, stopped by "
             "its own validation, and no measure of it). Not a bound: right only as far as the grader's gradient is. " + FOUND]),
        divergence_grader.recalibrated(rows),
        divergence_grader.checks(rows, " in pixels"),
    ]  # fmt: skip


def _sizes(table: pd.DataFrame) -> str:
    """`8,192 real points and samples (real against real: 3,072)`."""
    null = table["point"] == divergence_numbers.NULL
    few, many = (int(table.loc[m, "n"].min()) if m.any() else 0 for m in (null, ~null))
    if not few or not many or few == many:
        return f"at least {few or many:,} real points and samples"
    return f"at least {many:,} real points and samples (real against real: {few:,} a side)"


def _points(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["point"]))


def _cell(found: pd.DataFrame) -> str:
    return (
        divergence_numbers.cell(divergence_numbers.interval(found.iloc[0].to_dict())) if len(found) else "–"
    )


def _across(rows: pd.DataFrame, title: str, pairs: list[tuple[str, str]], notes: list[str]) -> Sheet:
    """Points down, estimates and their truths across."""
    body, totals = [], rows[rows["kind"].isin(divergence_numbers.TOTALS)]
    for point in _points(totals):
        mine = totals[totals["point"] == point]
        cells = [mine[(mine["divergence"] == d) & (mine["estimator"] == e)] for d, e in pairs]
        body.append([divergence_numbers.point_label(point), *(_cell(c) for c in cells)])
    header = ["", *(divergence_numbers.heading(d, e) for d, e in pairs)]
    return Sheet(title, header, body, notes, "l" + "r" * len(pairs))


def _along(curves: pd.DataFrame, divergence: str, estimator: str, title: str, note: str) -> Sheet:
    """Points down, noise bins across."""
    shown = curves[(curves["divergence"] == divergence) & (curves["estimator"] == estimator)]
    bins = list(dict.fromkeys(zip(shown["sigma_lo"], shown["sigma_hi"], strict=True)))
    body = [
        [divergence_numbers.point_label(point), *(_cell(shown[(shown["point"] == point) & (shown["sigma_lo"] == lo)]) for lo, _ in bins)]
        for point in _points(shown)
    ]  # fmt: skip
    header = ["σ", *(f"{lo:.2g}–{hi:.2g}" for lo, hi in bins)]
    return Sheet(title, header, body, [note], "l" + "r" * len(bins))


def _features(rows: pd.DataFrame) -> Sheet:
    """Bounds and the two-sample test in every feature space."""
    body, known = [], divergence_numbers.spaces(rows)
    for point in _points(rows):
        mine = rows[rows["point"] == point]
        cells = [divergence_numbers.point_label(point)]
        for name in known:
            found = [
                mine[(mine["estimator"] == f"{e}@{name}") & (mine["divergence"] == d)]
                for d, e in _IN_FEATURES
            ]
            cells += [_found(f) for f in found]
            p = mine[mine["estimator"] == f"p_value@{name}"]["value"].astype(float)
            cells += [_cell(mine[mine["estimator"] == f"auc@{name}"]), f"{p.iloc[0]:.3f}" if len(p) else "–"]
        body.append(cells)
    columns = [*(divergence_numbers.heading(d, e) for d, e in _IN_FEATURES), "AUC", "p"]
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
    """The note on a space in which every sampler's bound is near the largest possible JS."""
    found = rows[
        (rows["estimator"] == f"nwj@{space}")
        & (rows["divergence"] == "js")
        & (rows["point"] != divergence_numbers.NULL)
    ]
    values = found["value"].astype(float)
    if values.empty or values.min() < _NEAR * _FULL:
        return ""
    return (
        f"{space} tells every sampler from real images: JS {values.min():.2f} to {values.max():.2f} of at most log 2 = {_FULL:.2f}, "
        "saturated, so that it ranks little."
    )
