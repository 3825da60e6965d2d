"""From a printed number back to its data: found, followed, checked; and what is said when something is wrong."""

import contextlib
import csv
import json
import math
import os
import re
import shlex
import threading
from pathlib import Path

import pytest
from shipped import outdated
from trail_cases import (
    CHECKPOINTS,
    DATA,
    DENSITY,
    MEASURED,
    MODEL,
    ROWS,
    SAMPLES,
    SHARD,
    SOURCES,
    TABLE,
    Trail,
    build,
)
from typer.testing import CliRunner

from guidelab.cli.crate import crate as crate_command
from guidelab.cli.crate import crate_commands
from guidelab.cli.trace import trace as trace_command
from guidelab.cli.trace import trace_commands
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.jobs import divergences as divergences_job
from guidelab.jobs import table as table_job
from guidelab.lineage.trail import cells
from guidelab.lineage.trail.book import Book
from guidelab.lineage.trail.cells import find_cell, seeds_of
from guidelab.lineage.trail.rows import Row
from guidelab.lineage.trail.text import as_text
from guidelab.lineage.trail.trace import changed, trace
from guidelab.paper import sources
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
FORMS = (".csv", ".md", ".tex", ".sources.csv")
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


@pytest.mark.parametrize(
    ("old", "new"), [("0|1", "0"), ("report1|report2", "report1|select"), (",mean,", ",minimum,")]
)
def test_sources_that_name_other_rows_do_not_make_the_number(made, old, new):
    text = (made.root / SOURCES).read_text()
    assert old in text
    (made.root / SOURCES).write_text(text.replace(old, new))
    assert any("says 3, its" in problem for problem in traced(made)["problems"])


def test_sources_that_name_no_row_are_refused(made):
    (made.root / SOURCES).write_text((made.root / SOURCES).read_text().replace("cfg,2", "cfg,3"))
    with pytest.raises(
        UserError, match=r"no row of results/e/measurements.csv is as .*e.sources.csv, line 2 says"
    ):
        traced(made)


def test_a_table_without_sources_says_to_make_it_again(made):
    made.entries["e/paper"].pop(SOURCES)
    made.save()
    with pytest.raises(UserError, match=f"no file of its sources is recorded.*snakemake -c2 {TABLE}"):
        traced(made)


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
        (FRECHET, "published", "its published is empty, so there is no trail"),
        ("metric=js", None, "nothing was measured there"),
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


# ---- records that come with a clone ------------------------------------------------------------------------------


def recorded(made, stage, output, like, sha="5" * 64):
    """Add an output to the job that made another file, as a hostile record has it."""
    path = made.root / f"results/e/provenance/{stage}.json"
    content = json.loads(path.read_text())
    (job,) = [job for job in content["jobs"] if like in job["outputs"]]
    job["outputs"][output] = sha
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["../../../../../../../../dev/zero", "/dev/zero", "results/e/../../../x"])
def test_a_recorded_path_out_of_the_project_is_named_and_not_read(made, name):
    recorded(made, "train", name, MODEL)
    found = traced(made)
    assert changed(found)
    assert f"{name}: NOT READ: " in "".join(found["problems"]) and "5" * 12 not in "".join(found["problems"])
    assert "NOT READ" in as_text(found)


@contextlib.contextmanager
def pipe(path):
    """A pipe nobody writes to; whoever reads it all the same gets an empty file, so that a test ends."""
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.open("wb").close(), daemon=True)
    writer.start()
    yield
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(10)


def test_links_to_what_has_no_end_are_not_read(made):
    (made.root / MODEL).unlink()
    (made.root / MODEL).symlink_to("/dev/zero")
    recorded(made, "train", "results/e/pipe.csv", MODEL)
    with pipe(made.root / "results/e/pipe.csv"):
        problems = "".join(traced(made)["problems"])
    assert f"{MODEL}: NOT READ: leads to /dev/zero, out of this project" in problems
    assert "results/e/pipe.csv: NOT READ: is no regular file" in problems


