# ruff: noqa: RUF001 - true minus signs are what readers see
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from paper_cases import INFO, SPEC, measured, selected, toy

from guidelab.errors import UserError
from guidelab.paper import columns, latex, names
from guidelab.paper.cells import MOST, Sheet, decimals, interval, number, pages
from guidelab.paper.latex import escape
from guidelab.paper.sheets import sheets, to_latex, to_markdown
from guidelab.paper.table import make_table
from guidelab.registry import DIVERGENCES, METRICS

ROOT = Path(__file__).parents[2]
METRICS_CSV = ROOT / "workflow" / "resources" / "metrics.csv"


COLUMNS = [
    "experiment", "scale", "row", "variant", "method", "ref", "w", "w_neutral", "selected_on", "selected_by",
    "n_candidates", "edge", "metric", "label", "group", "direction", "unit", "digits", "value", "lo", "hi", "over",
    "n_trainings", "n_blocks", "n_generated", "n_reference", "reference_split", "features", "n_features", "status", "note",
    "difference to none", "difference to none lo", "difference to none hi", "difference to none over", "verdict to none",
    "verdict by Holm", "published", "difference", "verdict",
]  # fmt: skip


def long(*given) -> pd.DataFrame:
    """The CSV of a table."""
    return columns.long(make_table(*given))[0]


@pytest.fixture
def made() -> pd.DataFrame:
    return make_table(toy(), selected(("autog", 2.0)), INFO, None, SPEC)


@pytest.fixture
def table(made) -> pd.DataFrame:
    return columns.long(made)[0]


