"""Checks before a run of streamed experiments: all missing inputs are listed at once; other experiments are not checked."""

import sys
from pathlib import Path

import pytest
import yaml

from guidelab.costs.estimate import estimate
from guidelab.costs.gpus import gpu
from guidelab.costs.graph import jobs_for
from guidelab.errors import UserError
from guidelab.plan.absent import absent
from guidelab.plan.build.expected import needed
from guidelab.plan.build.slices import rows
from guidelab.plan.plan import Plan
from guidelab.runtime import preflight as module
from guidelab.runtime.preflight import invocation_of, preflight
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
TABLE = "results/tables/cifar10.csv"


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """The shipped parameters in a folder without results, published files and data variables."""
    found = Plan(load_spec(ROOT / "params.yaml"))
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.chdir(tmp_path)
    for name in ("GUIDELAB_CHECKPOINTS", "GUIDELAB_IMAGENET", "GUIDELAB_CIFAR10", "GUIDELAB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    return found


def fetched(plan, name, folder):
    """Every published file an experiment needs, empty."""
    for row in needed(plan.experiment(name)):
        path = folder / rows()[row].file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_all_missing_files_are_listed_at_once_with_address_and_licence(plan, tmp_path):
    with pytest.raises(UserError) as error:
        preflight(plan, ["-c1", TABLE])
    printed = str(error.value)
    for name in needed(plan.experiment("cifar10")):
        row = rows()[name]
        assert all(str(getattr(row, key)) in printed for key in ("name", "file", "url", "licence")), name
    assert str(tmp_path / "checkpoints") in printed and "GUIDELAB_CIFAR10 is not set" in printed
    assert "guidelab released cifar10" in printed and "guidelab bundle cifar10" in printed
    assert "GUIDELAB_IMAGENET" not in printed


def test_a_dry_run_lists_them_too_and_prints_the_cost(plan, capsys):
    preflight(plan, ["-nq", "rules", "--", f"./{TABLE}"])
    printed = capsys.readouterr().err
    assert "GUIDELAB_CIFAR10 is not set" in printed and "edm-cifar10-32x32-cond-vp.pkl" in printed
    full = estimate(plan, [TABLE], gpu("H100"))
    assert f"{full.total.left} jobs to run, about {full.total.gpu_hours:.1f} H100-hours" in printed
    by_rule = {line.rule: line.gpu_hours for line in full.lines if line.gpu_hours}
    assert f"by rule: sample {by_rule['sample']:.1f}, " in printed and set(by_rule) == {
        "sample",
        "train",
        "extract",
    }
    assert f"guidelab cost {TABLE} --measured" in printed


def test_a_run_with_all_inputs_prints_only_its_cost(plan, tmp_path, monkeypatch, capsys):
    fetched(plan, "cifar10", tmp_path / "kept")
    (tmp_path / "cifar-10-binary.tar.gz").touch()
    monkeypatch.setenv("GUIDELAB_CHECKPOINTS", str(tmp_path / "kept"))
    monkeypatch.setenv("GUIDELAB_CIFAR10", str(tmp_path / "cifar-10-binary.tar.gz"))
    preflight(plan, ["-c1", TABLE])
    assert len(capsys.readouterr().err.splitlines()) == 3
    monkeypatch.setenv("GUIDELAB_CIFAR10", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"GUIDELAB_CIFAR10=\S+elsewhere: is not there"):
        preflight(plan, ["-c1", TABLE])


def test_only_inputs_of_unfinished_jobs_are_required(plan, tmp_path, monkeypatch):
    with pytest.raises(UserError) as error:
        preflight(plan, ["-c1", "results/imagenet64/obtained/models/s_105.safetensors"])
    assert "1 published file needed" in str(error.value) and "GUIDELAB_IMAGENET" not in str(error.value)
    for path in (tmp_path / p for p in plan.experiment("cifar10").outputs("table")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    preflight(plan, ["-c1", TABLE])  # nothing is left to do
    with pytest.raises(UserError, match="GUIDELAB_CIFAR10"):
        preflight(plan, ["-c1", "--forceall", "--", TABLE])


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c2"],
        ["-c2", "all"],
        ["-c1", "results/tables/toy2d.csv"],
        ["-c1", "results/tables/fashion_full.csv"],
        ["-c1", "results/tables/imagenet256_smoke.csv", "results/tables/cifar10_smoke_trained.csv"],
    ],
)
def test_experiments_in_memory_and_smoke_experiments_are_not_checked(plan, arguments, monkeypatch, capsys):
    monkeypatch.setattr(
        module, "invocation_of", lambda arguments: pytest.fail("the command line was read again")
    )
    monkeypatch.setattr(module, "absent", lambda *_: pytest.fail("files were looked for"))
    preflight(plan, arguments)
    assert capsys.readouterr().err == ""


def test_a_streamed_default_experiment_is_checked(plan, tmp_path):
    raw = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"default": ["cifar10"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    mine = Plan(load_spec(tmp_path / "params.yaml"))
    for arguments in (["-c1"], ["-c1", "all"]):
        with pytest.raises(UserError, match="GUIDELAB_CIFAR10 is not set"):
            preflight(mine, arguments)
    preflight(mine, ["-c1", "results/tables/toy2d.csv"])


@pytest.mark.parametrize(
    ("more", "runs", "tells"),
    [
        (["-c1"], True, True),
        (["-n"], False, True),
        (["-np"], False, True),
        (["--dry-run"], False, True),
        (["-c1", "--until", "prepare", "--"], False, True),
        (["--unlock"], False, False),
        (["--touch", "-c1"], False, False),
        (["--summary"], False, False),
        (["--lint", "text"], False, False),
        (["--report", "r.html"], False, False),
        (["--no-such-option"], True, False),
    ],
)
def test_the_requested_targets_are_read_from_the_command_line(more, runs, tells):
    found = invocation_of([*more, TABLE])
    assert found.tells is tells and (found.runs is runs or not tells)
    assert not tells or found.targets == (TABLE,)


def test_a_profile_that_only_plans_is_heeded(tmp_path):
    (tmp_path / "config.yaml").write_text("dry-run: true\n")
    assert not invocation_of(["--profile", str(tmp_path), TABLE]).runs


def test_a_number_of_the_environment_is_refused_at_the_start(plan, monkeypatch):
    monkeypatch.setenv("GUIDELAB_GPUS", "abc")
    for target in (TABLE, "results/tables/cifar10_smoke.csv"):
        with pytest.raises(UserError, match="GUIDELAB_GPUS=abc"):
            preflight(plan, ["-c1", target])
    preflight(plan, ["-c1", "results/tables/toy2d.csv"])


def test_where_nets_cannot_be_built_the_run_starts_all_the_same(plan, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [n for n in sys.modules if n.startswith("guidelab.costs")]:
        monkeypatch.delitem(sys.modules, name)
    preflight(plan, ["-n", TABLE])
    assert "not counted: torch is not installed" in capsys.readouterr().err


def test_synthetic_files_are_never_reported_missing(plan):
    jobs = [node.job for node in jobs_for(plan, ["imagenet256_smoke"], lambda path: False)]
    assert absent(jobs, ["imagenet256_smoke"], {}) == ""
