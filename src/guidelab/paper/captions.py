# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Captions of figures that need several sentences: what is drawn, of how many samples, what bars and bands cover."""

import math
from typing import Any

import pandas as pd

_EXACT = (
    "means over p, {n} real points a bin that no net has seen; a and products in "
    "nats per unit of ln σ. a: mismatch, exact, and KL(p‖q)'s own product, whose weight is 1; s is the score that is sampled with. "
    "r and d are the grader's, so no weight or product is a bound. b: exactly 1 (line) for the true r, so what is seen there is the "
    "grader's error. Bands 95 % over points; × and gaps: not estimable, a few points carry the mean"
)
_BOUNDS = (
    "{n} test images (g, h: a side) in a bin, no net has seen them. "
    "a, b: held-out denoising loss that guidance removes, and that the grader's gradient would remove after it, nats per unit of ln σ: "
    "lower bounds of the score error; below 0 it harms. c, d: b under each divergence's weight by the grader's r, no bounds. e: exactly 1 "
    "for the true r, so what is seen there is the grader's error. g, h: lower bounds, means over a bin; of DG's samplers lowered by "
    "more than their divergence, not to be ranked by. A grader may use traces in pixels that no eye sees. Black line: where nothing "
    "differs. Bands 95 % over images; × and gaps: not estimable"
)


def along(rows: pd.DataFrame, *, exact: bool) -> str:
    """Of curves along sigma."""
    low, high = int(rows["n"].min()), int(rows["n"].max())
    counted = f"{low:,} to {high:,}" if low < high else f"{low:,}"
    return f"{_range(rows)}; {(_EXACT if exact else _BOUNDS).format(n=counted)}"


def _range(rows: pd.DataFrame) -> str:
    seeds = ", ".join(map(str, sorted(set(rows["train_seed"]))))
    span = f"σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}, {rows['sigma'].nunique()} bins"
    return f"training seed {seeds}; {span}"


def calibration(rows: pd.DataFrame) -> str:
    """Of estimates against their truths."""
    here = rows[rows["divergence"] != "score_error"]
    n = int(rows["n"].min())
    return (
        f"one training; divergences at σ = {here['sigma_lo'].min():g} (integral: to {here['sigma_hi'].max():g}), gains over "
        f"σ {rows['sigma_lo'].min():g} to {rows['sigma_hi'].max():g}; at least {n:,} real points and samples no net has seen; exact: "
        "log-densities of the sampler's flow, for gains the true score; bars 95 % over points; a bound may lie "
        "anywhere below the diagonal, and that of a sampler guided by a discriminator of the grader's kind lies lower for it: do not rank by bounds"
    )


def divergence_points(rows: pd.DataFrame, shown: list[str]) -> str:
    """Of bounds of images by point; `shown`: the panels."""
    n = int(rows.loc[rows["bound"] == "yes", "n"].min())
    lost = [panel for panel in dict.fromkeys(rows["panel"]) if panel not in shown]
    missing = f"; left out, not estimable for any sampler: {'; '.join(lost)}" if lost else ""
    return (
        f"points from top to bottom as in the legend; one training; bounds: lower bounds (NWJ) on at least {n:,} test images and samples a side that no net has seen, by a discriminator "
        "trained for each sampler; those of DG's samplers are lowered by more than their divergence, not to be ranked by; features: clean "
        f"images without their classes, JS is at most {math.log(2):.2f}; gain: held-out denoising loss removed, σ of the grader. A grader may "
        "use traces in pixels that no eye sees. FID and recall: report blocks. Bars 95 %, over images; black line: nothing differs; × at "
        f"the right: not estimable{missing}"
    )


def divergence_weight(rows: pd.DataFrame) -> str:
    """Of exact divergences over the weight with bounds."""
    measured, bounds = (rows[rows["source"] == source] for source in ("measured", "bound"))
    n = int(measured["n_generated"].max())
    graded = (
        f"; small circles and bars: one training, the graded one; bounds (NWJ) on {int(bounds['n_generated'].min()):,} points a side that "
        "no net has seen: a bound may lie anywhere below its circle, and that of DG lies lower for being guided by a net of the grader's "
        "kind; do not rank by bounds"
        if len(bounds)
        else ""
    )
    return (
        f"curves: exact divergences at the lowest σ, and metrics of blocks of up to {n:,} samples; bands 95 %, over trainings (filled) or "
        f"samples of one (open){graded}"
    )


def grid(table: pd.DataFrame, blocks: list[pd.DataFrame], info: dict[str, Any]) -> str:
    """Which seeds, and that every row has the same ones."""
    settings = info["settings"]
    where = f"block {settings.get('block', '')}, training {settings.get('train_seed', 0)}"
    seeds = f"seeds {table['seed'].min()} to {table['seed'].max()} of {where}"
    if settings.get("labels"):
        how = f"{seeds}, the first {settings['n']} of each class"
    else:
        shown, held = blocks[0]["column"].nunique(), table["column"].nunique()
        how = f"of {seeds}, the {shown} of {held} columns that differ most from the first row (mean squared difference)"
    return f"a column has one sample seed and one class; {how}"