@pytest.mark.parametrize("path", [TABLE, ROWS, SOURCES, "results/e/provenance/zz.json"])
def test_tables_and_records_that_are_links_to_a_device_are_refused(made, path):
    (made.root / path).unlink(missing_ok=True)
    (made.root / path).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=f"{path}: leads to /dev/zero, .*git checkout -- {path}"):
        traced(made)


def test_runs_that_are_no_regular_file_are_not_opened(made, monkeypatch):
    opened, read_text = [], Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **how: opened.append(path.name) or read_text(path, **how)
    )
    made.write("results/e/runs/other.json", "")
    with pipe(made.root / "results/e/runs/paper.json"):
        assert all(step["run"] is None for step in traced(made)["steps"])
    assert opened and opened.count("paper.json") == 1, "the records alone"


def test_a_link_into_the_cache_that_dvc_names_is_read(made):
    cache = made.root.parent / f"{made.root.name}-cache" / "of"
    cache.parent.mkdir()
    (made.root / MODEL).rename(cache)
    (made.root / MODEL).symlink_to(cache)
    made.write(".dvc/config", f"[cache]\n    dir = ../../{cache.parent.name}\n")
    found = traced(made)
    assert found["files"][MODEL]["word"] == "intact" and not changed(found)


def test_inputs_that_are_no_lists_of_paths_are_refused(made):
    made.made("train", "train", [CHECKPOINTS], {}, {"seeds": [0, 1]})
    record = made.entries["e/train"][CHECKPOINTS].record
    record["params"][0] = repr(json.dumps({"inputs": ["x"]}))
    made.save()
    with pytest.raises(
        UserError, match=rf"provenance/train.json: the inputs of {CHECKPOINTS} are .*wanted labels"
    ):
        traced(made)


def ran(made, machine, **line):
    """Keep a run of the training, on a machine."""
    sha = made.entries["e/train"][CHECKPOINTS].sha256
    line = {"output": CHECKPOINTS, "sha256": sha, "seconds": 2.5, "clock": "job", "machine": "m0", **line}
    content = {"format": 1, "machines": {"m0": machine}, "software": {}, "jobs": [line]}
    made.write("results/e/runs/train.json", json.dumps(content))
    (step,) = [s for s in traced(made)["steps"] if s["rule"] == "train"]
    return step["run"]


def test_a_run_is_believed_only_of_the_content_it_speaks_of(made):
    assert ran(made, {"name": "cluster-a"})["seconds"] == 2.5
    assert ran(made, {"name": "cluster-a"}, sha256="0" * 64) is None


def test_control_characters_of_a_record_do_not_reach_the_terminal(made):
    assert ran(made, {"name": "host\x1b[31m\x9b2J\nPROBLEM made up\u202e", "processor": "p\r"})
    text = as_text(traced(made))
    assert "host[31m2JPROBLEM made up, p, None cores" in text
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert not [line for line in text.split("\n") if line.startswith("PROBLEM")]


def test_cells_of_a_table_are_named_without_control_characters(made):
    (made.root / TABLE).write_text((made.root / TABLE).read_text().replace(",cfg,", ",c\x1b[2Jfg,"))
    with pytest.raises(UserError) as refused:
        traced(made)
    assert "\x1b" not in str(refused.value)
    assert str(Row(1, {"variant": "a\x1b[2Jb"})) == "row 1: variant=a[2Jb"


def test_one_of_a_kind_is_said_in_the_singular_and_no_interval_is_over_nothing(made):
    text = as_text(trace(ROWS, ["3"], None, root=made.root))
    assert "1 row of results/e/measurements.csv:" in text and "1 rows" not in text
    header, line, *_ = (made.root / TABLE).read_text().splitlines()
    made.write(
        "results/figures/e/f.csv", f"{header}\n{line.replace('trainings', '')}\n".replace(",over", ",n")
    )
    made.made("paper", "figure", ["results/figures/e/f.csv"], {"measurements": [ROWS]}, {})
    made.save()
    text = as_text(trace("results/figures/e/f.csv", ["1"], None, root=made.root))
    assert "value = 3  [1, 5]\n" in text


