# ruff: noqa: RUF001 - true minus signs, dashes and Greek letters are what readers see
"""Pages about divergences: what a table says of a bound, relative errors, the worst bin, lines that break where nothing is known."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from imagenet_cases import ROOT
from matplotlib.figure import Figure

from guidelab.paper import (
    charts,
    divergence_errors,
    divergence_grader,
    divergence_numbers,
    divergence_repeats,
    divergence_sheets,
    divergence_table,
)
from guidelab.paper.figures import along, calibration
from guidelab.paper.figures import divergence_points as points
from guidelab.paper.figures import divergence_weight as weight

SPEC = {"experiment": "e", "scale": "reduced"}
POINTS = [divergence_numbers.NULL, "none/w1.00", "cfg/w2.00", "dg/w1.00"]
EDGES = [0.1, 0.2, 0.4, 0.8]
EXACT = {"none/w1.00": 0.10, "cfg/w2.00": 0.40, "dg/w1.00": 0.09, divergence_numbers.NULL: 0.0}
BOUND = {"none/w1.00": 0.05, "cfg/w2.00": 0.30, "dg/w1.00": 0.009, divergence_numbers.NULL: 3e-17}
SERIES = dict.fromkeys((s, d) for s, d, *_ in (*along.EXACT, *along.BOUNDS))
FLAG = "not estimable: one point holds 30 % of the sum"


def line(point, kind, estimator, divergence, value, error=0.001, note="", **more):
    given = {
        "experiment": "e", "scale": "reduced", "point": point, "train_seed": 0, "kind": kind, "estimator": estimator,
        "divergence": divergence, "sigma_lo": 0.1, "sigma_hi": 0.1, "value": value, "std_error": error, "n": 8192,
        "bound": "yes" if estimator.startswith("nwj") else "no", "note": note,
    }  # fmt: skip
    return given | more


def of_point(point, estimator_tag=""):
    """Rows of one sampler: exact values, bounds, calibration in three bins of which one is flagged, repeats."""
    exact, bound = EXACT[point], BOUND[point]
    made = []
    for d in ("kl", "kl_reverse", "js"):
        made += [line(point, "truth", "exact", d, exact), line(point, "estimate", "nwj", d, bound, 0.002)]
        made += [line(point, "estimate", e, d, 0.8 * exact, 0.002) for e in ("plug_in", "integral")]
    made.append(line(point, "estimate", "dv", "kl", bound, 0.002))
    made.append(line(point, "estimate", "nwj_raw", "js", bound - 0.01, 0.002))
    made += [
        line(point, "truth", "exact", "chi2", 9.0, 9.0, FLAG),
        line(point, "estimate", "nwj", "chi2", 1.0),
    ]
    held = [("nwj", "js", 0.95, "200 repeats; target 0.1 +- 0.1"), ("dv", "kl", 0.77, "200 repeats; target 1 +- 1; 67 repeats flagged"),
            ("nwj", "kl", 0.5, "not estimable: 200 repeats; target 1 +- 1; 150 repeats flagged")]  # fmt: skip
    made += [line(point, "coverage", e, d, v, 0.01, note, n=512) for e, d, v, note in held]
    for k, (lo, hi) in enumerate(pairwise(EDGES)):
        span = {"sigma_lo": lo, "sigma_hi": hi}
        for tag, ratio in (("", (1.02, 0.90, 3000.0)[k]), ("_raw", (1.5, 1.0, 1.0)[k])):
            note = FLAG if ratio > 100 else ""
            made.append(line(point, "check", f"ratio_mean{tag}", "", ratio, 0.02, note, **span))
            made.append(line(point, "check", f"inverse_ratio_mean{tag}", "", 1.0, 0.01, **span))
            made.append(
                line(
                    point,
                    "check",
                    f"ece{tag}",
                    "",
                    0.03 + 0.01 * k,
                    math.nan,
                    "0.0282 on average when calibrated",
                    **span,
                )
            )
        helped = "cross-entropy lower by 0.1" if k else "did not help: not applied"
        made.append(line(point, "check", "scale", "", (1.0, 0.0, 0.9)[k], math.nan, helped, **span))
        for series, divergence in SERIES:
            flagged = FLAG if k == 1 and point == "cfg/w2.00" else ""
            made.append(line(point, "curve", series, divergence, 0.1 + k, 0.01, flagged, n=4000 + k, **span))
    return made


@pytest.fixture(scope="module")
def rows():
    return pd.DataFrame([row for point in POINTS for row in of_point(point)])


@pytest.fixture(scope="module")
def graded(rows):
    """The same samplers where no density is known: nothing exact, nothing that needs it."""
    return without_truths(rows)


def without_truths(rows):
    exact = rows["kind"].isin(("truth", "target", "coverage")) | rows["estimator"].isin(
        ("score_error_sampler", "product")
    )
    return rows[~exact]


def page_of(rows):
    return divergence_table.to_markdown(divergence_table.make_table(rows, SPEC), rows)


@pytest.fixture(scope="module")
def made(rows):
    return divergence_table.make_table(rows, SPEC)


@pytest.fixture(scope="module")
def text(made, rows):
    return divergence_table.to_markdown(made, rows)


def section(text: str, title: str) -> list[list[str]]:
    """The cells of the sheet whose title opens so, its parts side by side."""
    found: list[list[str]] = []
    for part in text.split(f"### {title}")[1:]:
        lines_ = [x for x in part.split("###")[0].splitlines() if x.startswith("|")]
        cells = [[c.strip() for c in x.strip("|").split("|")] for x in lines_ if not x.startswith("| ---")]
        found = [a + b[1:] for a, b in zip(found, cells, strict=True)] if found else cells
    return found


# ---- relative errors ---------------------------------------------------------------------------------------------


def test_relative_errors_carry_the_intervals_of_both_numbers(made):
    row = made.set_index(["point", "divergence", "estimator"]).loc[("cfg/w2.00", "js", "nwj")]
    assert row["relative_error"] == pytest.approx(-0.25)
    half = 1.96 * math.hypot(0.002 / 0.4, 0.001 * 0.3 / 0.4**2)
    assert row["relative_hi"] - row["relative_error"] == pytest.approx(half, rel=1e-3)
    assert row["relative_error"] - row["relative_lo"] == pytest.approx(half, rel=1e-3)


def test_relative_errors_are_undefined_where_the_truth_is_zero_or_not_estimable(made):
    found = made.set_index(["point", "divergence", "estimator"])["relative_error"]
    assert math.isnan(found[divergence_numbers.NULL, "js", "nwj"]) and math.isnan(
        found["cfg/w2.00", "chi2", "nwj"]
    )


def test_the_section_of_relative_errors_names_the_best_estimate_and_what_cannot_be_compared(text):
    cells = section(text, "Relative error")
    js = cells[0].index("JS ≥ NWJ")
    by = {row[0]: row for row in cells[1:]}
    assert by["CFG, w = 2"][js].startswith("−25 ± ") and by["discriminator (DG), w = 1"][js].startswith(
        "−90 ± "
    )
    assert "real against real" not in by  # nothing to be relative to
    assert by["median size"][js] == "50" and by["median size"][cells[0].index("JS plug-in")] == "20"
    assert not any("χ²" in name for name in cells[0])
    assert "Pearson χ²: the exact value is not estimable for any sampler" in text
    assert "of JS plug-in, 20 % (3 samplers)" in text


def test_an_error_that_rounds_to_zero_has_no_sign(rows):
    near = rows.assign(
        value=rows["value"].mask((rows["estimator"] == "integral") & (rows["point"] == "cfg/w2.00"), 0.399)
    )
    body = divergence_errors.sheet(divergence_table.make_table(near, SPEC)).body
    assert any(cell.startswith("0 ± ") for row in body for cell in row) and not any(
        "−0 " in c for r in body for c in r
    )


def test_a_median_compares_estimates_of_the_same_samplers_only(rows):
    lost = (
        (rows["point"] == "cfg/w2.00")
        & (rows["divergence"] == "js")
        & (rows["estimator"] == "nwj")
        & (rows["kind"] == "estimate")
    )
    fewer = rows.assign(note=rows["note"].mask(lost, FLAG))
    body = divergence_errors.sheet(divergence_table.make_table(fewer, SPEC)).body
    (cfg,) = [row for row in body if row[0] == "CFG, w = 2"]
    assert "not estimable" in cfg and any(cell.startswith("−20") for cell in cfg)
    assert "(2 samplers)" in divergence_errors.sheet(divergence_table.make_table(fewer, SPEC)).notes[0]


def test_readers_are_told_that_bounds_favour_guidance_by_a_discriminator(text, graded):
    assert text.count(divergence_numbers.CAVEAT) >= 2  # with the bounds, and with their errors
    assert "the exact JS changes by −10 %, its bound by −82 %" in text
    assert divergence_numbers.CAVEAT in page_of(graded)


@pytest.mark.parametrize("page", ["README.md", "docs/decisions/0009-divergences.md"])
def test_pages_tell_it_too(page):
    words = " ".join((ROOT / page).read_text().split()).lower()
    assert divergence_numbers.CAVEAT.lower().rstrip(".").replace(": do not", "; do not") in words


# ---- what a bound is -----------------------------------------------------------------------------------------------


def test_the_headline_is_nwj_and_donsker_varadhan_is_a_bound_for_many_points(made, text, graded):
    assert set(made.loc[made["estimator"] == "dv", "bound"]) == {"for many points"}
    header = section(text, "Divergence at")[0]
    assert header.index("KL(p‖q) ≥ NWJ") < header.index("KL(p‖q) DV, many points")
    assert not any("≥ DV" in x for x in (text, page_of(graded)))
    assert "before its last step" in text


def test_the_recalibrated_grader_stands_beside_the_one_as_trained(text, graded):
    for page in (text, page_of(graded)):
        cells = section(page, "What recalibration changes")
        by = {row[0]: row for row in cells[1:]}
        assert by["no guidance"][1] == "0.0500 ± 0.0039" and by["no guidance"][2] == "0.0400 ± 0.0039"
        assert by["no guidance"][3] == "2 of 3, 1 switched off"
        assert by["no guidance"][4] == "0.050 (0.028)"


def test_what_sums_leave_of_a_ratio_of_one_is_printed_as_zero(text, rows):
    quiet = rows.assign(std_error=rows["std_error"].mask(rows["point"] == divergence_numbers.NULL, 1e-18))
    by = {row[0]: row for row in section(page_of(quiet), "Divergence at")}
    assert by["real against real"][section(text, "Divergence at")[0].index("JS ≥ NWJ")] == "0"


# ---- calibration, repeats ------------------------------------------------------------------------------------------


def test_calibration_shows_the_worst_bin_with_its_interval_and_counts_those_not_estimable(rows):
    sheet = divergence_grader.checks(rows)
    by = {row[0]: dict(zip(sheet.header, row, strict=True)) for row in sheet.body}
    assert by["CFG, w = 2"]["E_q r"] == "0.900 ± 0.039; 1 n. e."
    assert by["CFG, w = 2"]["E_q r, not recalibrated"] == "1.500 ± 0.039"
    assert by["CFG, w = 2"]["accuracy"] == "–"


def test_shares_of_repeats_say_their_size_and_how_many_were_flagged(made, text):
    held, above = divergence_repeats.sheets(made)
    by = {row[0]: dict(zip(held.header, row, strict=True)) for row in held.body}
    assert by["no guidance"]["KL(p‖q) DV, many points"] == "77.0 (67 flagged)"
    assert by["no guidance"]["KL(p‖q) ≥ NWJ"] == "not estimable"
    assert by["no guidance"]["JS ≥ NWJ"] == "95.0"
    assert "Repeats have 512 points" in held.notes[0] and "8,192" in held.notes[0]
    assert "200 repeats give 95 ± 3.0." in held.notes[0]  # 1.96 sqrt(0.95 x 0.05 / 200)
    assert not above.body  # nothing was held against a truth
    assert "intervals above" not in text


# ---- images --------------------------------------------------------------------------------------------------------


def in_features(space, values, note=""):
    made = []
    for point, value in values.items():
        sound = note if point == divergence_numbers.NULL else ""
        made += [
            line(point, "estimate", f"{e}@{space}", d, value, 0.001, sound)
            for d, e in (("js", "nwj"), ("kl", "nwj"), ("kl", "dv"))
        ]
        made += [line(point, "check", f"{c}@{space}", "", 0.9, 0.01) for c in ("auc", "p_value")]
    return made


def test_a_space_is_called_saturated_only_where_every_sampler_is_near_the_largest_js(graded):
    high = dict(zip(POINTS, (0.0, 0.60, 0.58, 0.61), strict=True))
    low = high | {"dg/w1.00": 0.05}
    told = "nothing found on validation: no net was kept"
    more = pd.DataFrame(in_features("lite0", high, told) + in_features("classifier", low))
    page = page_of(pd.concat([graded, more]))
    assert "lite0 tells every sampler from real images: JS 0.58 to 0.61 of at most log 2 = 0.69" in page
    assert "classifier tells" not in page and "saturate" not in divergence_sheets.PIXELS
    by = {row[0]: row for row in section(page, "Divergence in feature spaces")}
    assert by["real against real"][1:4] == ["nothing found"] * 3
    assert "is what the grader's own noise adds" not in page


# ---- figures -------------------------------------------------------------------------------------------------------


def said(figure: Figure) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.texts).split())


@pytest.mark.parametrize("given", [lambda rows: rows, without_truths], ids=["exact", "bounds"])
def test_lines_break_where_a_bin_is_not_estimable_and_crosses_do_not_cover_each_other(rows, given):
    more = rows.assign(
        note=rows["note"].mask((rows["kind"] == "curve") & (rows["point"] == "dg/w1.00"), FLAG)
    )
    info = {**SPEC, "settings": {"points": ["none", "cfg/w2.00", "dg/w1.00"]}}
    figure = along.make(along.rows({"divergences": given(more)}, info), info)
    for ax in figure.axes:
        curves = [x for x in ax.lines if x.get_linestyle() != "None" and len(x.get_xdata()) == 3]
        gaps = [int(np.isnan(np.asarray(x.get_ydata(), float)).sum()) for x in curves]
        assert sorted(gaps)[-2:] == [1, 3]
        heights = [
            set(np.asarray(x.get_ydata()))
            for x in ax.lines
            if x.get_marker() == "x" and x.get_linestyle() == "None"
        ]
        known = [h.pop() for h in heights if h]
        assert len(known) == len(set(known)) == 2
    assert "exactly 1" in said(figure) and "grader's error" in said(figure)
    assert "4,000 to 4,002" in said(figure)


def test_no_curve_runs_among_the_crosses(rows):
    info = {**SPEC, "settings": {"points": ["none", "cfg/w2.00"]}}
    figure = along.make(along.rows({"divergences": rows}, info), info)
    for ax in figure.axes:
        top = ax.transAxes.inverted().transform(ax.transData.transform((0.5, 2.1 + 1.96 * 0.01)))[1]
        assert top < charts._TOP - charts._STEP  # of the second point's crosses


def test_a_panel_that_no_sampler_has_is_left_out_and_named(graded, monkeypatch):
    monkeypatch.setattr(points.plotted, "at_points", lambda *a: [])
    values = dict.fromkeys(POINTS, 0.5)
    more = pd.DataFrame(in_features("lite0", values) + in_features("classifier", values))
    lost = (
        (more["estimator"] == "nwj@lite0")
        & (more["divergence"] == "kl")
        & (more["point"] != divergence_numbers.NULL)
    )
    given = pd.concat([graded, more.assign(note=more["note"].mask(lost, FLAG))])
    info = {**SPEC, "settings": {"variants": ["cfg", "dg"], "metrics": []}}
    drawn = weight.rows({"divergences": given}, info)
    figure = weight.make(drawn, info)
    labels = [ax.get_label() for ax in figure.axes]
    assert "KL(p‖q) ≥, classifier" in labels and "KL(p‖q) ≥, Lite0" not in labels
    assert "left out, not estimable for any sampler: KL(p‖q) ≥, Lite0" in said(figure)
    assert "KL(p‖q) ≥, Lite0" in set(drawn["panel"])  # its rows are kept beside the figure


def test_bounds_stand_beside_the_exact_value_of_the_graded_training(rows):
    told = pd.DataFrame({"label": ["KL"]}, index=["kl"]).reindex([*weight.DIVERGENCES], fill_value="D")
    found = weight._graded(rows, "cfg/w2.00", "cfg", 2.0, 1.0, told)
    at = {(row[1], row[2]): row for row in found}
    assert at["js", "exact"][7] == 0.40 and at["js", "bound"][7] == 0.30
    assert at["js", "exact"][6] == 1.0  # w - neutral w


def test_the_calibration_figure_draws_the_certified_bound(rows):
    drawn = calibration.rows({"divergences": rows}, SPEC)
    assert "nwj" in set(drawn.loc[drawn["divergence"] == "kl", "estimator"]) and "dv" not in set(
        drawn["estimator"]
    )
    assert "do not rank by bounds" in said(calibration.make(drawn, SPEC))
