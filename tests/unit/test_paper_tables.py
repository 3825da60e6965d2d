from pathlib import Path

import pandas as pd
import pytest
from paper_cases import INFO, SPEC, measured, selected, toy

from guidelab.errors import UserError
from guidelab.paper import names
from guidelab.paper.cells import number
from guidelab.paper.latex import escape
from guidelab.paper.tables import COLUMNS, make_table, to_latex, to_markdown
from guidelab.registry import DIVERGENCES, METRICS

METRICS_CSV = Path(__file__).parents[2] / "workflow" / "resources" / "metrics.csv"


@pytest.fixture
def table() -> pd.DataFrame:
    return make_table(toy(), selected(("autog", 2.0)), INFO, None, SPEC)


def at(table: pd.DataFrame, variant: str, w: float, metric: str) -> pd.Series:
    found = table[(table["variant"] == variant) & (table["w"] == w) & (table["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def cell(text: str, line: str, column: str) -> str:
    """The cell of a Markdown table in the line that starts with `line` under a heading that contains `column`."""
    lines = [part.strip("| ").split(" | ") for part in text.splitlines() if part.startswith("|")]
    for i, head in enumerate(lines[:-1]):
        where = [k for k, c in enumerate(head) if column in c]
        if where and lines[i + 1][0].startswith("---"):
            named = (row for row in lines[i:] if " ".join(" ".join(row).split()).startswith(line))
            return next(named)[where[0] - len(head)].strip()
    raise AssertionError(f"no column {column}")


def test_one_row_for_each_point_and_metric_in_order(table):
    assert list(table.columns) == COLUMNS
    points = list(dict.fromkeys(zip(table["row"], table["variant"], table["w"], strict=True)))
    assert points == [("headline", "none", 1.0), ("headline", "autog", 3.0), ("selected", "autog", 2.0)]
    assert len(table) == 3 * len(INFO)
    assert set(table["scale"]) == {"scaled down (reduced)"}
    chosen = at(table, "autog", 2.0, "kl")
    assert (chosen["selected_on"], chosen["selected_by"], chosen["n_candidates"]) == ("select", "kl", 2)
    assert (
        chosen["value"] == pytest.approx(0.5) and chosen["over"] == "trainings" and chosen["n_trainings"] == 3
    )


def test_a_headline_weight_that_was_also_chosen_is_one_row():
    table = make_table(toy(), selected(("autog", 3.0)), INFO, None, SPEC)
    assert set(table.loc[table["variant"] == "autog", "row"]) == {"headline and selected"}


def test_what_is_missing_says_not_run_and_stays():
    spec = SPEC | {"headline": ["none/w1.00", "cfg/w4.00"], "variants": ["none", "autog", "cfg", "dg"]}
    measurements = toy()
    measurements = measurements[(measurements["variant"] != "autog") | (measurements["metric"] != "recall")]
    table = make_table(measurements, selected(("autog", 2.0)), INFO, None, spec)
    assert at(table, "cfg", 4.0, "kl")["status"] == "not run"
    assert at(table, "autog", 2.0, "recall")["status"] == "not run"
    assert set(table.loc[table["variant"] == "dg", "status"]) == {"not run"}
    text = to_markdown(table)
    assert cell(text, "CFG 4.00", "recall") == "not run"
    assert cell(text, "discriminator (DG) –", "KL") == "not run"  # noqa: RUF001


def test_a_swept_variant_without_a_chosen_weight_is_refused_not_dropped():
    with pytest.raises(UserError, match="no row for autog, which was measured at 2 weights"):
        make_table(toy(), selected(), INFO, None, SPEC)


def test_a_metric_without_description_is_refused_not_dropped():
    with pytest.raises(UserError, match=r"metrics\.csv: no metric 'kl'"):
        make_table(toy(), selected(("autog", 2.0)), INFO[INFO["metric"] != "kl"], None, SPEC)


def test_rows_of_another_experiment_or_scale_are_refused():
    with pytest.raises(UserError, match="rows of scale reduced given; wanted full only"):
        make_table(toy(), selected(("autog", 2.0)), INFO, None, SPEC | {"scale": "full"})


def test_digits_units_and_marks(table):
    text = to_markdown(table)
    assert cell(text, "no guidance", "outliers") == "13.0 ± 7.5"  # shares in percent, one digit; t(2) = 4.303
    assert cell(text, "no guidance", "recall") == "0.970 ± 0.025"
    assert cell(text, "autoguidance 2.00, chosen", "KL") == "0.50 ± 0.25"
    assert "KL(data‖model) (nats) ↓" in text and "recall ↑" in text and "outliers (%) ↓" in text
    assert "scaled down (reduced)" in text.splitlines()[0]
    one = toy()
    single = make_table(one[one["train_seed"] == 0], selected(("autog", 2.0)), INFO, None, SPEC)
    assert cell(to_markdown(single), "no guidance", "recall").endswith("†")
    assert "one training" in to_markdown(single)


def test_not_estimable_is_printed():
    measurements = toy()
    measurements.loc[(measurements["w"] == 3.0) & (measurements["metric"] == "kl"), "note"] = (
        "not estimable: 3 of 9"
    )
    table = make_table(measurements, selected(("autog", 2.0)), INFO, None, SPEC)
    assert cell(to_markdown(table), "autoguidance 3.00", "KL") == "not estimable"
    assert pd.isna(at(table, "autog", 3.0, "kl")["value"])


def test_number_rounds_once_and_never_prints_minus_zero():
    assert number(-0.00001, "", 2) == "0.00"
    assert number(-1.256, "", 2) == "−1.26"  # noqa: RUF001
    assert number(0.12345, "%", 1) == "12.3"


def test_markdown_is_aligned_and_escaped():
    info = INFO.assign(label=["a|b_c*", "recall", "kl"])
    text = to_markdown(make_table(toy(), selected(("autog", 2.0)), info, None, SPEC))
    assert r"a\|b\_c\*" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1


def test_latex_is_escaped_and_balanced(table):
    assert escape("50 % of A_b & {c} −1 ± 2 ↓") == r"50 \% of A\_b \& \{c\} $-$1 $\pm$ 2 $\downarrow$"  # noqa: RUF001
    text = to_latex(table)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 4
    assert text.count("{") == text.count("}")
    assert r"13.0 $\pm$ 7.5" in text and r"outliers (\%) $\downarrow$" in text
    body = text.split(r"\begin{tabular}")[2]
    columns = body.split(r"\midrule")[1].splitlines()[1].count("&") + 1
    assert body.split("{@{}")[1].split("@{}}")[0] == "llr" and columns == 3


def test_no_times_or_machines(table):
    assert not {"device", "torch", "seconds", "time"} & set(table.columns)


PUBLISHED = pd.DataFrame(
    {
        "experiment": "toy2d",
        "row": ["AG"],
        "weight": [3.0],
        "metric": "kl",
        "value": [1.05],
        "n_generated": [4096],
    }
)


def test_published_values_stand_beside_full_runs_only():
    rows = toy()
    spec = SPEC | {"published_rows": {"autog/w3.00": "AG"}}
    small = at(make_table(rows, selected(("autog", 2.0)), INFO, PUBLISHED, spec), "autog", 3.0, "kl")
    assert small["verdict"] == "not compared: scaled down" and pd.isna(small["published"])
    full = make_table(
        rows.assign(scale="full"), selected(("autog", 2.0)), INFO, PUBLISHED, spec | {"scale": "full"}
    )
    beside = at(full, "autog", 3.0, "kl")
    assert (beside["published"], beside["verdict"]) == (1.05, "within our interval")
    assert beside["difference"] == pytest.approx(-0.05)
    assert "(published 1.05: within our interval)" in to_markdown(full)
    other = PUBLISHED.assign(n_generated=50000)
    refused = make_table(
        rows.assign(scale="full"), selected(("autog", 2.0)), INFO, other, spec | {"scale": "full"}
    )
    assert at(refused, "autog", 3.0, "kl")["verdict"] == "not compared: n 4096, published 50000"


def test_metrics_csv_describes_every_metric():
    info = pd.read_csv(METRICS_CSV, keep_default_na=False)
    graded = {"grader_js", "grader_kl_dv", "grader_accuracy"}
    assert set(METRICS) | set(DIVERGENCES) | graded <= set(info["metric"])
    assert info["metric"].is_unique and set(info["direction"]) == {"lower", "higher", "none"}
    assert (info["definition"].str.len() > 20).all() and set(info["unit"]) == {"%", "", "nat"}
    assert info["digits"].between(0, 6).all()


def test_names():
    assert names.point_label("cfg/w4.00") == "CFG, w = 4" and names.point_label("none/w1.00") == "no guidance"
    assert names.point_label("truncation/w1.40") == "naive truncation, ×1.4"  # noqa: RUF001
    assert names.label("my_variant") == "my variant"
    assert names.ordered(["zz", "autog", "none", "autog"]) == ["none", "autog", "zz"]
    assert names.scale_name("full") == "full" and names.scale_name("ci") == "scaled down (ci)"
    assert set(measured({("a", 1.0): {"kl": [1.0]}})["seed_block"]) == {"select", "report1", "report2"}
