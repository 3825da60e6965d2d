"""What a target needs: its jobs, what is left of them, plans of thousands, hours on GPUs and CPUs, text and JSON."""

import json
import time
from pathlib import Path

import pytest
import yaml

from guidelab.costs.estimate import estimate
from guidelab.costs.gpus import Gpu, gpu
from guidelab.costs.graph import jobs_for
from guidelab.costs.report import as_text, number, short
from guidelab.costs.work import work_of
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.rules import maker
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
GPUS = ROOT / "workflow/resources/gpus.csv"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_spec(ROOT / "params.yaml"))


# ---- jobs ---------------------------------------------------------------------------------------------------


def test_every_planned_file_is_found_by_its_path(plan):
    for name in plan.spec.experiments:
        for stage in plan.stages(name):
            for path in stage.files:
                key = maker(path)
                assert key is not None, path
                assert path in plan.job(*key).outputs, path


def test_each_job_once_and_makers_before_users(plan):
    nodes = jobs_for(plan, ["toy2d_ci", "results/tables/toy2d_ci.csv"], exists=lambda path: False)
    made: set[str] = set()
    for node in nodes:
        assert not made & set(node.job.outputs)
        assert {path for path in node.job.files if path.startswith("results/")} <= made
        made |= set(node.job.outputs)
    assert {node.experiment for node in nodes} == {"toy2d_ci"}
    assert all(node.needed for node in nodes)


def test_a_figure_needs_its_own_jobs_only(plan):
    rules = {node.job.rule for node in jobs_for(plan, ["results/figures/toy2d/fig9.pdf"])}
    assert rules == {"train", "reconstruct", "field", "figure"}


def test_what_is_done_is_not_left_to_do(plan):
    target = "results/tables/fashion_ci.csv"

    def left(lacking: str) -> list[str]:
        nodes = jobs_for(plan, [target], exists=lambda path: not path.startswith(lacking))
        return [node.job.rule for node in nodes if node.needed]

    assert left("nothing") == []
    assert left("results/tables/") == ["table"]
    assert (
        left("results/fashion_ci/samples") == []
    )  # as for Snakemake: the table is there and newer than nothing
    found = jobs_for(plan, [target], exists=lambda path: "samples" not in path and "tables" not in path)
    assert [n.job.rule for n in found if n.needed] == ["table"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fashoin", "no experiment 'fashoin'.*did you mean 'fashion'"),
        ("results/tables/toy2d.cvs", "plans no such file; did you mean 'results/tables/toy2d.csv'"),
        ("results/toy2d", "is nothing that params.yaml plans"),
        ("../secret/x.csv", "is nothing that params.yaml plans"),
    ],
)
def test_unknown_targets_name_the_closest(plan, target, message):
    with pytest.raises(UserError, match=message):
        jobs_for(plan, [target])


def test_ten_thousand_jobs_take_seconds(tmp_path):
    weights = [round(1.01 + 0.01 * i, 2) for i in range(3400)]
    many = {"cfg": {"main": "main", "guide": {"method": "reference", "ref": "blind"}, "weights": weights}}
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["experiments"]["many"] = {"extends": "toy2d_ci", "variants": many}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    plan = Plan(load_spec(tmp_path / "params.yaml"))
    start = time.process_time()
    found = estimate(plan, ["many"], gpu("H100", GPUS))
    assert found.total.jobs > 10_000
    assert time.process_time() - start < 10


# ---- hours --------------------------------------------------------------------------------------------------


def test_gpu_hours_by_hand(plan):
    found = estimate(plan, ["results/imagenet256/samples/cg/w1.00/seed0.json"], gpu("A100", GPUS), mfu=0.3)
    work = work_of(
        plan.spec.experiments["imagenet256"], plan.job("sample", "imagenet256", "cg", "w1.00", "seed0")
    )
    line = next(line for line in found.lines if line.rule == "sample")
    seconds = ((work.flop - work.float32_flop) / 312e12 + work.float32_flop / 19.5e12) / 0.3
    assert line.gpu_hours == pytest.approx(seconds / 3600)
    assert line.core_hours == 0
    double = estimate(plan, ["results/imagenet256/samples/cg/w1.00/seed0.json"], gpu("A100", GPUS), mfu=0.6)
    assert double.total.gpu_hours == pytest.approx(found.total.gpu_hours / 2)
    assert "A100-hours" in as_text(found)
    assert line.longest_gpu_hours == found.total.longest_gpu_hours == line.gpu_hours / line.jobs
    many = f"{number(found.total.longest_gpu_hours)} h on 32; the longest job takes {number(line.longest_gpu_hours)} h"
    assert many in as_text(found)  # jobs cannot be shared out further


