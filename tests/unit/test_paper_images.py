import math

import numpy as np
import pandas as pd
import pytest
from image_cases import INFO, SPEC, chosen, images

from guidelab.errors import UserError
from guidelab.paper import columns, intervals, latex, metric_names, names, reported, summary, table
from guidelab.paper.sheets import to_latex, to_markdown

ROWS = images()
SELECTED = chosen(ROWS)


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    return table.make_table(ROWS, SELECTED, INFO, None, SPEC | {"variants": ["none", "autog", "dg_boost"]})


def at(frame: pd.DataFrame, variant: str, metric: str, w: float | None = None) -> pd.Series:
    found = frame[(frame["variant"] == variant) & (frame["metric"] == metric)]
    found = found if w is None else found[found["w"] == w]
    assert len(found) == 1
    return found.iloc[0]


def rows_of(variant: str, w: float, metric: str, block: str, seed: int = 0) -> pd.Series:
    mask = (ROWS["variant"] == variant) & (ROWS["w"] == w) & (ROWS["metric"] == metric)
    return ROWS[mask & (ROWS["seed_block"] == block) & (ROWS["train_seed"] == seed)].iloc[0]


def test_numbers_are_means_of_report_blocks_with_intervals_over_samples(made):
    number = at(made, "autog", "fid@lite0")
    both = [rows_of("autog", 2.0, "fid@lite0", b) for b in ("report1", "report2")]
    half = 1.959963985 * math.hypot(*(b["std_error"] for b in both)) / 2
    assert number["value"] == pytest.approx(np.mean([b["value"] for b in both]))
    assert (number["lo"], number["hi"]) == pytest.approx((number["value"] - half, number["value"] + half))
    assert (number["over"], number["n_trainings"], number["n_blocks"]) == ("samples", 1, 2)


def test_difference_is_by_block_with_the_errors_of_both_points(made):
    number = at(made, "autog", "fid@lite0")
    gaps, errors = [], []
    for block in ("report1", "report2"):
        a, b = rows_of("none", 1.0, "fid@lite0", block), rows_of("autog", 2.0, "fid@lite0", block)
        gaps.append(b["value"] - a["value"])
        errors += [a["std_error"], b["std_error"]]
    half = 1.959963985 * np.linalg.norm(errors) / 2
    assert number["difference"] == pytest.approx(np.mean(gaps))
    assert number["difference_hi"] - number["difference"] == pytest.approx(half)
    assert (number["difference_least"], number["difference_most"]) == pytest.approx((min(gaps), max(gaps)))
    assert (number["difference_over"], number["verdict"]) == (summary.AS_UNPAIRED, "better")
    assert at(made, "none", "fid@lite0")["verdict"] == ""


def test_three_trainings_have_student_intervals_over_trainings():
    rows = images(3)
    report = reported.rows(rows, chosen(rows))
    ends = (reported.at_point(report, *at, "fid@lite0") for at in (("none", 1.0), ("autog", 2.0)))
    gap = summary.paired(*map(summary.sound, ends))
    wide = rows[(rows["seed_block"] != "select") & (rows["metric"] == "fid@lite0")]
    means = wide.groupby(["variant", "w", "train_seed"])["value"].mean()
    each = means.loc["autog", 2.0].to_numpy() - means.loc["none", 1.0].to_numpy()
    assert (gap.over, gap.n_trainings) == ("trainings", 3)
    assert (gap.lo, gap.hi) == pytest.approx(intervals.t_interval(each))


@pytest.mark.parametrize(
    ("direction", "value", "ends", "blocks", "verdict"),
    [
        ("lower", -3, (-4, -2), (-3.5, -2.5), "better"),
        ("higher", -3, (-4, -2), (-3.5, -2.5), "worse"),
        ("lower", 3, (2, 4), (2.5, 3.5), "worse"),
        ("lower", -3, (-4, 0.5), (-3.5, -2.5), "no clear difference"),
        ("lower", -3, (-4, -2), (-6.5, 0.5), "no clear difference"),  # one block says otherwise
        ("none", 3, (2, 4), (2.5, 3.5), "more"),
        ("lower", 0, (-1, 1), (0, 0), "the same point"),
    ],
)
def test_verdicts_need_the_interval_and_every_block(direction, value, ends, blocks, verdict):
    gap = summary.Difference(value, *ends, summary.AS_UNPAIRED, 1, *blocks)
    assert gap.verdict(direction) == verdict
    assert summary.Difference().verdict(direction) == "not run"


