"""Graders and divergences of streamed images and pretrained nets: CIFAR-10's smoke copy, in pixels and features.

What must never happen: an experiment refused for its size; a grader on latents, or of a net on them; published
statistics taken for a fold of images; an estimate of a net with a class where it was sampled without.
"""

import copy
import json
import os
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES, maker
from guidelab.spec.load import load_spec
from guidelab.spec.shrink import shrink

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "params.yaml").read_text())
POINT = "cfg/w1.50"  # a released conditional net guided by a released unconditional one
GRADE = {
    "role": "grade",
    "net": {"name": "small_discriminator", "channels": 8, "conditional": True},
    "real": "graded",
    "generated": {"seeds": "2000000-2000039"},
    "points": [POINT],
    "train": {"lr": 1e-3, "batch": 8, "iterations": 4, "evaluate_every": 2, "patience": 4, "sigma_min": 0.02,
              "sigma_max": 5.0, "validation": 0.3, "test": 0.3, "seed": 4},
}  # fmt: skip
ASKED = {
    "grader": "grade", "real": "reference", "blocks": ["report1", "report2"], "calibrate": "select",
    "null_real": "graded", "bins": 2, "draws": 2, "permutations": 19, "seed": 1,
    "probe": {"hidden": 8, "lr": 1e-3, "weight_decay": 0.0, "batch": 8, "iterations": 4, "evaluate_every": 2,
              "patience": 2, "validation": 0.33, "test": 0.33, "seed": 0},
}  # fmt: skip


def graded(of: str, **changed) -> dict:
    """params.yaml with one experiment: a smoke copy with a grader and divergences."""
    entry = {"extends": of, "scale": "smoke", "folds": {"graded": {"split": "holdout", "seed": 31}}}
    # a grader shares no data with what guides: the noisy classifier learns from the training split here
    entry |= {"discriminators": {"grade": GRADE, "noisy": {"real": "train"}}, "divergences": ASKED}
    entry["paper"] = {"figures": {"divergence_sigma": {"points": [POINT]}}}
    return {
        **RAW,
        "default": [of],
        "experiments": {of: RAW["experiments"][of], "graded": {**entry, **changed}},
    }


def planned(folder: Path, raw: dict) -> Plan:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return Plan(load_spec(path))


def build(plan: Plan, path: str) -> None:
    """Run the job of a file after those of its inputs, each once, as the rules do."""
    if Path(path).is_file():
        return
    rule, *names = maker(path) or pytest.fail(f"no rule makes {path}")
    job = plan.job(rule, *names)
    for needed in job.files:
        build(plan, needed)
    payload = json.loads(plan.payload(rule, *names))
    outputs = [Path(output) for output in job.outputs]
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
    import_module(f"guidelab.jobs.{RULES[rule].entry}").run(payload, outputs)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """CIFAR-10's smoke copy, graded, in a folder of its own."""
    folder, before = tmp_path_factory.mktemp("graded"), Path.cwd()
    (folder / "workflow").symlink_to(ROOT / "workflow")
    os.chdir(folder)
    try:
        yield planned(folder, graded("cifar10"))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def rows(plan):
    build(plan, "results/graded/divergences.csv")
    return pd.read_csv("results/graded/divergences.csv", keep_default_na=False)


def test_a_sampler_of_released_nets_is_graded_in_pixels_and_features(rows):
    assert set(rows["point"]) == {POINT, "real_vs_real"}
    for point, told in rows.groupby("point"):
        kinds = set(zip(told["kind"], told["estimator"], strict=True))
        assert {("estimate", "nwj"), ("estimate", "gain_grader"), ("curve", "weighted_gain")} <= kinds
        assert {("estimate", "nwj@inception"), ("check", "p_value@inception")} <= kinds
        assert ("estimate", "gain_guidance") in kinds or point == "real_vs_real"
        assert "truth" not in set(told["kind"])
    assert rows["value"].astype(float).notna().all()
    nets = rows.loc[(rows["point"] == POINT) & ~rows["estimator"].str.contains("@")]
    assert nets["grader_sha256"].ne("").all() and nets["checkpoint_sha256"].ne("").all()


def test_no_grader_separates_real_from_real_and_every_one_random_samples(rows):
    js = rows[(rows["kind"] == "estimate") & (rows["estimator"] == "nwj") & (rows["divergence"] == "js")]
    found = js.set_index("point")[["value", "std_error"]].astype(float)
    assert found.loc["real_vs_real", "value"] < 3 * found.loc["real_vs_real", "std_error"] + 1e-6
    assert found.loc[POINT, "value"] > 0.1 > found.loc["real_vs_real", "value"]


