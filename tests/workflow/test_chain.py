"""Snakemake and DVC together, from params.yaml to tables: what runs again, and above all what does not.

The workflow is the real one; only the `guidelab` command is replaced by one that takes milliseconds and writes hashes
of all it was given. `test_real.py` runs the real commands.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from tree import EXPERIMENT, Tree

NOTHING = "Nothing to be done"
RESULTS = f"results/{EXPERIMENT}"
TABLE = f"results/tables/{EXPERIMENT}.csv"
PRINTED = {
    f"table {TABLE}",
    f"story results/tables/{EXPERIMENT}.story.md",
    *(
        f"figure results/figures/{EXPERIMENT}/{name}.pdf"
        for name in ("sweep", "sweep_guides", "sweep_degraded", "sweep_planes", "divergence_weight")
    ),
}

pytestmark = pytest.mark.slow


def manifests(*stages):
    return {f"manifest {RESULTS}/manifests/{stage}.json" for stage in stages}


def point(variant, w, part="seeds0-1", rules=("sample", "density", "measure")):
    folders = {
        "sample": ("samples", "safetensors"),
        "density": ("density", "safetensors"),
        "measure": ("measurements", "csv"),
    }
    return {f"{r} {RESULTS}/{folders[r][0]}/{variant}/{w}/{part}.{folders[r][1]}" for r in rules}


def computed(jobs):
    """The jobs but for manifests, which DVC has written again whenever it looks into a stage."""
    return {line for line in jobs if not line.startswith("manifest ")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Everything built once by `dvc repro`, committed and pushed to a folder."""
    tree = Tree.new(tmp_path_factory.mktemp("built") / "tree")
    ran = tree.jobs("dvc", "repro", "-q")
    assert {line.split()[0] for line in ran} >= {
        "train",
        "sample",
        "measure",
        "collect",
        "table",
        "figure",
        "manifest",
    }
    tree.commit("results")
    tree.run("dvc", "remote", "add", "-d", "store", str(tree.root.parent / "store"))
    tree.commit("remote")
    tree.run("dvc", "push", "-q")
    return tree


@pytest.fixture
def tree(built, tmp_path):
    """A copy of the built tree to play with."""
    shutil.copytree(built.root, tmp_path / "copy", symlinks=True)
    return Tree(tmp_path / "copy")


@pytest.fixture
def pulled(built, tmp_path):
    """A clone with its results: no records of Snakemake but those the results carry."""
    clone = built.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "-q")
    assert not (clone.root / ".snakemake").exists()
    return clone


# ---- nothing to do -----------------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(tree):
    assert tree.jobs("dvc", "repro") == set()
    assert NOTHING in tree.planned()
    assert tree.run("git", "status", "--short") == ""


def test_a_clone_with_its_results_does_nothing(pulled):
    assert NOTHING in pulled.planned("--profile", "slurm", TABLE)
    assert NOTHING in pulled.planned()
    assert pulled.jobs("dvc", "repro") == set()
    assert pulled.run("git", "status", "--short") == ""