# ---- the numbers of this project ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The tables of this project, made here of its rows, with records of the jobs that make them."""
    trail = Trail(tmp_path_factory.mktemp("printed"))
    plan = Plan(load_spec(ROOT / "params.yaml"))
    for name in ("toy2d", "fashion", "fashion_full"):
        inputs = {n: [f"results/{name}/{n}.csv"] for n in ("measurements", "selected")}
        outputs = [f"results/tables/{name}{end}" for end in FORMS]
        told = json.loads(plan.payload("table", name))
        here = told | {
            "inputs": {n: [str(ROOT / path) for path in paths] for n, paths in told["inputs"].items()}
        }
        here["inputs"]["errors"] = [str(trail.root / "errors.safetensors")]  # no error is traced
        save_arrays(here["inputs"]["errors"][0], {}, {"points": {}})
        for (path,) in inputs.values():
            trail.write(path, (ROOT / path).read_text())
        (trail.root / "results/tables").mkdir(exist_ok=True)
        table_job.run(here, [trail.root / path for path in outputs])
        files = [path for (path,) in inputs.values()]
        trail.made("measure", "collect", files, {"rows": measured(name)}, {}, name)
        trail.made("paper", "table", outputs, inputs, {}, name)
    for name in ("toy2d", "fashion"):
        outputs = [
            f"results/{name}/divergences.csv",
            *(f"results/tables/{name}_divergences{end}" for end in FORMS),
        ]
        rows = {"inputs": {"rows": [str(ROOT / outputs[0])]}, "experiment": name, "scale": "reduced"}
        divergences_job.run(rows, [trail.root / path for path in outputs])
        of_jobs = {"rows": measured(name), "null": [f"results/{name}/divergences/null.csv"]}
        trail.made("diverge", "divergences", outputs, of_jobs, {}, name)
    trail.save()
    return Book(trail.root)


def measured(name):
    """The files of measuring every point, as measurements.csv names the points."""
    rows = csv.DictReader((ROOT / f"results/{name}/measurements.csv").open())
    points = {(row["variant"], float(row["w"]), row["train_seed"]) for row in rows}
    return sorted(f"results/{name}/measurements/{v}/w{w:.2f}/seed{seed}.csv" for v, w, seed in points)


def numbers_of(book, table, columns, least):
    """Rows of a table with their number, some of all, for every column that holds something."""
    path = f"results/tables/{table}.csv"
    rows = [(row.number, row.cells) for row in book.rows(path)]
    metrics = [c for c in rows[0][1] if c.count("@") == 1 and " " not in c] or [""]
    for column in (c.format(m) for m in metrics for c in columns):
        held = [(number, row) for number, row in rows if row.get(column)]
        for number, row in held[:: max(1, len(held) // least)]:
            yield path, number, row, column


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("toy2d", ["value"]),
        ("fashion", ["{}", "{} difference", "{} min of blocks"]),
        ("fashion_full", ["{}", "{} difference"]),
        ("toy2d_divergences", ["value", "lo", "hi", "n"]),
        ("toy2d_divergences", ["truth", "truth_lo", "truth_hi"]),
        ("toy2d_divergences", ["relative_error", "relative_lo", "relative_hi"]),
        ("toy2d_divergences", ["coverage", "above_truth", "repeats", "repeats_flagged", "repeats_n"]),
        ("fashion_divergences", ["value", "lo", "hi"]),
    ],
)
def test_every_printed_number_is_made_by_the_rows_it_is_traced_to(printed, table, columns):
    """The rows are those that the table's sources name; they are averaged here by other code than the tables'."""
    compared, each = 0, math.ceil(60 / len(columns))
    for path, number, _, column in numbers_of(printed, table, columns, each):
        cell = find_cell(printed, path, [str(number)], column)
        assert cell.agrees, (number, column, cell.text, cell.again)
        assert cell.files, (number, column)
        compared += 1
    assert compared >= 50


def test_every_number_of_a_table_has_sources_and_no_source_is_of_a_choosing_block(printed):
    for table in ("toy2d", "fashion"):
        path = f"results/tables/{table}.csv"
        sources = printed.rows(path.replace(".csv", ".sources.csv"))
        named = {(s.cells["row"], column) for s in sources for column in s.cells["columns"].split("; ")}
        for row in printed.rows(path):
            numbers = [c for c in row.cells if c == "value" or re.fullmatch(r"\w+@\w+( difference)?", c)]
            missing = [c for c in numbers if row.cells[c] and (str(row.number), c) not in named]
            assert not missing, (path, row, missing)
        reported = [s for s in sources if s.cells["how"] != "minimum"]
        assert reported and not any("select" in s.cells["seed_block"] for s in reported)


