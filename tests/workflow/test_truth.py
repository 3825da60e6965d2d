"""Records agree with what ran: another copy's code, forged and damaged results, links to a scratch disk, DVC's workspaces.

The workflow, Snakemake and DVC are real. Jobs are real where their code matters, else they take milliseconds.
"""

import os
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from tree import EXPERIMENT, Tree

pytestmark = pytest.mark.slow
RESULTS = f"results/{EXPERIMENT}"
REFERENCE, DATA = f"{RESULTS}/data/reference.safetensors", f"{RESULTS}/manifests/data.json"
DRAW = "return self.sample(torch.randn(n, 3, generator=generator))"
SHIFT = 7.0


def shift(tree):
    """Edit the code of a tree: its data lie elsewhere."""
    path = tree.root / "src/guidelab/data/toy2d_tree.py"
    text = path.read_text()
    assert DRAW in text
    path.write_text(text.replace(DRAW, f"{DRAW} + {SHIFT}"))


def is_shifted(tree, path=REFERENCE):
    return load_file(tree.root / path)["x"].mean().item() > SHIFT / 2


def refused(tree, *command, **more):
    with pytest.raises(AssertionError) as caught:
        tree.run(*command, **more)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


# ---- code --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two copies with their own real commands; the second one's code was edited."""
    folder = tmp_path_factory.mktemp("two")
    trees = [Tree.new(folder / name, fake=False) for name in ("a", "b")]
    shift(trees[1])
    return trees


def test_with_another_copy_activated_a_tree_runs_its_own_code(two):
    a, b = two
    binaries = f"{a.log.parent}{os.pathsep}{b.environment['PATH']}"
    b.run(
        "snakemake", "-c1", "--quiet", "all", "--", REFERENCE, PATH=binaries, PYTHONPATH=str(a.root / "src")
    )
    assert is_shifted(b)


def test_a_job_that_would_run_the_code_of_another_copy_stops_and_names_both(two, tmp_path):
    """A command that imports the other copy in any case, as a non-editable install does."""
    a, b = two
    command = tmp_path / "guidelab"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={a.root}/src exec {sys.executable} -m guidelab.cli.app "$@"\n')
    command.chmod(0o755)
    target = f"{RESULTS}/data/train.safetensors"
    said = refused(b, "snakemake", "-c1", "--", target, PATH=f"{tmp_path}{os.pathsep}{b.environment['PATH']}")
    assert f"of {b.root}/src/guidelab; the code that would run, {a.root}/src/guidelab, is" in said
    assert not (b.root / target).exists()


def test_with_the_profile_of_a_cluster_a_tree_plans_with_its_own_code(two):
    """The profile imports the activated copy before the workflow is read."""
    a, b = two
    environment = {"PYTHONPATH": str(a.root / "src")}
    target = f"{RESULTS}/data/train.safetensors"
    told = [
        b.run("snakemake", "-n", "-p", *profile, "--", target, **environment)
        for profile in ([], ["--profile", "slurm"])
    ]
    codes = [{part.split('"')[0] for part in text.split('"code":"')[1:]} for text in told]
    own = b.run("guidelab", "job", "prepare", EXPERIMENT, "train")
    assert len(codes[0]) == 1 and codes[0] == codes[1] and f'"code": "{codes[0].pop()}"' in own


def test_an_experiment_of_dvc_runs_the_code_of_its_workspace(two):
    """DVC copies the tree to a folder of its own, while another copy is activated."""
    a, b = two
    key = f"experiments.{EXPERIMENT}.folds.reference.n"
    command = ("dvc", "exp", "run", "--temp", "-n", "trial", "-S", f"{key}=128", "data")
    a.run(*command, PYTHONPATH=str(b.root / "src"))
    a.run("dvc", "exp", "branch", "trial", "of-trial")
    a.run("git", "checkout", "-q", "of-trial", "--", "dvc.lock")
    a.run("dvc", "checkout", "-q", "--force", "data")
    assert len(load_file(a.root / REFERENCE)["x"]) == 128
    assert not is_shifted(a)