def test_its_table_figure_and_costs_are_made(plan, rows):
    page = Path("results/tables/graded_divergences.md").read_text()
    assert "smoke test" in page and "inception: JS ≥" in page and "traces no eye sees" in page
    build(plan, "results/figures/graded/divergence_sigma.csv")
    assert Path("results/figures/graded/divergence_sigma.pdf").read_bytes().startswith(b"%PDF")
    build(plan, "results/tables/graded_costs.csv")
    costs = pd.read_csv("results/tables/graded_costs.csv").set_index("kind")
    assert costs.loc["grader", "samples"] == 40 and (costs["gflop_training"] > 0).all()


def test_published_statistics_are_no_fold_to_estimate_with(plan):
    assert plan.job("diverge", "graded", *POINT.split("/"), "seed0").spec["spaces"] == ["inception"]


def test_a_grader_learns_from_images_rounded_as_real_ones_are(plan):
    job = plan.job("grading", "graded", "grade", *POINT.split("/"), "seed0")
    assert job.spec["uint8"] == "edm" and job.spec["blocks"] == {"generated": [2000000, 2000039]}


def test_a_net_that_samples_without_a_class_is_denoised_without(monkeypatch):
    from guidelab.jobs import subjects

    class Net(torch.nn.Module):
        image_channels, resolution_px, classes = 1, 2, 3

        def forward(self, x, sigma, cond=None):
            return torch.full_like(x, -1.0 if cond is None else 1.0)

    nets = subjects.Nets({"main": Net(), "blind": Net()}, {})
    monkeypatch.setattr(subjects, "load_nets", lambda inputs, seed, discs: nets)
    monkeypatch.setenv("GUIDELAB_DEVICE", "cpu")
    term = {"method": "reference", "ref": "blind", "disc": None, "weight": 2.0, "sigma_lo": 0.0, "sigma_hi": None,
            "stages": "both"}  # fmt: skip
    plain = {"dropout": 0.0, "input_noise": 0.0}
    job = {"dataset": {"name": "cifar10"}, "inputs": {}, "discs": {}, "precision": "float32", "unlabelled": ["blind"], "main": "main", "terms": [term],
           "sampler": {"dtype": "float64"}, "degrade": {"main": plain, "blind": plain}}  # fmt: skip
    found, where = subjects._nets(job, 0)
    main, guided = subjects.denoisers(job, found)
    x, sigma, labels = torch.zeros(2, 1, 2, 2), torch.tensor([0.1, 1.0]), torch.tensor([0, 2])
    assert where.type == "cpu"
    assert set(main(x, sigma, labels).flatten().tolist()) == {1.0}
    assert set(guided(x, sigma, labels).flatten().tolist()) == {3.0}  # -1 + 2 (1 + 1)


def test_an_experiment_with_graders_shrinks_with_them():
    """A grader's net, the bins and the net on features: what a block of sixteen can carry."""
    whole = copy.deepcopy(RAW["experiments"]["cifar10"])
    whole["folds"] |= {"graded": {"split": "train", "n": 12000, "seed": 31}}
    grade = {**GRADE, "net": {**GRADE["net"], "channels": 128}, "generated": {"seeds": "2000000-2009999"}}
    whole["discriminators"] |= {"grade": grade}
    asked = {**ASKED, "bins": 8, "probe": {**ASKED["probe"], "iterations": 2000, "batch": 256}}
    whole["divergences"] = asked
    whole["paper"]["figures"]["divergence_sigma"] = {"points": [POINT]}
    small = shrink(whole, "cifar10")
    assert small["discriminators"]["grade"]["net"]["channels"] == 8
    assert small["discriminators"]["grade"]["generated"]["seeds"] == "2000000-2000039"
    assert small["divergences"]["bins"] == 2 and small["divergences"]["probe"]["iterations"] == 4
    assert small["paper"]["figures"]["divergence_sigma"] == {"points": [POINT]}


LATENT = {**GRADE, "points": ["dit"]}
REAL = {**GRADE, "pixels": True, "points": ["validation"]}
MISTAKES = {
    "real images": (REAL, "given 'validation', which shows real images; wanted a sampler"),
    "a grader on latents": (LATENT, "discriminators.grade.pixels: wanted true"),
    "a net on latents": ({**LATENT, "pixels": True}, "given 'dit', whose net 'dit' works on latents; wanted a point on pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_not_estimated_is_refused_by_what_it_lacks(name, tmp_path):
    disc, wanted = MISTAKES[name]
    with pytest.raises(UserError) as error:
        planned(tmp_path, graded("imagenet256", discriminators={"grade": disc}, paper={}))
    assert wanted in str(error.value) and "small images" not in str(error.value)
