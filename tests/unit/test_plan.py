"""The plan: every run once, every path from one place, inputs that some job makes."""

from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.plan.runs import chunks, part_name
from guidelab.plan.targets import refuse_unknown
from guidelab.runtime.summary import summary
from guidelab.spec import Spec
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_spec(ROOT / "params.yaml"))


def all_jobs(plan: Plan, name: str):
    for rule in RULES:
        for names in plan.experiment(name).planned(rule):
            yield plan.job(rule, name, *names)


@pytest.mark.parametrize(
    "name", ["toy2d", "toy2d_full", "toy2d_ci", "fashion", "imagenet256", "imagenet512_smoke"]
)
def test_every_input_is_some_jobs_output_and_no_output_is_made_twice(plan, name):
    jobs = list(all_jobs(plan, name))
    outputs = [path for job in jobs for path in job.outputs]
    assert len(outputs) == len(set(outputs))
    wanted = {path for job in jobs for path in job.files if path.startswith("results/")}
    assert wanted <= set(outputs)


def test_a_job_sees_its_own_part_of_the_parameters_and_nothing_else(plan):
    payload = plan.job("sample", "toy2d", "cfg", "w4.00", "seeds0-4").payload("digest")
    assert '"weight":4.0' in payload and "autog" not in payload and "evaluate" not in payload


def test_changing_one_weight_changes_only_its_own_jobs(plan):
    raw = plan.spec.model_dump()
    weights = raw["experiments"]["toy2d"]["variants"]["cfg"]["weights"]
    raw["experiments"]["toy2d"]["variants"]["cfg"]["weights"] = [w if w != 3.0 else 1.75 for w in weights]
    other = Plan(Spec.model_validate(raw))
    before = {job.outputs: job.payload("") for job in all_jobs(plan, "toy2d")}
    after = {job.outputs: job.payload("") for job in all_jobs(other, "toy2d")}
    changed = {k for k in after if after[k] != before.get(k)}
    assert {path.split("/")[2] for paths in changed for path in paths if "w1.75" in path} == {
        "samples",
        "density",
        "measurements",
    }
    rest = [paths for paths in changed if not any("w1.75" in path for path in paths)]
    assert rest == [plan.experiment("toy2d").outputs("collect")]


def test_a_new_guide_variant_is_one_entry(plan):
    raw = plan.spec.model_dump()
    guide = [{"method": "reference", "ref": "weak", "sigma_lo": 0.01, "sigma_hi": 1.0}]
    raw["experiments"]["toy2d"]["variants"]["autog_interval"] = {
        "main": "main",
        "guide": guide,
        "weights": [2.0],
    }
    added = Plan(Spec.model_validate(raw))
    e = added.experiment("toy2d")
    (run,) = e.runs_at("autog_interval/w2.00")
    assert added.job("sample", "toy2d", *run.names).files == [e.net("main"), e.net("weak")]


def test_unknown_experiment_point_and_figure_name_the_closest(plan):
    with pytest.raises(UserError, match="did you mean 'toy2d"):
        plan.experiment("toy2")
    with pytest.raises(UserError, match=r"did you mean 'cfg/w4\.00'"):
        plan.experiment("toy2d").runs_at("cfg/w4.10")
    with pytest.raises(UserError, match=r"plans no figure 'fig3'.*did you mean 'fig"):
        plan.job("figure", "toy2d", "fig3")
    with pytest.raises(
        UserError, match=r"plans no sample 'cfg/w4.00/seed9'.*did you mean 'cfg/w4.00/seeds0-4'"
    ):
        plan.job("sample", "toy2d", "cfg", "w4.00", "seed9")
    with pytest.raises(UserError, match=r"no rule 'sampel'.*did you mean 'sample'"):
        plan.job("sampel", "toy2d", "cfg", "w4.00", "seeds0-4")


def test_parts_are_named_and_grouped():
    assert chunks([4, 0, 1, 2, 3], 3) == [(0, 1, 2), (3, 4)]
    assert [part_name(s) for s in ((0, 1, 2), (3,), (0, 2, 5))] == ["seeds0-2", "seed3", "seeds0_2_5"]


def test_random_denoisers_have_no_density(plan):
    e = plan.experiment("toy2d")
    assert e.has_density("autog") and not e.has_density("dropout") and not e.has_density("mismatched")