def test_the_papers_minimum_is_over_all_blocks_and_labelled(made):
    blocks = [rows_of("cfg", 2.0, "fid@classifier", b)["value"] for b in ("select", "report1", "report2")]
    number = at(made, "cfg", "fid@classifier")
    assert (number["min_of_blocks"], number["blocks_of_min"]) == (pytest.approx(min(blocks)), 3)
    wide = columns.wide(made)[0].set_index(["variant", "w"]).loc[("cfg", 2.0)]
    assert wide["fid@classifier min is"] == "min of 3 (paper style)"


def test_each_feature_space_chooses_its_own_weight(made):
    lines = made[made["variant"] == "cg"].drop_duplicates("w").set_index("w")["chosen_by"]
    assert dict(lines) == {1.0: "fid@lite0", 2.0: "fid@classifier"}
    assert at(made, "cfg", "fid@lite0")["chosen_by"] == "fid@lite0, fid@classifier"
    text = to_markdown(made)
    assert (
        "2.00, by classifier" in text
        and "1.00, by Lite0" in text
        and "2.00, by Lite0, classifier" not in text
    )
    assert at(made, "cfg", "fid@lite0")["weights_tried"] == 4
    assert "Tried in all" in text and "CFG 1 guide, 3 lines, 12 points" in text


def test_other_step_counts_stand_apart_with_their_own_baseline(made):
    six = at(made, "autog_s6", "fid@lite0")
    assert (six["section"], six["baseline"]) == ("6 sampler steps", "none_s6/w1.00")
    assert six["difference"] == pytest.approx(six["value"] - at(made, "none_s6", "fid@lite0")["value"])
    sections = list(dict.fromkeys(made["section"]))
    assert sections[0] == names.METHODS and sections[-2:] == ["6 sampler steps", "18 sampler steps"]
    assert set(made.loc[made["section"] == names.METHODS, "steps"].replace("", np.nan).dropna()) == {12}


def test_a_planned_variant_that_is_missing_stays_and_says_so(made):
    assert set(made.loc[made["variant"] == "dg_boost", "status"]) == {"not run"}
    assert "not run" in to_markdown(made)


def test_the_csv_has_one_row_a_line_and_no_times_or_machines(made):
    wide = columns.wide(made)[0]
    assert not wide.duplicated(["variant", "w"]).any()
    assert wide["fid@lite0"].iloc[0] == pytest.approx(at(made, "none", "fid@lite0")["value"], rel=1e-5)
    assert {"fid@lite0 difference lo", "fid@classifier verdict", "recall@lite0 hi", "kid@lite0"} <= set(
        wide.columns
    )
    assert not {"device", "torch", "seconds"} & set(wide.columns)
    assert set(wide["scale"]) == {"scaled down (reduced)"}
    assert set(wide["n_reference"]) == {"5000", ""}


def test_the_sources_of_a_line_are_of_its_own_point_and_of_no_guidance(made):
    wide, sources = columns.wide(made)
    row = 1 + next(
        i for i, r in enumerate(wide.to_dict("records")) if (r["variant"], r["w"]) == ("autog", 2.0)
    )
    mine = sources[(sources["row"] == row) & (sources["metric"] == "fid@lite0")]
    assert list(zip(mine["how"], mine["part"], mine["variant"], strict=True)) == [
        ("mean", "value", "autog"), ("difference", "value", "autog"), ("difference", "baseline", "none"),
        ("minimum", "value", "autog"),
    ]  # fmt: skip
    assert list(mine["seed_block"]) == ["report1|report2"] * 3 + ["report1|report2|select"]
    assert mine["columns"].iloc[1].startswith("fid@lite0 difference; fid@lite0 difference lo")