def test_the_columns_of_sources_are_those_that_tables_write():
    assert (cells.LEADING, cells.BETWEEN, cells.EITHER) == (sources.LEADING, sources.BETWEEN, sources.EITHER)


KINDS = {  # of the rows behind a column of a table of divergences
    "value": {"estimate", "truth"},
    "truth": {"truth", "target"},
    "truth_status": {"truth", "target"},
    "coverage": {"coverage"},
    "repeats": {"coverage"},
    "above_truth": {"above truth"},
}


@pytest.mark.parametrize("column", KINDS)
def test_every_column_of_divergences_is_traced_to_rows_of_its_own_kind(printed, column):
    for path, number, row, _ in numbers_of(printed, "toy2d_divergences", [column], 20):
        (behind,) = find_cell(printed, path, [str(number)], column).rows
        assert behind.cells["kind"] in KINDS[column]
        assert all(behind.cells[key] == row[key] for key in ("point", "train_seed", "divergence"))
        gain = row["divergence"] == "score_error"
        exact = f"{row['estimator']}_target" if gain else "exact"
        assert behind.cells["estimator"] == (exact if column.startswith("truth") else row["estimator"])


def test_a_relative_error_is_traced_to_the_estimate_and_to_its_truth(printed):
    for path, number, _, column in numbers_of(printed, "toy2d_divergences", ["relative_error"], 10):
        estimate, exact = find_cell(printed, path, [str(number)], column).rows
        assert estimate.cells["kind"] == "estimate" and exact.cells["kind"] in ("truth", "target")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("truth", "its truth is empty, so there is no trail. Wanted .*value, lo, hi, status, n"),
        ("coverage", "its coverage is empty, so there is no trail"),
        ("sigma_lo", "--column sigma_lo: is no number measured here; wanted one of value"),
        ("estimates", "--column estimates: is no number measured here"),
    ],
)  # fmt: skip
def test_a_column_of_divergences_without_a_trail_is_refused(printed, column, message):
    with pytest.raises(UserError, match=message):
        find_cell(printed, "results/tables/toy2d_divergences.csv", ["1"], column)


def examples(command):
    """The commands that `--help` of a command shows."""
    found = re.findall(r"^ *Example: `guidelab (\S+) (.*)`$", command.__doc__, re.MULTILINE)
    assert found
    return [(name, shlex.split(arguments)) for name, arguments in found]


@pytest.mark.parametrize(("name", "arguments"), [*examples(trace_command), *examples(crate_command)])
def test_what_help_shows_works_on_the_results_of_this_project(name, arguments, tmp_path, monkeypatch):
    if name == "crate":
        pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
        assert arguments[-2] == "-o" and "/" not in arguments[-1]
        arguments = [*arguments[:-1], str(tmp_path / arguments[-1])]
    monkeypatch.chdir(ROOT)
    without = "--row" in arguments and not Path(arguments[0].replace(".csv", ".sources.csv")).exists()
    done = CliRunner().invoke({"trace": trace_commands, "crate": crate_commands}[name], arguments)
    if name == "crate" and outdated(Plan(load_spec(ROOT / "params.yaml")), arguments[0]):
        assert isinstance(done.exception, UserError) and "Run again: snakemake" in str(done.exception)
        return  # results of other parameters are not packed as those of params.yaml
    if without:  # a table that was made before tables had a file of sources
        assert isinstance(done.exception, UserError) and "Make it again with: snakemake" in str(
            done.exception
        )
        return
    assert done.exit_code == 0, (done.exception, done.output[-500:])
    if name == "trace" and "--json" not in arguments:
        assert arguments[0] in done.output and "[1]" in done.output
    assert name == "trace" or (tmp_path / Path(arguments[-1])).exists()


def test_the_trail_is_plain_content(made):
    assert json.loads(json.dumps(traced(made)))["file"] == TABLE
