"""Mistakes in `divergences` and its graders: each is reported before any job starts, with where, given and wanted."""

import copy
from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "params.yaml").read_text())
NAMES = ("toy2d", "toy2d_ci", "fashion", "fashion_ci")


def load(tmp_path, name, change):
    """Load one experiment of the shipped params.yaml, and what it extends, after a change."""
    base = name.removesuffix("_ci")
    raw = {"default": [base], "experiments": {n: copy.deepcopy(RAW["experiments"][n]) for n in {base, name}}}
    change(raw["experiments"][name])
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return load_spec(path)


def asked(**keys):
    return lambda e: e["divergences"].update(keys)


def repeats(**keys):
    return lambda e: e["divergences"]["coverage"].update(keys)


def probe(**keys):
    return lambda e: e["divergences"]["probe"].update(keys)


def figure(name, **keys):
    return lambda e: e["paper"]["figures"][name].update(keys)


def grade(**keys):
    return lambda e: e["discriminators"]["grade"].update(keys)


def grade_train(**keys):
    return lambda e: e["discriminators"]["grade"]["train"].update(keys)


def boosted(e):
    e["variants"]["dg"]["guide"].update(stages="first", boost=True)


MISTAKES = {  # experiment, change, and part of the message
    "a block reported twice": (
        "toy2d",
        asked(blocks=["report1", "report1"]),
        "divergences.blocks: given 'report1' 2 times, wanted it once: delete the repeats",
    ),
    "reported on the block that chose the weights": (
        "toy2d",
        asked(blocks=["select"], calibrate="report1"),
        "divergences.blocks: given 'select', on which weights are chosen (evaluate.select_block); wanted some of report1, report2",
    ),
    "calibrated on a block nobody drew": (
        "toy2d",
        asked(calibrate="selec"),
        "divergences.calibrate: given 'selec', wanted a block",
    ),
    "repeats that are the graders' own points": (
        "toy2d",
        repeats(seed=12),
        "divergences.coverage.seed: given 12, which is folds.holdout.seed, too",
    ),
    "repeats that are the reported points": (
        "toy2d",
        repeats(seed=15),
        "divergences.coverage.seed: given 15, which is folds.judge.seed, too",
    ),
    "repeats with the noise of the estimates": (
        "toy2d",
        repeats(seed=20),
        "divergences.coverage.seed: given 20, which is divergences.seed, too",
    ),
    "noise of the seed of the points": (
        "toy2d",
        asked(seed=15),
        "divergences.seed: given 15, which is folds.judge.seed, too",
    ),
    "a null whose samples are its real points": (
        "toy2d",
        repeats(seed=3000000),
        "divergences.coverage.seeds: given 3000000, which is divergences.coverage.seed, too",
    ),
    "bounds below what the grader is trained at": (
        "toy2d",
        grade_train(sigma_min=0.01),
        "discriminators.grade.train.sigma_min: given 0.01, wanted at most 0.002, the sampler's sigma_min",
    ),
    "bounds above what the grader is trained at": (
        "toy2d",
        grade_train(sigma_min=0.001, sigma_max=0.002),
        "discriminators.grade.train.sigma_max: given 0.002, wanted more than 0.002",
    ),
    "graders of trainings that are not": (
        "toy2d",
        grade(train_seeds=[7]),
        "discriminators.grade.train_seeds: given [7], none of which 'none' is trained with; wanted some of [0, 1, 2, 3, 4]",
    ),
    "one grader of a training that is not": (
        "toy2d",
        grade(train_seeds=[0, 7]),
        "discriminators.grade.train_seeds: given 7, which grades nothing; wanted some of [0, 1, 2, 3, 4]",
    ),
    "graders without the one training of a point": (
        "toy2d",
        grade(train_seeds=[1]),
        "discriminators.grade.train_seeds: given [1], none of which 'cfg_interval/w2.00' is trained with; wanted some of [0]",
    ),
    "a metric misspelt in the figure": (
        "toy2d",
        figure("divergence_weight", metrics=["frechett"]),
        "paper.figures.divergence_weight.metrics: given 'frechett', wanted a measured metric",
    ),
    "a point drawn twice": (
        "toy2d",
        figure("divergence_sigma", points=["none", "none"]),
        "paper.figures.divergence_sigma.points: given 'none' 2 times",
    ),
    "a variant drawn twice": (
        "toy2d",
        figure("divergence_weight", variants=["cfg", "cfg"]),
        "paper.figures.divergence_weight.variants: given 'cfg' 2 times",
    ),
    "a weight of the theorem twice": (
        "toy2d",
        asked(theorem=[1.0, 1.0]),
        "divergences.theorem: given 1.0 2 times",
    ),
    "more bins than points fill": (
        "toy2d",
        asked(bins=100000),
        "divergences.bins: given 100000, wanted 2 to 128: 16 noise levels or more in each, of the 2048 that coverage.n_real gives",
    ),
    "more bins than the null's points fill": (
        "toy2d_ci",
        lambda e: (asked(bins=9)(e), e["divergences"]["coverage"].update(n_real=256), e["folds"]["judge"].update(n=512),
                   e["divergences"].update(draws=1)),
        "divergences.bins: given 9, wanted 2 to 8: 16 noise levels or more in each, of the 128 that a quarter of 'judge' gives",
    ),
    "one bin": ("toy2d", asked(bins=1), "divergences.bins: given 1, wanted 2 to 128"),
    "more bins than images fill": (
        "fashion",
        asked(bins=63),
        "divergences.bins: given 63, wanted 2 to 62: 16 noise levels or more in each, of the 1000 that a block gives",
    ),
    "too few real points": (
        "toy2d",
        lambda e: e["folds"]["judge"].update(n=8191),
        "divergences.real: holds 8191 points, wanted 4096 to calibrate with and at least 4096 more",
    ),
    "too few test images for two sides": (
        "fashion",
        lambda e: e["folds"]["reference"].update(n=5999),
        "divergences.real: holds 5999 images, wanted at least 6000: 2 x 2000 to report",
    ),
    "too few images for the null's grader": (
        "fashion",
        lambda e: e["folds"]["graded"].update(n=5000),
        "folds.graded.n: given 5000, wanted at least 8000: the null sets 4000 apart",
    ),
    "p-values of four steps": (
        "toy2d",
        asked(permutations=3),
        "divergences.permutations: given 3, wanted at least 99",
    ),
    "a share of ten": (
        "toy2d",
        repeats(draws=10, seeds="3000000-3005119"),
        "divergences.coverage.draws: given 10, wanted at least 200",
    ),
    "repeats of one sample": (
        "toy2d",
        repeats(n_samples=1, seeds="3000000-3000199"),
        "n_samples = 1, wanted 2 to n_real = 2048",
    ),
    "a probe with nothing to train on": (
        "fashion",
        probe(validation=0.4, test=0.7),
        "divergences.probe: validation + test = 1.1, wanted less than 1",
    ),
    "a probe that is never judged": (
        "fashion",
        probe(evaluate_every=2001),
        "divergences.probe: evaluate_every = 2001 is more than iterations = 2000",
    ),
    "a probe with a part of next to nothing": (
        "fashion",
        probe(validation=0.004),
        "divergences.probe: 2000 samples leave 992 to train, 8 to validate and 1000 to test; wanted at least 10 in each",
    ),
    "a grader of a random sampler": (
        "toy2d",
        grade(points=["none", "dropout/w1.00"]),
        "discriminators.grade.points: given 'dropout/w1.00', whose net 'drop5' is degraded at random",
    ),
    "a grader of a boosted sampler": (
        "fashion",
        boosted,
        "discriminators.grade.points: given 'dg/w2.00', which is boosted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_accepted(name, tmp_path):
    assert load(tmp_path, name, lambda e: None).experiments[name].divergences


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported_before_any_work(name, tmp_path):
    experiment, change, message = MISTAKES[name]
    with pytest.raises(UserError) as error:
        load(tmp_path, experiment, change)
    assert f"experiments.{experiment}." in str(error.value)
    assert message in str(error.value)


def test_tests_of_the_rules_may_repeat_little(tmp_path):
    spec = load(tmp_path, "toy2d_ci", asked(permutations=3))
    assert spec.experiments["toy2d_ci"].divergences.coverage.draws < 200


def test_a_figure_may_show_an_exact_divergence(tmp_path):
    load(tmp_path, "toy2d", figure("divergence_weight", metrics=["js", "recall"]))