def test_no_published_value_is_printed_and_the_text_says_why(made):
    text = to_markdown(made)
    assert "No published value stands here" in text and "(published" not in text
    assert "not corrected for the number of comparisons" in text and "verdict by Holm" in text
    assert text.startswith("## fashion, scaled down (reduced)")


def test_latex_is_balanced(made):
    text = to_latex(made)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 4
    assert text.count("{") == text.count("}") and latex.escape("accuracy, classifier (%)") in text


@pytest.mark.parametrize("column", ["n_generated", "features_sha256", "reference_split", "label_policy"])
def test_a_column_never_mixes_protocols(column):
    rows = ROWS.copy()
    rows.loc[rows["variant"] == "cfg", column] = 500 if column == "n_generated" else "other"
    with pytest.raises(UserError, match=f"{column} differs"):
        table.make_table(rows, SELECTED, INFO, None, SPEC)


def test_step_counts_are_not_mixed():
    rows = ROWS.copy()
    rows.loc[(rows["variant"] == "cfg") & (rows["w"] == 3.0), "steps"] = 18
    with pytest.raises(UserError, match="variant cfg has steps 12, 18"):
        table.make_table(rows, SELECTED, INFO, None, SPEC)
    sampler = ROWS.assign(sampler=ROWS["sampler"].where(ROWS["variant"] != "cfg", "euler"))
    with pytest.raises(UserError, match="sampler differs"):
        table.make_table(sampler, SELECTED, INFO, None, SPEC)


def test_refusals_name_what_is_missing():
    with pytest.raises(UserError, match="no rows of variant none"):
        table.make_table(ROWS[ROWS["variant"] != "none"], SELECTED, INFO, None, SPEC)
    with pytest.raises(UserError, match=r"no metric 'fid'"):
        table.make_table(ROWS, SELECTED, INFO[INFO["metric"] != "fid"], None, SPEC)
    with pytest.raises(UserError, match="no row for cfg, which was measured at 4 weights"):
        table.make_table(ROWS, SELECTED[SELECTED["variant"] != "cfg"], INFO, None, SPEC)
    with pytest.raises(UserError, match="wanted full only"):
        table.make_table(ROWS, SELECTED, INFO, None, SPEC | {"scale": "full"})
    only = ROWS[(ROWS["variant"] != "cfg") | (ROWS["seed_block"] == "select")]
    with pytest.raises(UserError, match="measured on no other"):
        table.make_table(only, SELECTED, INFO, None, SPEC)


def test_flagged_numbers_are_not_compared():
    rows = ROWS[ROWS["variant"].isin(["none", "cfg"])].copy()
    rows.loc[(rows["variant"] == "cfg") & (rows["metric"] == "fid@lite0"), "note"] = (
        "not estimable: 3 effective"
    )
    made = table.make_table(rows, SELECTED[SELECTED["variant"] == "cfg"], INFO, None, SPEC)
    number = at(made, "cfg", "fid@lite0")
    assert (number["status"], number["verdict"]) == ("not estimable", "") and math.isnan(
        number["min_of_blocks"]
    )


def test_decimals_follow_size(made):
    text = to_markdown(made)
    assert "| 180 ± " in " ".join(text.split()) and "2.59 ± " in text and "0.562 ± " in text


def test_words():
    assert names.label("main_ema050") == "main's EMA 0.050" and names.label("a_b") == "a b"
    with names.of({"looks": [{"variant": "dropout", "label": "dropout 5 % and 10 %"}]}):
        assert names.label("dropout") == "dropout 5 % and 10 %"
    assert (
        names.point_label("none/w1.00") == "no guidance" and names.point_label("cfg/w1.50") == "CFG, w = 1.5"
    )
    assert names.ordered(["zz", "dg", "none", "dg"]) == ["none", "dg", "zz"]
    described = metric_names.describe(INFO, ["fid@lite0", "fid@classifier"])
    assert list(described["label"]) == ["FID, Lite0", "FID, classifier"]
    assert metric_names.spaces(["fid@lite0", "fid", "recall@lite0"]) == ["lite0"]