def test_jobs_that_do_not_fit_a_gpu_are_named(plan):
    found = estimate(plan, ["results/cifar10/models/weak_uncond.safetensors"], gpu("H100", GPUS))
    assert not any("at once" in note for note in found.notes)
    small = Gpu("tiny", 100.0, 10.0, 1.0, "made up")
    found = estimate(plan, ["results/cifar10/models/weak_uncond.safetensors"], small)
    (note,) = [note for note in found.notes if "at once" in note]
    assert "train of checkpoints/weak_uncond/seed0.safetensors" in note
    assert "times one tiny's memory" in note


def test_core_hours_are_measured_where_there_is_a_record_and_scaled_by_it_elsewhere(plan):
    sample = "results/fashion_ci/samples/"
    there = f"{sample}none/w1.00/seed0.json"

    def lines(seconds):
        found = estimate(
            plan, ["fashion_ci"], gpu("H100", GPUS), seconds=seconds, exists=lambda path: path == there
        )
        return {line.rule: line for line in found.lines}

    guessed = lines(lambda path: None)["sample"]
    slow = lines(lambda path: 1000.0)["sample"]
    assert (guessed.done, guessed.left) == (1, guessed.jobs - 1)
    assert guessed.measured_jobs == 0
    assert (slow.measured_jobs, slow.measured_s) == (1, 1000.0)
    assert slow.core_hours == pytest.approx(guessed.core_hours * 1000 / slow.expected_s)
    assert slow.left_core_hours == pytest.approx(slow.core_hours - 1000 / 3600)
    assert lines(lambda path: 1000.0)["train"].measured_jobs == 0  # no output, so its record is not used


def test_gpus_are_listed_by_name():
    assert gpu("h100", GPUS).peak_tflops == 989.4
    with pytest.raises(UserError, match=r"--gpu: given 'H10', wanted one of .*did you mean 'H100'"):
        gpu("H10", GPUS)
    with pytest.raises(UserError, match="cannot be read as a list of GPUs"):
        gpu("H100", ROOT / "README.md")


def test_text_and_json_hold_the_same(plan):
    found = estimate(plan, ["fashion_ci"], gpu("A100", GPUS), exists=lambda path: False)
    content = json.loads(json.dumps(found.as_json()))
    text = as_text(found, measured=True)
    assert content["total"]["jobs"] == found.total.jobs == content["total"]["left"]
    assert [line["rule"] for line in content["lines"]] == [line.rule for line in found.lines]
    for line in found.lines:
        assert f"\n{line.rule} " in text
    assert "measured jobs" in text
    assert "GFLOP/s a core" in text


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "-"),
        (999, "999"),
        (1000, "1 k"),
        (1_281_167, "1.28 M"),
        (0.004, "0.004"),
        (12_340_000_000, "12.3 G"),
    ],
)
def test_short_numbers(value, wanted):
    assert short(value) == wanted


def test_small_and_large_hours():
    assert [number(v) for v in (0, 0.0004, 0.034, 0.31, 12.34, 12345.6)] == [
        "-",
        "<0.001",
        "0.034",
        "0.31",
        "12.3",
        "12,346",
    ]


def test_invalid_options_of_the_command_are_named():
    from typer.testing import CliRunner

    from guidelab.cli.cost import cost_commands

    result = CliRunner().invoke(cost_commands, ["toy2d", "--mfu", "40"])
    assert isinstance(result.exception, UserError)
    assert "--mfu: given 40" in str(result.exception)