def test_a_clone_without_the_large_files_prints_its_tables_and_notices_changed_parameters(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    assert NOTHING in clone.planned(TABLE)
    clone.set("denoisers.s.train.lr", 2.0e-2)
    planned = clone.planned(TABLE)
    assert "rule train" in planned
    assert "rule table" in planned


def test_comments_docstrings_and_rule_comments_run_nothing(tree):
    tree.append("src/guidelab/core/guidance/potential.py", "\n# a comment\n")
    tree.append("src/guidelab/io/arrays.py", '\n"""Words that stand alone."""\n')
    tree.append("workflow/rules/sample.smk", "\n# a comment\n")
    assert tree.snakemake() == set()


def test_a_new_method_in_the_registry_runs_nothing(tree):
    path = tree.root / "src/guidelab/registry/sampling.py"
    text, first = path.read_text(), '    "reference": Entry('
    assert first in text
    path.write_text(text.replace(first, f'    "new": Entry("guidelab.core.guidance.new:New"),\n{first}'))
    (tree.root / "src/guidelab/core/guidance/new.py").write_text("New = None\n")
    assert tree.snakemake() == set()


# ---- just what changed -------------------------------------------------------------------------------------------


def test_one_weight_changed_runs_that_point_and_what_reads_it(tree):
    stale = tree.root / RESULTS / "samples/autog/w2.00"
    assert stale.exists()
    tree.set("variants.autog.weights", [2.5, 3.0])
    expected = point("autog", "w2.50") | {f"collect {RESULTS}/measurements.csv"} | PRINTED
    assert tree.snakemake() == expected | manifests("sample", "density", "measure", "paper")
    assert not stale.exists(), "a manifest must remove what is no longer planned"
    assert tree.snakemake() == set()


def test_one_weight_removed_runs_no_sampler(tree):
    tree.set("variants.autog.weights", [3.0])
    expected = {f"collect {RESULTS}/measurements.csv"} | PRINTED
    assert tree.snakemake() == expected | manifests("sample", "density", "measure", "paper")


def test_an_edited_method_runs_its_points_only(tree):
    tree.append("src/guidelab/core/guidance/potential.py", "\n_EDIT = 1\n")
    ran = tree.snakemake()
    expected = (
        point("dg", "w1.00")
        | point("dg_autog", "w2.00", "seed0")
        | {f"collect {RESULTS}/measurements.csv"}
        | PRINTED
    )
    assert ran == expected | manifests("sample", "density", "measure", "paper")


def test_an_edited_metric_measures_again_and_samples_nothing(tree):
    tree.append("src/guidelab/metrics/frechet.py", "\n_EDIT = 1\n")
    rules = {line.split()[0] for line in tree.snakemake()}
    assert rules == {"measure", "collect", "table", "story", "figure", "manifest"}


@pytest.mark.parametrize(
    ("keys", "value", "rule"),
    [
        ("denoisers.s.train.lr", 2.0e-2, "train"),
        ("sampler.steps", 9, "sample"),
        ("evaluate.neighbours", 4, "measure"),
    ],
)
def test_parameters_changed_after_a_clone_are_noticed(pulled, keys, value, rule):
    pulled.set(keys, value)
    assert f"rule {rule}:" in pulled.planned(TABLE)


def test_a_changed_result_is_named_and_what_was_made_from_it_runs_again(pulled):
    model = f"{RESULTS}/models/main.safetensors"
    (pulled.root / model).write_text("better numbers\n")
    planned = pulled.planned(TABLE)
    assert f"WARNING {model}" in planned
    assert "dvc checkout" in planned
    assert "rule sample:" in planned
    pulled.run("dvc", "checkout", "-q", "--force", model)
    again = pulled.planned(TABLE)
    assert NOTHING in again
    assert "WARNING" not in again


# ---- by hand and by DVC ------------------------------------------------------------------------------------------


def test_by_hand_first_then_dvc_recomputes_nothing(tree):
    tree.set("variants.autog.weights", [2.5, 3.0])
    assert point("autog", "w2.50") <= tree.snakemake()
    assert computed(tree.jobs("dvc", "repro", "-q")) == set()
    assert "up to date" in tree.run("dvc", "status")


def test_deleted_results_are_made_again(tree):
    """Manifests are the targets; what they list must be looked for all the same."""
    sample = f"{RESULTS}/samples/autog/w2.00/seeds0-1.safetensors"
    (tree.root / sample).unlink()
    assert computed(tree.jobs("dvc", "repro", "-q", "sample")) == {f"sample {sample}"}
    (tree.root / sample).unlink()
    (tree.root / TABLE).unlink()
    assert f"table {TABLE}" in tree.snakemake()
    assert (tree.root / sample).exists()


def test_a_run_that_was_killed_before_it_could_export_is_caught_up(tree, tmp_path):
    tree.set("variants.autog.weights", [2.5, 3.0])
    tree.snakemake("--no-hooks")
    assert "w2.50" not in (tree.root / RESULTS / "provenance/sample.json").read_text()
    planned = tree.planned()
    assert "WARNING" not in planned
    assert NOTHING in planned
    assert "w2.50" not in (tree.root / RESULTS / "provenance/sample.json").read_text(), (
        "a dry run writes nothing"
    )
    assert tree.snakemake() == set()
    assert "w2.50" in (tree.root / RESULTS / "provenance/sample.json").read_text()


def test_a_failed_run_keeps_what_is_done(tree):
    tree.set("variants.autog.weights", [2.5, 3.0])
    tree.environment["FAKE_GUIDELAB_FAIL"] = "collect"
    with pytest.raises(AssertionError, match="collect"):
        tree.snakemake()
    del tree.environment["FAKE_GUIDELAB_FAIL"]
    assert not point("autog", "w2.50") & tree.snakemake()


def test_experiments_of_dvc_are_run_shown_and_compared(tree):
    key = f"experiments.{EXPERIMENT}.variants.autog.weights"
    ran = tree.jobs("dvc", "exp", "run", "-q", "-n", "trial", "-S", f"{key}=[2.5,3.0]")
    assert {line for line in ran if line.startswith("sample ")} == point("autog", "w2.50", rules=("sample",))
    rows = list(csv.DictReader(io.StringIO(tree.run("dvc", "exp", "show", "--csv"))))
    (trial,) = [row for row in rows if row["Experiment"] == "trial"]
    (start,) = [row for row in rows if row["rev"] == "main"]
    metric = next(name for name in trial if name.endswith("autog_js"))
    assert trial[metric] != start[metric]
    assert any(name.endswith(key) and trial[name] != start[name] for name in trial)
    changed = json.loads(tree.run("dvc", "metrics", "diff", "--json", "HEAD", "trial"))
    assert changed[f"{RESULTS}/metrics.json"]["autog_js"]["diff"] != 0
    page = tree.run("dvc", "plots", "diff", "HEAD", "trial", "--out", "plots")
    assert "index.html" in page
    shown = (tree.root / "plots/index.html").read_text()
    assert "guidance weight minus its neutral weight" in shown
    # back and forth between experiments, nothing is recomputed
    tree.run("git", "checkout", "-q", "--force", "main")
    tree.run("dvc", "checkout", "-q", "--force")
    assert computed(tree.jobs("dvc", "repro", "-q")) == set()
    tree.run("dvc", "exp", "apply", "trial")
    assert NOTHING in tree.planned()
    assert computed(tree.jobs("dvc", "repro", "-q")) == set()


def test_an_experiment_of_dvc_in_a_copy_never_changes_the_folder_it_starts_from(tree):
    """As README prints it: without `--temp` DVC first deletes what dvc.lock does not hold."""
    tree.set("variants.autog.weights", [2.5, 3.0])
    tree.snakemake()  # DVC knows nothing of it
    trial = ("dvc", "exp", "run", "--temp", "-q", "-S")
    key = f"experiments.{EXPERIMENT}.variants.autog.weights"

    def here():
        return {
            p: p.read_bytes()
            for p in [*tree.root.glob("results/**/*.*"), tree.root / "params.yaml"]
            if p.is_file()
        }

    before = here()
    assert any("autog/w2.50" in str(path) for path in before)
    with pytest.raises(AssertionError, match=r"given 'autog/w3\.00', wanted a weight of its sweep"):
        tree.run(*trial, f"{key}=[2.0,2.5]")  # ends with the refusal
    assert here() == before
    tree.run("dvc", "commit", "-q", "-f")
    ran = tree.jobs(*trial, f"{key}=[2.0,2.5,3.0]")
    assert {line for line in ran if line.startswith("sample ")} == point("autog", "w2.00", rules=("sample",))
    assert here() == before


def test_provenance_carries_no_machine_and_no_time(built):
    for path in (built.root / RESULTS / "provenance").glob("*.json"):
        text = path.read_text()
        assert str(built.root) not in text
        assert str(Path.home()) not in text
        for word in ("starttime", "endtime", "mtime"):
            assert word not in text
