"""The real commands, once, at the smallest scale: everything is built, twice gives the same bytes, nothing is left to do."""

import csv
import json
import platform
import re
from pathlib import Path

import pytest
from tree import EXPERIMENT, Tree

from guidelab.plan.plan import Plan
from guidelab.provenance import records
from guidelab.provenance.disk import sha256
from guidelab.spec.load import load_spec

pytestmark = pytest.mark.slow
RESULTS = f"results/{EXPERIMENT}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tree = Tree.new(tmp_path_factory.mktemp("real") / "tree", fake=False, warm=True)
    tree.run("snakemake", "--cores", "2", "--quiet", "all")
    return tree


@pytest.fixture(scope="module")
def stages(built):
    return Plan(load_spec(built.root / "params.yaml")).stages(EXPERIMENT)


def test_every_planned_file_is_there_with_its_record(built, stages):
    for stage in stages:
        entries, complaint = records.read(built.root, stage)
        assert complaint is None
        for path in (*stage.files, stage.manifest):
            assert (built.root / path).stat().st_size > 0, path
            assert entries[path].sha256 == sha256(built.root / path), path


def test_nothing_is_left_to_do_and_dvc_agrees(built):
    assert "Nothing to be done" in built.planned()
    assert "Nothing to be done" in built.planned("--profile", "slurm", f"results/tables/{EXPERIMENT}.csv")


def test_the_same_bytes_come_out_again(built):
    """Delete one file of every kind of job, make it again, compare."""
    point = "autog/w2.00/seeds0-1"
    again = [
        f"{RESULTS}/data/train.safetensors",
        f"{RESULTS}/checkpoints/xs/seeds0-1.safetensors",
        f"{RESULTS}/checkpoints/xs/seeds0-1.csv",
        f"{RESULTS}/models/weak.safetensors",
        f"{RESULTS}/generated/guide.safetensors",
        f"{RESULTS}/discriminators/guide.safetensors",
        f"{RESULTS}/samples/{point}.safetensors",
        f"{RESULTS}/density/{point}.safetensors",
        f"{RESULTS}/graders/grade/none/w1.00/seeds0-1.safetensors",
        f"{RESULTS}/measurements/{point}.csv",
        f"{RESULTS}/nulls/grade.safetensors",
        f"{RESULTS}/divergences/null.csv",
        f"{RESULTS}/divergences/cfg/w4.00/seeds0-1.csv",
        f"results/tables/{EXPERIMENT}_divergences.csv",
        f"results/tables/{EXPERIMENT}_dg_theorem.csv",
        f"results/tables/{EXPERIMENT}_costs.csv",
        f"results/figures/{EXPERIMENT}/divergence_sigma.png",
        f"{RESULTS}/fields/fig2.safetensors",
        f"results/figures/{EXPERIMENT}/fig2.csv",
        f"results/figures/{EXPERIMENT}/fig2.png",
        f"results/figures/{EXPERIMENT}/fig2.pdf",
    ]
    before = {path: sha256(built.root / path) for path in again}
    for path in again:
        (built.root / path).unlink()
    built.run("snakemake", "--cores", "2", "--quiet", "all", "--", *again)
    assert {path: sha256(built.root / path) for path in again} == before


def test_tables_hold_no_times_and_no_machine(built):
    printed = [
        *Path(built.root, "results/tables").iterdir(),
        built.root / RESULTS / "metrics.json",
        built.root / RESULTS / "selected.csv",
    ]
    for path in printed:
        text = path.read_text()
        assert platform.node() not in re.findall(r"[\w.-]+", text), path
        assert str(built.root) not in text, path
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text), f"{path}: a date"


def test_a_printed_number_is_followed_back_with_times_machine_and_versions(built):
    table = f"results/tables/{EXPERIMENT}.csv"
    found = json.loads(built.run("guidelab", "trace", table, "--row", "1", "--json"))
    assert found["problems"] == []
    assert {step["rule"] for step in found["steps"]} >= {
        "table",
        "collect",
        "measure",
        "sample",
        "reconstruct",
        "train",
    }
    assert {state["word"] for state in found["files"].values()} == {"intact"}
    for step in found["steps"]:
        run = step["run"]
        assert run is not None and run["clock"] == "job" and run["seconds"] > 0, step["rule"]
        assert run["machine"]["name"] == platform.node() and run["software"]["torch"]
        assert step["code"] == step["code_now"] and step["told_now"] == []


