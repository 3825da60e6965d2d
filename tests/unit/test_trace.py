"""From a printed number back to its data: found, followed, checked; and what is said when something is wrong."""

import csv
import json
from pathlib import Path

import pytest
from trail_cases import CHECKPOINTS, DATA, DENSITY, MEASURED, MODEL, ROWS, SAMPLES, SHARD, TABLE, build

from guidelab.errors import UserError
from guidelab.trail.book import Book
from guidelab.trail.cells import find_cell, seeds_of
from guidelab.trail.text import as_text
from guidelab.trail.trace import changed, trace

ROOT = Path(__file__).parents[2]
FRECHET = "variant=cfg,w=2.00,metric=frechet"


@pytest.fixture
def made(tmp_path):
    return build(tmp_path)


def traced(made, row=FRECHET, column=None):
    return trace(TABLE, [row] if row else [], column, root=made.root)


def rules(found):
    return [step["rule"] for step in found["steps"]]


# ---- the trail ---------------------------------------------------------------------------------------------------


def test_a_number_is_followed_to_its_rows_seeds_nets_and_data(made):
    found = traced(made)
    assert found["problems"] == [] and not changed(found)
    assert [row["value"] for row in found["cell"]["rows"]] == ["1.0", "2.0", "3.0", "6.0"], (
        "no block that chose a weight"
    )
    assert found["cell"]["agrees"] is True
    assert rules(found) == ["table", "collect", "measure", "sample", "reconstruct", "train", "prepare"]
    text = as_text(found)
    for said in (
        "weight chosen by frechet on block select among 3", "10-19 (block report1), 20-29 (block report2)", "training seeds 0, 1",
        "4,096 images in batches of 64: 64 iterations", "EMA length 0.1", "seed 13", f"{SHARD}  intact", "torch 2.13.0",
        "computed again from these rows: 3, as printed", "code   code-measure", "logs/e/sample.log", "steps=4",
    ):  # fmt: skip
        assert said in text, said
    assert "select" not in " ".join(f for s in found["steps"] if s["rule"] == "sample" for f in s["facts"])


def test_every_recorded_hash_is_in_the_trail(made):
    recorded = {path: entry.sha256 for entries in made.entries.values() for path, entry in entries.items()}
    outputs = {path: of["sha256"] for step in traced(made)["steps"] for path, of in step["outputs"].items()}
    assert outputs == {path: sha for path, sha in recorded.items() if path != DENSITY}


def test_a_divergence_is_followed_through_the_log_densities_and_others_are_not(made):
    assert "density" in rules(traced(made, "metric=kl"))
    assert "density" not in rules(traced(made))


def test_a_file_is_followed_without_a_row(made):
    found = trace(MODEL, [], None, root=made.root)
    assert found["cell"] is None and rules(found) == ["reconstruct", "train"]


def test_a_row_of_all_rows_is_followed(made):
    found = trace(ROWS, ["3"], None, root=made.root)
    assert found["cell"]["value"] == "2.0" and "train" in rules(found)


def test_times_that_were_not_kept_are_said_so(made):
    assert "not recorded" in as_text(traced(made))
    assert all(step["run"] is None for step in traced(made)["steps"])


def test_code_and_parameters_that_are_others_now_are_named(made):
    def now(path):
        return (
            {"code": "code-new", "seeds": [0, 1], "train": {"nimg": 1}, "inputs": {}}
            if path == CHECKPOINTS
            else None
        )

    found = trace(TABLE, [FRECHET], None, now, made.root)
    (train,) = [step for step in found["steps"] if step["rule"] == "train"]
    assert train["code_now"] == "code-new" and train["told_now"] == ["train"]
    text = as_text(found)
    assert "this folder's code is code-new: another version" in text
    assert "params.yaml has these otherwise now: train" in text
    assert "params.yaml plans this job no more" in text


# ---- what is not as it was ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [MODEL, DATA, SAMPLES, MEASURED, ROWS, TABLE, f"{SAMPLES.removesuffix('.json')}/{SHARD}"]
)
def test_one_changed_byte_is_named(made, path):
    content = bytearray((made.root / path).read_bytes())
    content[-2] ^= 1
    (made.root / path).write_bytes(content)
    try:
        found = traced(made)
    except UserError as error:  # the table's own row is gone
        assert path == TABLE and "fit" in str(error)
        return
    assert changed(found)
    assert any(problem.startswith(f"{path}: CHANGED") for problem in found["problems"]), found["problems"]