# ---- records -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tree = Tree.new(tmp_path_factory.mktemp("truth") / "tree")
    tree.snakemake(DATA, f"{RESULTS}/manifests/train.json")
    tree.commit("results")
    return tree


@pytest.fixture
def copy(built, tmp_path):
    """A copy that keeps every time, as `cp -a` makes it."""
    shutil.copytree(built.root, tmp_path / "copy", symlinks=True)
    return Tree(tmp_path / "copy")


def kept(tree):
    """Content and time of every file but Snakemake's own."""
    files = [
        p for p in tree.root.rglob("*") if p.is_file() and not {".snakemake", ".git", "logs"} & set(p.parts)
    ]
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize("changed", ["parameters", "code"])
def test_results_are_never_called_up_to_date_without_their_jobs(copy, changed):
    """`--touch` writes no record, and no ledger of accepted changes."""
    if changed == "parameters":
        copy.set("denoisers.s.train.lr", 2.0e-2)
    else:
        copy.append("src/guidelab/nets/toy.py", "\n_ALIKE = 1\n")
    before = kept(copy)
    target = f"{RESULTS}/models/main.safetensors"
    assert "--touch: would record results" in refused(copy, "snakemake", "--touch", "-c1", "--", target)
    assert kept(copy) == before
    assert "rule train:" in copy.planned("--", target)


def test_a_damaged_copy_is_named_by_a_dry_run_that_writes_nothing(copy):
    path = copy.root / REFERENCE
    about, text = path.stat(), path.read_text()
    path.write_text(text[:-2] + ("1" if text[-2] != "1" else "2") + text[-1:])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    before = kept(copy)
    assert f"WARNING {REFERENCE}" in copy.planned("--", DATA)
    assert kept(copy) == before
    copy.snakemake("--", DATA)
    assert copy.run("git", "status", "--short", f"{RESULTS}/provenance") == ""
    done = subprocess.run(
        [sys.executable, "-m", "guidelab.cli.app", "trace", REFERENCE],
        cwd=copy.root, env=copy.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and f"PROBLEM {REFERENCE}: CHANGED" in done.stdout, done.stdout + done.stderr


def test_an_unknown_configuration_key_is_never_ignored(built, tmp_path):
    (tmp_path / "c.yaml").write_text("parms: mine.yaml\n")
    said = refused(built, "snakemake", "-n", "--configfile", str(tmp_path / "c.yaml"), "--", DATA)
    assert "parms: unknown key; wanted params; did you mean 'params'?" in said


# ---- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["results", f"{RESULTS}/data"])
def test_results_on_a_scratch_disk_work_and_nothing_there_is_removed(copy, link, tmp_path):
    scratch = tmp_path / "scratch"
    (copy.root / link).rename(scratch)
    (copy.root / link).symlink_to(scratch)
    mine = copy.root / RESULTS / "data/mine.txt"
    mine.write_text("mine")
    assert "Nothing to be done" in copy.planned("--", DATA)
    copy.set("folds.extra", {"n": 64, "seed": 77})
    ran = copy.snakemake("--", DATA)
    assert f"prepare {RESULTS}/data/extra.safetensors" in ran
    copy.write_params(lambda params: params["experiments"][EXPERIMENT]["folds"].pop("extra"))
    copy.snakemake("--", DATA)
    assert (copy.root / RESULTS / "data/extra.safetensors").exists() and mine.read_text() == "mine"
    assert (copy.root / link).is_symlink()
    assert "intact" in copy.run(sys.executable, "-m", "guidelab.cli.app", "trace", REFERENCE)


def test_without_links_what_is_planned_no_more_goes_and_what_is_mine_stays(copy):
    mine = copy.root / RESULTS / "data/mine.txt"
    mine.write_text("mine")
    copy.set("folds.extra", {"n": 64, "seed": 77})
    copy.snakemake("--", DATA)
    copy.write_params(lambda params: params["experiments"][EXPERIMENT]["folds"].pop("extra"))
    copy.snakemake("--", DATA)
    assert not (copy.root / RESULTS / "data/extra.safetensors").exists() and mine.read_text() == "mine"