def test_the_small_results_alone_show_that_nothing_is_to_be_done(built, stages, tmp_path):
    """What is in git, without large files and without a DVC remote, shows that the printed numbers are the code's."""
    clone = built.clone(tmp_path / "clone")
    for path in (path for stage in stages for path in (stage.provenance, *stage.in_git)):
        for source in [p for p in (built.root / path, *(built.root / path).rglob("*")) if p.is_file()]:
            target = clone.root / source.relative_to(built.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    assert "Nothing to be done" in clone.planned(f"results/tables/{EXPERIMENT}.csv")
    clone.set("evaluate.neighbours", 4)
    assert "rule measure:" in clone.planned(f"results/tables/{EXPERIMENT}.csv")


def test_a_clone_with_what_is_shipped_trains_nothing(built, tmp_path):
    """Trail and a new guide work from what git holds and `dvc pull -r shipped`; other large files stay away."""
    built.run("dvc", "commit", "-q", "-f")
    paths = built.run("guidelab", "shipped").split()
    assert [path.removeprefix(f"{RESULTS}/") for path in paths] == [
        "models", "discriminators", "graders", "measurements", "data/reference.safetensors"
    ]  # fmt: skip
    built.run("dvc", "push", "-q", "-r", "shipped", *paths)
    built.commit("results, and what comes with them")
    built.run("git", "clone", "-q", str(built.root), str(tmp_path / "clone"))
    clone = Tree(tmp_path / "clone", fake=False, warm=True)
    clone.run("dvc", "pull", "-q", "-r", "shipped", *clone.run("guidelab", "shipped").split())
    assert not (clone.root / RESULTS / "samples").exists()
    table = f"results/tables/{EXPERIMENT}.csv"
    assert "Nothing to be done" in clone.planned(table)
    found = json.loads(clone.run("guidelab", "trace", table, "--row", "1", "--json"))
    here = {path for path, state in found["files"].items() if state["word"] == "intact"}
    assert found["problems"] == [] and f"{RESULTS}/models/main.safetensors" in here

    guide = {"method": "reference", "ref": "weak", "sigma_lo": 0.02, "sigma_hi": 2.0}
    clone.set("variants.mine", {"main": "main", "guide": guide, "weights": [2.0]})
    ran = clone.run("snakemake", "--cores", "2", "--", table)
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    input: .*\n)?    output: (\S+?),?(?: .*)?$", ran, re.M)
    point = "mine/w2.00/seeds0-1"
    assert {(rule, path) for rule, path in jobs if rule not in ("collect", "table")} == {
        ("sample", f"{RESULTS}/samples/{point}.safetensors"),
        ("density", f"{RESULTS}/density/{point}.safetensors"),
        ("measure", f"{RESULTS}/measurements/{point}.csv"),
    }
    assert len(jobs) == 5 and "mine" in (clone.root / table).read_text()


def test_a_new_guide_variant_is_one_entry_of_params_yaml_and_no_code(built):
    """Last in this file: it changes the tree the others look at."""
    guide = {"method": "reference", "ref": "weak", "sigma_lo": 0.01, "sigma_hi": 1.0}
    built.set("variants.autog_interval", {"main": "main", "guide": guide, "weights": [2.0]})
    rows = f"{RESULTS}/measurements/autog_interval/w2.00/seeds0-1.csv"
    planned = built.planned(rows)
    assert "rule train" not in planned and "rule reconstruct" not in planned
    built.run("snakemake", "--cores", "2", "--quiet", "all", "--", rows)
    with (built.root / rows).open() as file:
        measured = list(csv.DictReader(file))
    assert {row["metric"] for row in measured} >= {"recall", "js", "outliers_99"}
    assert {(row["method"], row["sigma_lo"], row["sigma_hi"]) for row in measured} == {
        ("reference", "0.01", "1")
    }
    assert all(row["value"] for row in measured if row["metric"] == "recall")
