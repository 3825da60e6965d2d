"""The DVC pipelines: they match the plan, own every file once, and wake up for every parameter their jobs read."""

import copy
from pathlib import Path

import pytest
import yaml
from tree import chain

from guidelab.errors import UserError
from guidelab.plan.dvc import dvc_yaml, pipelines, refuse_overlaps, stage_names
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.plan.stage import Stage
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
EXPERIMENT = "toy2d_ci"


@pytest.fixture(scope="module")
def params():
    return read_yaml(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


@pytest.fixture(scope="module")
def small(plan, params):
    return yaml.safe_load(dvc_yaml(plan, params, [EXPERIMENT]))["stages"]


def test_committed_pipelines_are_those_of_the_plan(plan, params):
    written = pipelines(plan, params)
    for name, text in written.items():
        assert (ROOT / name).is_file(), f"{name} is missing; make it with: guidelab pipeline"
        assert (ROOT / name).read_text() == text, (
            f"{name} is out of date; make it anew with: guidelab pipeline"
        )
    found = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("workflow/dvc/*/dvc.yaml")}
    assert found <= set(written), "a pipeline whose experiment is gone"


def test_every_file_of_the_plan_is_owned_by_one_stage(plan):
    for name in plan.spec.experiments:
        stages = plan.stages(name)
        refuse_overlaps(stages)
        for stage in stages:
            for path in (*stage.files, stage.manifest, stage.provenance):
                owners = [
                    s.name
                    for s in stages
                    for own in (*s.owned, s.provenance)
                    if path == own or path.startswith(f"{own}/")
                ]
                assert owners == [stage.name], path


def test_all_outs_persist_and_small_results_stay_in_git(small, plan):
    stages = {stage.name: stage for stage in plan.stages(EXPERIMENT)}
    assert list(small) == list(stages)
    for name, stage in small.items():
        outs = {path: flags for out in stage["outs"] for path, flags in out.items()}
        assert set(outs) == {*stages[name].owned, stages[name].provenance}
        assert all(flags["persist"] for flags in outs.values())
        in_git = {path for path, flags in outs.items() if flags.get("cache") is False}
        assert in_git == {*stages[name].in_git, stages[name].manifest, stages[name].provenance}


def test_the_command_leaves_the_profile_to_the_user(small):
    for name, stage in small.items():
        assert stage["cmd"] == (
            r"snakemake --profile \${SNAKEMAKE_PROFILE:-workflow/profiles/local} --force "
            + f"results/{EXPERIMENT}/manifests/{name}.json"
        )
        assert not {"workflow", "workflow/dvc"} & set(stage["deps"]), (
            "dvc.lock files lie there: never settled"
        )


def test_the_stages_of_one_experiment_are_those_its_pipeline_lists(plan):
    for name in plan.spec.experiments:
        if plan.spec.experiments[name].scale in ("ci", "smoke"):
            with pytest.raises(UserError, match="for tests; DVC keeps none of it"):
                stage_names(plan, name)
            continue
        listed = [n.rpartition(":") for n in stage_names(plan, name)]
        pipeline = listed[0][0] or "dvc.yaml"
        stages = yaml.safe_load((ROOT / pipeline).read_text())["stages"]
        assert {stage for _, _, stage in listed} == {
            s for s in stages if pipeline != "dvc.yaml" or s.startswith(f"{name}-")
        }


def test_overlapping_stages_are_refused():
    def stage(name, *outs):
        return Stage(name, "e", outs, (), f"results/e/manifests/{name}", f"results/e/provenance/{name}", ())

    with pytest.raises(UserError, match=r"e/one and e/two overlap: results/e/a holds results/e/a/b"):
        refuse_overlaps([stage("one", "results/e/a"), stage("two", "results/e/a/b")])
    refuse_overlaps([stage("one", "results/e/a"), stage("two", "results/e/ab")])


# ---- every parameter a job reads wakes its stage -----------------------------------------------------------------


def payloads(plan):
    """What every job of every stage is given: {stage: text}."""
    e = plan.experiment(EXPERIMENT)
    found = {stage.name: [stage.payload] for stage in plan.stages(EXPERIMENT)}
    stage_of = {path: stage.name for stage in plan.stages(EXPERIMENT) for path in stage.files}
    for key in ((name, names) for name in RULES for names in e.planned(name)):
        job = plan.job(key[0], EXPERIMENT, *key[1])
        assert {stage_of[path] for path in job.outputs} == {RULES[key[0]].stage_of(key[1])}
        found[stage_of[job.outputs[0]]].append(job.payload(""))
    assert all(len(texts) > 1 for texts in found.values()), "every stage has jobs"
    return {name: "\n".join(sorted(texts)) for name, texts in found.items()}


def leaves(part, keys=()):
    if isinstance(part, dict):
        for key, value in part.items():
            yield from leaves(value, (*keys, key))
    else:
        yield keys, part


def other(value):
    """A value of the same kind, not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 if value else 1
    if isinstance(value, list) and value and isinstance(value[-1], int | float):
        return [*value[:-1], other(value[-1])]
    if isinstance(value, list):
        return value[:-1]
    return None


@pytest.mark.slow
def test_every_parameter_wakes_the_stages_whose_jobs_read_it(params, small, plan, tmp_path):
    before = payloads(plan)
    noticed = 0
    params = params | {"default": [EXPERIMENT], "experiments": chain(params, EXPERIMENT)}  # read 400 times
    for base in ("toy2d", EXPERIMENT):
        for keys, value in leaves(params["experiments"][base]):
            changed = copy.deepcopy(params)
            part = changed["experiments"][base]
            for key in keys[:-1]:
                part = part[key]
            part[keys[-1]] = other(value)
            if part[keys[-1]] is None:
                continue
            path = tmp_path / "params.yaml"
            path.write_text(yaml.safe_dump(changed, sort_keys=False))
            try:
                after = payloads(Plan(load_spec(path)))
            except UserError:
                continue  # a value the spec refuses
            noticed += after != before
            for stage, text in after.items():
                if text != before.get(stage):
                    assert f"experiments.{base}.{keys[0]}" in small[stage]["params"], (
                        f"{stage} sleeps through {keys}"
                    )
    assert noticed > 50