def test_absent_files_are_no_problem_and_said_how_to_get(made):
    (made.root / MODEL).unlink()
    found = traced(made)
    assert not changed(found)
    assert f"dvc pull {MODEL}" in as_text(found)


def test_a_table_that_its_rows_do_not_make_is_named(made):
    text = (made.root / TABLE).read_text().replace(",frechet,3,1,5,", ",frechet,2.5,1,5,")
    (made.root / TABLE).write_text(text)
    assert any("says 2.5, its 4 rows make 3" in problem for problem in traced(made)["problems"])


def test_rows_of_other_code_or_other_nets_are_named(made):
    text = (made.root / ROWS).read_text()
    (made.root / ROWS).write_text(text.replace("code-measure", "code-older"))
    assert any("carries code code-older" in problem for problem in traced(made)["problems"])
    nets = next(csv.DictReader(text.splitlines()))["checkpoint_sha256"]
    (made.root / ROWS).write_text(text.replace(nets, "0123456789abcdef"))
    assert any("carries nets 0123456789abcdef" in problem for problem in traced(made)["problems"])


def test_a_job_that_read_another_version_of_its_input_is_named(made):
    (made.root / CHECKPOINTS).write_text("trained again")
    made.made("train", "train", [CHECKPOINTS], {}, {"seeds": [0, 1], "train": {"nimg": 4096, "batch": 64}})
    made.save()
    assert f"{MODEL}: was made from other inputs than those recorded now" in traced(made)["problems"]


# ---- what is asked for wrongly -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ("variant=cfg", None, "3 rows of .* fit. Add metric=.*frechet, kl, js"),
        ("variant=cfg,w=7,metric=js", None, "no row of .* fits. No row has w=7; w is 2.*The nearest: row 3"),
        ("variant=cgf,metric=js", None, "No row has variant=cgf; variant is"),
        ("varient=cfg", None, "has no column 'varient'; did you mean 'variant'"),
        ("5", None, "has rows 1 to 4"),
        ("cfg", None, "wanted a row's number, or column=value"),
        (FRECHET, "vlaue", "no such column; did you mean 'value'"),
        (FRECHET, "published", "is no number measured here"),
        ("metric=js", None, "js was not measured there"),
        ("variant=none", None, "nothing was measured there"),
    ],
)
def test_mistakes_name_what_is_near(made, row, column, message):
    with pytest.raises(UserError, match=message):
        traced(made, row, column)


def test_what_has_no_record_is_said_so(made):
    made.write("results/tables/other.csv", "a,value\n1,2\n")
    with pytest.raises(
        UserError, match=r"no job is recorded that made it.*snakemake -c2 results/tables/other.csv"
    ):
        trace("results/tables/other.csv", ["1"], None, root=made.root)
    with pytest.raises(UserError, match="no such file"):
        trace("results/tables/absent.csv", ["1"], None, root=made.root)


def test_seeds_are_read_off_file_names():
    assert seeds_of("seeds0-4.csv") == {0, 1, 2, 3, 4}
    assert seeds_of("seed3.csv") == {3} and seeds_of("seeds0_2_5.csv") == {0, 2, 5}


# ---- the numbers of this project ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("toy2d", ["value"]),
        ("fashion", ["{}", "{} difference", "{} min of blocks"]),
        ("fashion_full", ["{}", "{} difference"]),
        ("toy2d_divergences", ["value"]),
        ("fashion_divergences", ["value"]),
    ],
)
def test_every_printed_number_is_made_by_the_rows_it_is_traced_to(table, columns):
    """The rows are found and averaged here by other code than the tables'."""
    path = f"results/tables/{table}.csv"
    rows = list(csv.DictReader((ROOT / path).open()))
    book = Book(ROOT)
    metrics = [c for c in rows[0] if c.count("@") == 1 and " " not in c] or [""]
    compared, every = 0, max(1, len(rows) // 60)
    for number, row in list(enumerate(rows, 1))[::every]:
        for column in (c.format(m) for m in metrics for c in columns):
            if row.get(column):
                cell = find_cell(book, path, [str(number)], column)
                assert cell.agrees, (number, column, cell.text, cell.again)
                assert cell.files, (number, column)
                compared += 1
    assert compared >= 50


def test_the_trail_is_plain_content(made):
    assert json.loads(json.dumps(traced(made)))["file"] == TABLE
