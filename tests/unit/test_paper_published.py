"""Published values beside ours: which may be targets, what is compared, what is refused, what a smoke test may print."""

import math

import pandas as pd
import pytest
from imagenet_cases import INFO, MAP, PUBLISHED, SPEC, chosen, imagenet_rows
from typer.testing import CliRunner

from guidelab.cli.published import published_commands
from guidelab.errors import UserError
from guidelab.io import read_csv, save_arrays, write_csv
from guidelab.jobs import table as table_job
from guidelab.paper import columns, findings, latex, published_sheet, reported, reproduced, table
from guidelab.paper import published as beside
from guidelab.paper.figures import weights
from guidelab.paper.sheets import to_latex, to_markdown

FULL = imagenet_rows()


def made(rows=FULL, **spec):
    return table.make_table(rows, chosen(rows), INFO, PUBLISHED, SPEC | spec)


@pytest.fixture(scope="module")
def full():
    return made()


def published_targets():
    """The published rows that a run is to reproduce."""
    return PUBLISHED[[not reproduced.no_target(row) for row in PUBLISHED.to_dict("records")]]


def listed(frame, row, metric="fid"):
    mine = frame[frame["section"] == beside.SECTION]
    found = mine[(mine["published_row"] == row) & (mine["published_metric"] == metric)]
    assert len(found) == 1, found
    return found.iloc[0]


# ---- the file ---------------------------------------------------------------------------------------------------


def test_every_row_says_where_it_is_from_and_only_verified_measured_ones_are_targets():
    assert len(PUBLISHED) == 133 and list(PUBLISHED.columns) == list(beside.PUBLISHED)
    assert (PUBLISHED["source"].str.len() > 3).all() and PUBLISHED["value"].notna().all()
    assert set(PUBLISHED["status"]) == {"verified", "conflicting", "digitised", "assigned from the text"}
    assert set(PUBLISHED["target"]) == {"yes", "no"}
    targets = published_targets()
    assert set(targets["status"]) == {"verified"} and set(targets["metric"]) == {"fid", "fd_dinov2", "recall"}
    assert not targets["row"].str.contains("slides|epoch").any() and len(targets) == 94
    kept_out = PUBLISHED[(PUBLISHED["status"] == "verified") & (PUBLISHED["target"] == "no")]
    measured_here = kept_out[kept_out["metric"] != "network_evaluations"]
    assert (
        len(measured_here) == 10 and (measured_here["note"].str.len() > 0).all()
    )  # each says why it is none


def test_known_errors_of_the_sources_are_no_targets():
    targets = published_targets()
    dropout = targets[targets["row"] == "EDM2-S, dropout 5% guided by 10%"]
    assert dropout[["value", "weight"]].astype(float).values.tolist() == [[2.55, 2.25]]
    of_adm = PUBLISHED[PUBLISHED["row"].str.startswith("ADM + CG + DG (best")]
    assert sorted(of_adm["value"].astype(float)) == [0.6, 3.18, 4.45]
    assert of_adm["note"].str.contains("not released").all() and (of_adm["target"] == "no").all()
    edm2 = PUBLISHED[(PUBLISHED["paper"] == "edm2") & (PUBLISHED["metric"] == "fd_dinov2")]
    assert set(edm2["protocol"]) == {"once"}


def test_a_value_that_two_papers_print_stands_once_with_both_sources():
    found = beside.of_experiment(PUBLISHED, "imagenet512")
    mine = found[(found["row"] == "EDM2-S") & (found["metric"] == "fid")]
    assert len(mine) == 1 and "edm2" in mine["source"].iloc[0] and "autoguidance" in mine["source"].iloc[0]


# ---- what is compared -------------------------------------------------------------------------------------------


def test_the_mean_of_the_report_blocks_is_compared_with_a_single_published_evaluation(full):
    row = listed(full, "DiT-XL/2 + CFG")
    ours = FULL[(FULL["variant"] == "cfg") & (FULL["w"] == 1.5) & (FULL["metric"] == "fid@adm")]
    mean = ours.loc[ours["seed_block"] != "select", "value"].mean()
    assert row["metric"] == "fid@adm" and row["compared_as"] == "mean"
    assert row["compared"] == pytest.approx(mean) and row["published_difference"] == pytest.approx(
        mean - 2.27
    )
    assert row["allowed"] == pytest.approx(max(0.013 * 2.27, 2 * ours["value"].std(ddof=1)))
    assert row["published_verdict"] == "reproduced"


