"""What an experiment on points can do, and what it is refused."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from sampling_jobs import randomised, save_net

from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.jobs import sample
from guidelab.nets.toy import ToyDenoiser
from guidelab.nets.toy_discriminator import ToyDiscriminator
from guidelab.plan.plan import Plan
from guidelab.spec.load import spec_of
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
RAW = read_yaml(ROOT / "params.yaml")["experiments"]
DG = {"method": "discriminator", "disc": "guide", "stages": "first"}


def planned(**variants):
    raw = {"default": ["toy2d"], "experiments": {n: copy.deepcopy(RAW[n]) for n in ("toy2d", "toy2d_ci")}}
    raw["experiments"]["toy2d_ci"]["variants"] |= variants
    return Plan(spec_of(raw, "params.yaml"))


def test_points_may_be_boosted_and_have_then_no_density(tmp_path):
    plan = planned(
        plain={"main": "main", "guide": DG, "weights": [2.0]},
        boosted={"main": "main", "guide": DG | {"boost": True}, "weights": [2.0]},
    )
    e = plan.experiment("toy2d_ci")
    assert e.has_density("plain") and not e.has_density("boosted")
    drawn = {}
    for name in ("plain", "boosted"):
        (run,) = {run.names[1:]: run for run in e.runs_at(f"{name}/w2.00")}.values()
        job = json.loads(plan.payload("sample", "toy2d_ci", *run.names))
        for label, make in (("model:main", ToyDenoiser), ("disc:guide", ToyDiscriminator)):
            path = tmp_path / f"{label[:4]}.safetensors"
            config = {"width": 8, "layers": 2}
            name_of = {"model:main": "toy", "disc:guide": "toy_discriminator"}[label]
            save_net(path, randomised(make(**config), 1), {"name": name_of, **config}, run.seeds)
            job["inputs"][label] = [str(path)]
        job |= {"blocks": {"report1": [0, 63]}, "grader_blocks": {}, "train_seeds": [run.seeds[0]]}
        output = tmp_path / f"{name}.safetensors"
        sample.run(job, [output])
        drawn[name] = load_arrays(output)[0][f"seed{run.seeds[0]}/report1/x"]
    assert drawn["boosted"].shape == (64, 2) and torch.isfinite(drawn["boosted"]).all()
    assert not torch.equal(drawn["plain"], drawn["boosted"])


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (
            {"main": "main", "steps": 8},
            r"variants.own.steps: given, but needs a table that keeps samplers apart",
        ),
        (
            {"main": "main", "guide": DG | {"iterations": 20}, "weights": [2.0]},
            r"iterations: given, but needs guides that are kept as they train",
        ),
        (
            {"main": "main", "sampler": {"name": "ddpm", "steps": 8}},
            r"main 'main' is a net toy, which sampler ddpm cannot step",
        ),
    ],
)
def test_what_points_cannot_have_is_refused_with_its_reason(variant, words):
    with pytest.raises(UserError, match=words):
        planned(own=variant)


def test_the_documented_example_is_valid_and_names_experiments_that_are_tested():
    text = (ROOT / "docs/own-data.md").read_text()
    example, _of_points = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)  # the other: test_plugin_files.py
    plan = Plan(spec_of(yaml.safe_load(example), "mine.yaml"))
    assert plan.experiment("mine").planned("table")
    tested = read_yaml(ROOT / "tests/workflow/capabilities.yaml")["experiments"]
    rows = re.findall(r"^\|.*\| (`.*`) \|$", text, re.MULTILINE)
    assert len(rows) == 8
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= set(tested)