def test_parameters_file_is_plain_yaml_for_other_tools():
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["default"] == ["toy2d", "fashion"]


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("results/tables/toy3d.csv", "no experiment 'toy3d'"),
        ("results/figures/toy2d/fig3.pdf", "did you mean 'results/figures/toy2d/fig"),
        ("results/toy2d/samples/cfg/w9.00/seeds0-4.safetensors", "did you mean 'results/toy2d/samples/cfg/w"),
        ("results/toy2d/manifests/sampel.json", "did you mean 'results/toy2d/manifests/sample.json'"),
    ],
)
def test_unplanned_targets_are_refused_with_the_closest(plan, target, part):
    with pytest.raises(UserError) as error:
        refuse_unknown(plan, [target])
    assert part in str(error.value)


def test_planned_targets_and_rule_names_pass(plan):
    refuse_unknown(
        plan,
        ["all", "results/tables/toy2d.csv", "results/figures/toy2d_full/sweep.pdf", "results/report.html"],
    )


def test_the_summary_counts_jobs_and_names_results(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = ("tables/toy2d.md", "tables/toy2d_full.md", "tables/fashion.md", "figures/toy2d/fig9.pdf")
    for path in (tmp_path / "results" / name for name in made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    log = tmp_path / "log"
    log.write_text(
        "Finished jobid: 3 (Rule: sample)\nFinished jobid: 4 (Rule: sample)\nFinished jobid: 0 (Rule: all)\n"
    )
    asked = ["-c2", "results/toy2d_ci/selected.csv", "results/tables/toy2d.csv"]
    text = summary(plan, log, asked)
    assert (
        "ran: 2 sample, 1 all" in text and "toy2d (reduced):\n  table     results/tables/toy2d.md\n" in text
    )
    assert "(fig9: .pdf" in text and "findings" not in text and "measurements.csv" not in text, "not there"
    assert "toy2d_full" not in text and "fashion" not in text, "they took no part"
    assert "toy2d_ci" not in text, "it has no results yet"
    text = summary(plan, tmp_path / "absent", ["-c2"])
    assert text.startswith("\nran: nothing\ntoy2d (") and "fashion (" in text and "toy2d_full" not in text, (
        "no target: the default ones"
    )


def test_names_that_do_not_exist_are_no_tracebacks(plan):
    for rule, names in (
        ("prepare", ["nope"]),
        ("train", ["nope", "seed0"]),
        ("reconstruct", ["nope"]),
        ("generate", ["nope"]),
    ):
        with pytest.raises(UserError, match=r"plans no .* 'nope.*wanted one of"):
            plan.job(rule, "toy2d", *names)


# ---- divergences -----------------------------------------------------------------------------------------------------


def test_divergences_are_planned_only_where_they_are_configured(plan):
    toy, full = plan.experiment("toy2d"), plan.experiment("toy2d_full")
    assert len([variant for variant, *_ in toy.planned("diverge") if variant != "none"]) >= 8
    assert "diverge" in [stage.name for stage in plan.stages("toy2d")]
    assert not full.planned("diverge")
    assert "diverge" not in [stage.name for stage in plan.stages("toy2d_full")]
    with pytest.raises(
        UserError, match=r"toy2d_full: has no jobs of divergences.*where `divergences` is given"
    ):
        plan.job("divergences", "toy2d_full")


def test_a_divergence_reads_points_that_neither_grader_nor_guide_has_seen(plan):
    for names in plan.experiment("toy2d").planned("diverge"):
        at = ("toy2d", *names)
        job, sample = plan.job("diverge", *at), plan.job("sample", *at)
        grader = plan.job("grade", "toy2d", "grade", *at[1:])
        guide = plan.job("discriminate", "toy2d", "guide")
        assert job.inputs["grader"] == grader.outputs
        assert not set(job.inputs["real"]) & {*grader.inputs["real"], *guide.inputs["real"]}
        drawn = sample.spec["grader_blocks"]["grade"]["seeds"]
        for first, last in [*job.spec["blocks"].values(), job.spec["estimate"]["coverage"]["seeds"]]:
            assert last < drawn[0] or first > drawn[1]
        assert job.spec["calibrate"] not in job.spec["report"]


def test_a_table_named_behind_its_experiment_is_a_target(plan):
    refuse_unknown(plan, ["results/tables/toy2d_divergences.csv", "results/tables/toy2d_ci_dg_theorem.csv"])
    with pytest.raises(UserError, match=r"plans no such file"):
        refuse_unknown(plan, ["results/tables/toy2d_full_divergences.csv"])