def test_verdicts_are_reproduced_close_and_not(full):
    assert listed(full, "ADM")["published_verdict"] == "reproduced"
    assert listed(full, "DiT-XL/2 + CFG + DG")["published_verdict"] == "not"  # 1.95 beside 1.83
    assert [reproduced.verdict(d, 0.1) for d in (0.1, -0.1, 0.11, -0.2, 0.21)] == [
        "reproduced", "reproduced", "close", "close", "not",
    ]  # fmt: skip


def test_published_minima_are_compared_with_our_minimum_of_three():
    theirs = PUBLISHED.assign(protocol="min_of_3")
    frame = table.make_table(FULL, chosen(FULL), INFO, theirs, SPEC)
    row = listed(frame, "DiT-XL/2 + CFG")
    ours = FULL[(FULL["variant"] == "cfg") & (FULL["w"] == 1.5) & (FULL["metric"] == "fid@adm")]
    assert (row["compared"], row["compared_as"]) == (pytest.approx(ours["value"].min()), "min of 3")
    two = FULL[FULL["seed_block"] != "report2"]
    row = listed(table.make_table(two, chosen(two), INFO, theirs, SPEC), "DiT-XL/2 + CFG")
    assert row["published_verdict"] == "not comparable: minimum of 2, published of 3"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_generated": 10_000}, "not comparable: n 10,000, published 50,000"),
        (
            {"reference_split": "train"},
            "not comparable: reference train, published against released statistics",
        ),
    ],
)
def test_other_protocols_have_a_reason_and_no_difference(changed, said):
    row = listed(made(FULL.assign(**changed)), "DiT-XL/2")
    assert row["published_verdict"] == said and math.isnan(row["published_difference"])
    assert row["compared"] == pytest.approx(9.60, abs=0.05)  # ours is still printed


def test_recall_needs_the_evaluators_ten_thousand_real_images(full):
    assert listed(full, "ADM", "recall")["metric"] == "recall@adm"
    fewer = FULL.assign(n_reference=FULL["n_reference"].where(FULL["n_reference"] != 10_000, 5_000))
    assert "5,000 real images" in listed(made(fewer), "ADM", "recall")["published_verdict"]


def test_conflicting_values_are_listed_and_never_compared(full):
    row = listed(full, "ADM + CG + DG (slides)")
    assert row["published_verdict"] == "not a target: conflicting" and math.isnan(row["published_difference"])
    csv = columns.wide(full)[0]
    ours = csv[csv["variant"] == "cg_dg"].iloc[0]
    assert ours["fid@adm published"] == 3.18 and ours["fid@adm published row"] == "ADM + CG + DG (best FID)"
    everything = PUBLISHED.assign(status="digitised")
    frame = table.make_table(FULL, chosen(FULL), INFO, everything, SPEC)
    verdicts = frame.loc[frame["section"] == beside.SECTION, "published_verdict"]
    assert verdicts.str.startswith("not a target: digitised").all()


def test_rows_that_were_not_run_are_there_and_say_so(full):
    found = beside.of_experiment(PUBLISHED, "imagenet256")
    mine = full[full["section"] == beside.SECTION]
    assert set(zip(mine["published_row"], mine["published_metric"], strict=True)) == set(
        zip(found["row"], found["metric"], strict=True)
    )
    row = listed(full, "Validation data")
    assert (row["status"], row["published_verdict"], row["variant"]) == ("not run", "not run", "")
    csv = columns.wide(full)[0]
    lines = csv[csv["label"] == "Validation data"]
    assert len(lines) == 1 and lines["fid@adm over"].iloc[0] == lines["recall@adm over"].iloc[0] == "not run"
    assert lines["fid@adm published"].iloc[0] == 1.68 and "fid published" not in csv
    assert set(csv["steps"]) == {250, ""} and set(csv["nfe"].map(str)) == {"250", ""}


def test_a_weight_that_stands_beside_a_published_value_is_printed_though_another_was_chosen(full):
    at = full[(full["variant"] == "cfg") & (full["section"] != beside.SECTION)]
    chosen_by = at.drop_duplicates("w").set_index("w")["chosen_by"].to_dict()
    assert chosen_by == {1.5: "fid@adm", 2.0: "fid@dinov2"}  # each space its own; 1.5 is the paper's too
    other = made(published=MAP | {"cfg/w1.25": ["DiT-XL/2 + CFG"]})
    by = other[other["variant"] == "cfg"].drop_duplicates("w").set_index("w")["chosen_by"].to_dict()
    assert by[1.25] == "the paper's"
    assert "the paper's" in to_markdown(other)