def at(table: pd.DataFrame, variant: str, w: float, metric: str) -> pd.Series:
    found = table[(table["variant"] == variant) & (table["w"] == w) & (table["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def cell(text: str, line: str, column: str) -> str:
    """The cell of a Markdown table in the line that starts with `line` under a heading that contains `column`."""
    lines = [part.strip("| ").split(" | ") for part in text.splitlines() if part.startswith("|")]
    for i, head in enumerate(lines[:-1]):
        where = [k for k, c in enumerate(head) if column in c]
        if where and lines[i + 1][0].startswith(":--"):
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
    table = long(toy(), selected(("autog", 3.0)), INFO, None, SPEC)
    assert set(table.loc[table["variant"] == "autog", "row"]) == {"headline and selected"}


def test_what_is_missing_says_not_run_and_stays():
    spec = SPEC | {"headline": ["none/w1.00", "cfg/w4.00"], "variants": ["none", "autog", "cfg", "dg"]}
    measurements = toy()
    measurements = measurements[(measurements["variant"] != "autog") | (measurements["metric"] != "recall")]
    made = make_table(measurements, selected(("autog", 2.0)), INFO, None, spec)
    table = columns.long(made)[0]
    assert at(table, "cfg", 4.0, "kl")["status"] == "not run"
    assert at(table, "autog", 2.0, "recall")["status"] == "not run"
    assert set(table.loc[table["variant"] == "dg", "status"]) == {"not run"}
    text = to_markdown(made)
    assert cell(text, "CFG 4.00", "recall") == "not run"
    assert cell(text, "discriminator (DG) –", "KL") == "not run"


def test_a_swept_variant_without_a_chosen_weight_is_refused_not_dropped():
    with pytest.raises(UserError, match="no row for autog, which was measured at 2 weights"):
        make_table(toy(), selected(), INFO, None, SPEC)


def test_a_metric_without_description_is_refused_not_dropped():
    with pytest.raises(UserError, match=r"metrics\.csv: no metric 'kl'"):
        make_table(toy(), selected(("autog", 2.0)), INFO[INFO["metric"] != "kl"], None, SPEC)


def test_rows_of_another_experiment_or_scale_are_refused():
    with pytest.raises(UserError, match="rows of scale reduced given; wanted full only"):
        make_table(toy(), selected(("autog", 2.0)), INFO, None, SPEC | {"scale": "full"})


def test_digits_units_and_marks(made):
    text = to_markdown(made)
    assert cell(text, "no guidance", "outliers") == "13.0 ± 7.5"  # shares in percent, one digit; t(2) = 4.303
    assert cell(text, "no guidance", "recall") == "0.970 ± 0.025"
    assert cell(text, "autoguidance 3.00", "recall").endswith("⁻") and "⁻ clearly worse" in text
    assert cell(text, "autoguidance 2.00, chosen", "KL") == "0.50 ± 0.25⁻"
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
    made = make_table(measurements, selected(("autog", 2.0)), INFO, None, SPEC)
    assert cell(to_markdown(made), "autoguidance 3.00", "KL") == "not estimable"
    assert pd.isna(at(columns.long(made)[0], "autog", 3.0, "kl")["value"])


def test_number_rounds_once_and_never_prints_minus_zero():
    assert number(-0.00001, "", 2) == "0.00"
    assert number(-1.256, "", 2) == "−1.26"
    assert number(0.12345, "%", 1) == "12.3"


def test_markdown_is_aligned_and_escaped():
    info = INFO.assign(label=["a|b_c*", "recall", "kl"])
    text = to_markdown(make_table(toy(), selected(("autog", 2.0)), info, None, SPEC))
    assert r"a\|b\_c\*" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1


def test_a_printed_table_has_at_most_eight_columns_and_the_most_telling_metrics():
    names_ = ["outliers_99", "recall", "kl", "js", "frechet", "precision", "mass_covered", "runaways"]
    info = pd.DataFrame([INFO.iloc[1].to_dict() | {"metric": m, "label": m, "unit": ""} for m in names_])
    rows = measured({("none", 1.0): {m: [0.5, 0.6] for m in names_}})
    made = make_table(rows, selected(), info, None, SPEC | {"headline": []})
    (sheet,) = sheets(made)
    assert sheet.header[:2] == ["", "w"] and sheet.header[-1] == "trainings" and len(sheet.header) == MOST
    assert [h.split()[0] for h in sheet.header[2:-1]] == ["js", "recall", "outliers_99", "kl", "frechet"]
    assert set(columns.long(made)[0]["metric"]) == set(names_)  # the CSV has them all


def test_a_wide_sheet_is_printed_in_parts_that_repeat_the_first_column():
    header = ["", *(f"c{i}" for i in range(17))]
    wide = Sheet("t", header, [[f"{i}" for i in range(18)]], ["a note"], "l" + "r" * 17)
    parts = list(pages([wide]))
    assert [len(p.header) for p in parts] == [8, 8, 4] and all(
        p.header[0] == "" and p.body[0][0] == "0" for p in parts
    )
    assert [h for p in parts for h in p.header[1:]] == header[1:] and [p.notes for p in parts] == [
        [],
        [],
        ["a note"],
    ]
    assert parts[1].title == "t (2 of 3)" and list(pages([parts[2]])) == [parts[2]]


@pytest.mark.parametrize(
    ("value", "half", "digits", "text"),
    [
        (684.307, 19.178, 2, "684 ± 19"),
        (2.31, 0.41, 2, "2.31 ± 0.41"),
        (11.4795, 0.5826, 2, "11.5 ± 0.6"),
        (133.21, 0.42, 2, "133.2 ± 0.4"),  # the interval is narrower than the third digit
        (0.91649, 0.00537, 3, "0.916 ± 0.005"),
        (0.5, 2.4, 3, "0.5 ± 2.4"),
        (55.49, 27.76, 4, "55 ± 28"),
        (0.000123, 0.00002, 4, "0.0001 ± 0.0000"),  # never more decimals than metrics.csv says
        (416.2, float("nan"), 2, "416"),
    ],
)
def test_three_significant_digits_and_more_only_where_the_interval_allows(value, half, digits, text):
    assert interval(value, value - half, value + half, "", digits) == text
    assert decimals(value, half) <= 6


def latex_tables(text: str) -> list[tuple[list[float], list[str]]]:
    """The parts of the line that columns take, and the rows, of every tabular."""
    found = []
    for body in text.split(r"\begin{tabular}")[1:]:
        spec, rows = body.split(r"\toprule")[0], body.split(r"\bottomrule")[0].split(r"\toprule")[1]
        widths = [float(x) for x in re.findall(r"p\{([\d.]+)\\linewidth\}", spec)]
        found.append((widths, [r for r in rows.splitlines() if r.strip() and r.strip() != r"\midrule"]))
    return found


def check_latex(text: str) -> int:
    """What can be told of LaTeX without a compiler: balanced, ASCII, rows of as many cells as columns, inside the text."""
    plain = re.sub(r"\\[{}&]", "", text)
    assert text.isascii() and plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    tables = latex_tables(text)
    for widths, rows in tables:
        assert 2 <= len(widths) <= MOST and sum(widths) + 2 * latex.GAP * (len(widths) - 1) <= 1 + 1e-3
        for row in rows:
            assert row.endswith(r"\tabularnewline") and re.sub(r"\\&", "", row).count("&") == len(widths) - 1
    return len(tables)


def test_latex_is_escaped_balanced_and_as_wide_as_the_text(made):
    assert escape("50 % of A_b & {c} −1 ± 2 ↓") == r"50 \% of A\_b \& \{c\} $-$1 $\pm$~2 $\downarrow$"
    text = to_latex(made)
    assert check_latex(text) == text.count(r"\toprule") == len(sheets(made))
    assert r"13.0 $\pm$~7.5" in text and r"outliers (\%) $\downarrow$" in text


def test_every_sign_that_tables_print_has_a_name_in_latex():
    modules = [p for p in (ROOT / "src/guidelab/paper").rglob("*.py") if "matplotlib" not in p.read_text()]
    resources = [METRICS_CSV, METRICS_CSV.with_name("published.csv")]
    assert len(modules) > 20
    for path in [*modules, *resources]:
        for character in sorted({c for c in path.read_text() if not c.isascii()}):
            assert escape(character) != "?", (path.name, character)


@pytest.mark.parametrize("packages", [r"\usepackage{booktabs}"])
def test_latex_compiles_in_a_plain_article_at_text_width(made, tmp_path, packages):
    if shutil.which("pdflatex") is None:
        pytest.skip("LaTeX is not installed: columns, widths and signs are checked above")
    (tmp_path / "table.tex").write_text(to_latex(made))
    page = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    wide = [float(x) for x in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0) < 20  # nothing leaves the page


def test_no_times_or_machines(table):
    assert not {"device", "torch", "seconds", "time"} & set(table.columns)


PUBLISHED = pd.DataFrame(
    [
        {"paper": "p", "table": "t", "experiment": "toy2d", "row": "AG", "weight": 3.0, "metric": "kl", "value": 1.001,
         "n_generated": 4096, "protocol": "", "source": "s", "status": "verified", "target": "yes", "note": ""}
    ]
)  # fmt: skip


def test_published_values_stand_beside_full_runs_only():
    rows, full = toy(), toy().assign(scale="full")
    spec = SPEC | {"published": {"autog/w3.00": "AG"}}
    small = at(long(rows, selected(("autog", 2.0)), INFO, PUBLISHED, spec), "autog", 3.0, "kl")
    assert small["verdict"] == "scaled down: not compared" and pd.isna(small["published"])
    made = make_table(full, selected(("autog", 2.0)), INFO, PUBLISHED, spec | {"scale": "full"})
    ours = at(columns.long(made)[0], "autog", 3.0, "kl")
    assert (ours["published"], ours["verdict"]) == (1.001, "reproduced")
    assert ours["difference"] == pytest.approx(-0.001)
    assert "### Published values" in to_markdown(made)
    other = PUBLISHED.assign(n_generated=50000)
    refused = long(full, selected(("autog", 2.0)), INFO, other, spec | {"scale": "full"})
    assert at(refused, "autog", 3.0, "kl")["verdict"] == "not comparable: n 4,096, published 50,000"


def test_the_sources_name_the_rows_of_every_number_and_of_no_choosing_block(made):
    table, sources = columns.long(made)
    one = sources[sources["row"] == 1].iloc[0]
    assert one["columns"] == "value; lo; hi; over; status" and one["how"] == "mean"
    assert (one["variant"], one["w"], one["metric"]) == ("none", "1", table["metric"].iloc[0])
    assert (one["train_seed"], one["seed_block"]) == ("0|1|2", "report1|report2")
    assert set(sources["row"]) == set(range(1, len(table) + 1))


def test_metrics_csv_describes_every_metric():
    info = pd.read_csv(METRICS_CSV, keep_default_na=False)
    graded = {"grader_js", "grader_kl_dv", "grader_accuracy"}
    assert set(METRICS) | set(DIVERGENCES) | graded <= set(info["metric"])
    assert info["metric"].is_unique and set(info["direction"]) == {"lower", "higher", "none"}
    assert (info["definition"].str.len() > 20).all() and set(info["unit"]) == {"%", "", "nat"}
    assert info["digits"].between(0, 6).all()


def test_names():
    assert names.point_label("cfg/w4.00") == "CFG, w = 4" and names.point_label("none/w1.00") == "no guidance"
    assert names.point_label("truncation/w1.40") == "naive truncation, ×1.4"
    assert names.label("my_variant") == "my variant"
    assert names.ordered(["zz", "autog", "none", "autog"]) == ["none", "autog", "zz"]
    assert names.scale_name("full") == "full" and names.scale_name("ci") == "scaled down (ci)"
    assert set(measured({("a", 1.0): {"kl": [1.0]}})["seed_block"]) == {"select", "report1", "report2"}
