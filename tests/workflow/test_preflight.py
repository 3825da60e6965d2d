"""A run of streamed experiments without any input is refused at once by the real Snakefile; a dry run prints the same."""

import pytest
from tree import Tree

from guidelab.plan.build.expected import needed
from guidelab.plan.build.slices import rows
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

TABLE = "results/tables/cifar10.csv"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree.new(tmp_path_factory.mktemp("preflight") / "tree", more=["cifar10_smoke"])


def test_a_run_is_refused_before_any_job(tree):
    tree.log.write_text("")
    with pytest.raises(AssertionError) as caught:
        tree.run("snakemake", "--cores", "2", TABLE)
    printed = str(caught.value)
    assert "GUIDELAB_CIFAR10 is not set" in printed and "edm-cifar10-32x32-uncond-vp.pkl" in printed
    assert "Traceback" not in printed and "Building DAG" not in printed and tree.log.read_text() == ""


def test_a_dry_run_lists_missing_inputs_and_continues(tree):
    printed = tree.planned(TABLE)
    assert "GUIDELAB_CIFAR10 is not set" in printed and "H100-hours by rule: sample" in printed
    assert "total" in printed.split("Job stats")[1]


def test_jobs_get_no_list_and_released_files_come_first(tree):
    plan = Plan(load_spec(tree.root / "params.yaml"))
    for name in needed(plan.experiment("cifar10")):
        path = tree.root / "checkpoints" / rows()[name].file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tree.log.write_text("")
    targets = ["results/cifar10/data/reference.zip", "results/cifar10/obtained/models/cond.safetensors"]
    printed = tree.run("snakemake", "--cores", "1", "--", *targets, GUIDELAB_CIFAR10=str(tree.root))
    assert tree.log.read_text().splitlines()[0].startswith("obtain"), printed
    assert "not here" not in printed
    assert len(tree.log.read_text().splitlines()) == 2


def test_synthetic_files_are_not_reported_missing(tree):
    printed = tree.planned("results/tables/cifar10_smoke.csv")
    assert "not here" not in printed and "hours" not in printed and "Job stats" in printed