def test_a_published_weight_must_be_ours():
    rows = PUBLISHED.assign(weight=PUBLISHED["weight"].where(PUBLISHED["row"] != "DiT-XL/2 + CFG", "1.75"))
    frame = table.make_table(FULL, chosen(FULL), INFO, rows, SPEC)
    assert listed(frame, "DiT-XL/2 + CFG")["published_verdict"] == "not run"


def test_a_point_may_answer_to_one_metric_only():
    only = made(published={"adm/w1.00": "ADM [recall]"})
    assert listed(only, "ADM")["published_verdict"] == "not run"
    assert listed(only, "ADM", "recall")["variant"] == "adm"


def test_curves_of_another_experiment_name_the_table_that_has_the_published_values():
    frame = made(published={}, published_experiment="imagenet512")
    assert beside.SECTION not in set(frame["section"])
    assert "Published values: see the table of imagenet512." in to_markdown(frame)
    assert beside.SECTION in set(made(published={})["section"])  # its own: everything listed as not run


def test_an_unknown_published_row_is_refused_with_the_closest():
    with pytest.raises(UserError, match=r"cfg/w1.50: 'DiT-XL/2 \+ CFGG' is no row.*did you mean"):
        made(published={"cfg/w1.50": ["DiT-XL/2 + CFGG"]})
    with pytest.raises(UserError, match="no rows of experiment 'imagenet265'"):
        made(published_experiment="imagenet265")


# ---- what is printed --------------------------------------------------------------------------------------------


def test_markdown_states_the_rule_the_protocols_and_every_verdict(full):
    text = to_markdown(full)
    assert "max(2 sd, 1.3 % of the published value)" in text and "random seed, n 50,000" in text
    assert "### Published values" in text and "not a target: conflicting" in text
    assert "FD-DINOv2, DINOv2 ↓" in text and "sfid@adm" in columns.wide(full)[0]
    assert not any("sFID" in line for line in text.splitlines() if line.startswith("|"))
    assert "FID in Inception (ADM) against released adm\\_256" in text
    assert "recall in Inception (ADM) against 10,000 of adm" in text
    assert "No published value stands here" not in text and "settings of our own" in text
    latex = to_latex(full)
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == text.count("### ")


def test_differences_are_to_no_guidance_of_the_same_net(full):
    ours = full[full["section"] != beside.SECTION].drop_duplicates(["variant", "w"]).set_index("variant")
    assert ours.loc["cg", "baseline"] == "adm/w1.00" and ours.loc["cfg_dg", "baseline"] == "none/w1.00"


@pytest.mark.parametrize(
    ("scale", "said"), [("smoke", "smoke: not compared"), ("reduced", "scaled down: not compared")]
)
def test_scaled_down_numbers_never_stand_beside_published_ones(scale, said):
    rows = imagenet_rows(scale, n=16)
    frame = made(rows, scale=scale)
    assert beside.SECTION not in set(frame["section"]) and "published" not in frame
    csv = columns.wide(frame)[0]
    assert set(csv["published verdict"]) == {said} and set(csv["published"]) == {""}
    text = to_markdown(frame)
    assert f"Published values: {said}." in text
    for value in ("9.62", "10.94", "2.27", "1.83"):
        assert value not in text


def test_a_smoke_table_is_finished_and_unmistakable():
    frame = made(imagenet_rows("smoke", n=16), scale="smoke")
    csv = columns.wide(frame)[0]
    assert csv["label"].str.startswith("smoke: ").all() and csv["scale"].str.startswith("smoke test").all()
    assert csv.filter(like="fid@adm").notna().all(axis=None) or csv["fid@adm"].notna().all()
    text = to_markdown(frame)
    assert text.startswith("## imagenet256, smoke test: random weights, no number here means anything")
    assert "This is a smoke test." in text and "not run" not in text


def test_the_job_writes_all_three_forms(tmp_path):
    inputs = {}
    for name, frame in {
        "measurements": FULL,
        "selected": chosen(FULL),
        "metrics": INFO,
        "published": PUBLISHED,
    }.items():
        write_csv(tmp_path / f"{name}.csv", frame)
        inputs[name] = [str(tmp_path / f"{name}.csv")]
    inputs["errors"] = [str(tmp_path / "errors.safetensors")]
    save_arrays(inputs["errors"][0], {}, {"points": {}})
    outputs = [tmp_path / f"out.{suffix}" for suffix in ("csv", "md", "tex", "sources.csv")]
    table_job.run(SPEC | {"inputs": inputs}, outputs)
    csv = read_csv(outputs[0])
    assert (csv["fid@adm published verdict"] == "reproduced").sum() >= 3
    assert "### Published values" in outputs[1].read_text()
    assert set(read_csv(outputs[3])["row"]) <= set(range(1, len(csv) + 1))


# ---- before anything was run ------------------------------------------------------------------------------------


def test_the_table_before_anything_was_run_lists_all_and_compares_nothing():
    for experiment in ("cifar10", "imagenet64", "imagenet256", "imagenet512"):
        frame = beside.not_run_table(PUBLISHED, experiment)
        assert frame["published_difference"].isna().all() and frame["value"].isna().all()
        assert frame["published_verdict"].str.endswith("not run").all()
        assert len(frame) == len(beside.of_experiment(PUBLISHED, experiment))
        assert latex.document("", [published_sheet.sheet(frame)]).count("not run") >= len(frame)


def test_the_command_prints_it(tmp_path):
    write_csv(tmp_path / "published.csv", PUBLISHED)
    result = CliRunner().invoke(
        published_commands, ["imagenet256", "--published", str(tmp_path / "published.csv")]
    )
    assert result.exit_code == 0 and "DiT-XL/2 + CFG + DG" in result.output and "not run" in result.output


# ---- words ------------------------------------------------------------------------------------------------------


def test_the_findings_of_several_nets_compares_each_with_its_own():
    text = findings.text(FULL, chosen(FULL), INFO, SPEC)
    assert "FD-DINOv2" in text and "imagenet256, full" in text
    line = next(x for x in text.splitlines() if x.startswith("- classifier guidance (CG): "))
    assert "10.9 → 4.6" in line  # from ADM alone, not from DiT
    assert "CG + DG" in text and "nan" not in text


def test_the_findings_of_a_smoke_test_says_nothing_of_methods():
    rows = imagenet_rows("smoke", n=16)
    text = findings.text(rows, chosen(rows), INFO, SPEC | {"scale": "smoke"})
    assert "random weights" in text and "better" not in text and f"{len(rows)} numbers" in text


@pytest.mark.parametrize("left", [["none"], ["none", "cfg"], ["none", "adm", "cg"]])
def test_the_findings_does_not_need_every_variant(left):
    rows = FULL[FULL["variant"].isin(left)]
    assert "# Findings" in findings.text(rows, chosen(rows), INFO, SPEC)
    assert isinstance(pd.DataFrame(made(rows, variants=left)), pd.DataFrame)


# ---- several nets -----------------------------------------------------------------------------------------------


def test_without_a_variant_called_none_the_first_unguided_one_sets_the_steps():
    rows = FULL[FULL["variant"] != "none"]
    assert set(made(rows)["steps"]) == {250, ""}
    text = findings.text(rows, chosen(rows), INFO, SPEC)
    assert "# Findings" in text and "nan" not in text


def test_no_guidance_tuned_for_the_same_metric_comes_first():
    tuned = FULL[FULL["variant"].isin(["none", "cfg"])].assign(variant=lambda t: t["variant"] + "_fd")
    rows = pd.concat([FULL, tuned], ignore_index=True)
    mains = SPEC["mains"] | {"none_fd": "dit/dit_190", "cfg_fd": "dit/dit_190"}
    assert reported.baseline(rows, "cfg_fd", mains) == ("none_fd", 1.0)
    assert reported.baseline(rows, "cfg", mains) == ("none", 1.0)
    assert reported.baseline(rows, "cg", mains) == ("adm", 1.0)
    assert reported.baseline(rows, "cg", {**mains, "adm": "other/adm"}) is None
    assert reported.starts_unguided(rows, "cfg_fd", mains)
    assert not reported.starts_unguided(rows, "cfg_fd", mains | {"cfg_fd": "dit/dit_085"})


def test_curves_of_several_nets_start_at_their_own_unguided_point():
    settings = {"variants": ["cfg", "autog", "cg"], "metrics": ["fid@adm", "fid@dinov2"]}
    info = SPEC | {"settings": settings, "figure": "weights"}
    rows = weights.rows({"measurements": FULL, "selected": chosen(FULL), "metrics": INFO}, info)
    assert list(dict.fromkeys(rows["variant"])) == ["none", "adm", "cfg", "autog", "cg"]
    figure = weights.make(rows, info)
    assert len(figure.axes) == 2
