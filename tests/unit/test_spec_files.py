"""Nets in files, EDM's churn and one class in params.yaml: what is refused, and the resulting job."""

import json

import pytest

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.spec.load import bases, merge, spec_of

OWN = {
    "extends": "own_files",
    "dataset": {"resolution_px": 8, "classes": 4, "source": "pictures"},
    "denoisers": {name: {"net": {"name": "edm2", "file": f"/nets/{name}.pkl"}} for name in ("main", "guide")},
}
TRAIN = {
    "nimg": 32, "batch": 16, "lr": 1.0e-2, "decay_nimg": 32, "p_mean": -0.8, "p_std": 1.2, "ema_stds": [0.1],
    "snapshot_nimg": 16, "seeds": [0],
}  # fmt: skip
ADM = {"name": "adm", "channels": 32, "channel_mult": [1], "blocks": 1, "attention_px": [8]}


def spec(change=None, **more):
    raw = {"default": ["mine"], "experiments": {"mine": merge(OWN, change or {}), **more}}
    return spec_of(raw, "mine.yaml")


def job(change, *names):
    return json.loads(Plan(spec(change)).payload(*names))


def test_files_are_inputs_of_obtain_and_nothing_is_trained():
    plan = Plan(spec())
    found = json.loads(plan.payload("obtain", "mine", "models", "guide"))
    assert found["inputs"] == {"file": ["/nets/guide.pkl"]} and found["folder"] == "/nets"
    assert found["checkpoint"]["file"] == "guide.pkl" and found["seeds"] == [0]
    planned = plan.experiment("mine")
    assert not planned.planned("train") and not planned.planned("reconstruct")
    assert list(planned.planned("prepare")) == [("reference",)]


def test_a_net_trained_by_guidelab_is_recognised():
    change = {"denoisers": {"main": {"net": {"file": "/nets/main.safetensors"}}}}
    assert job(change, "obtain", "mine", "models", "main")["checkpoint"]["format"] == "guidelab"


def test_an_experiment_of_the_users_own_takes_the_name_of_a_base():
    raw = {**bases()["own_files"], "scale": "ci"}
    own = spec(own_files=merge(raw, {key: OWN[key] for key in ("dataset", "denoisers")}))
    assert own.experiments["own_files"].scale == own.experiments["mine"].scale == "ci"


def test_churn_and_a_class_reach_the_sampler_and_change_nothing_where_they_are_not_given():
    names = ("sample", "mine", "guided", "w2.00", "seed0")
    plain = job({}, *names)
    assert (
        not {"S_churn", "S_min", "S_max", "S_noise"} & plain["sampler"].keys() and plain["labels"] == "random"
    )
    change = {"sampler": {"S_churn": 40.0, "S_noise": 1.003}, "evaluate": {"label_policy": 3}}
    given = job(change, *names)
    assert given["sampler"] == plain["sampler"] | {"S_churn": 40.0, "S_noise": 1.003} and given["labels"] == 3
    assert job(change, "measure", *names[1:])["label_policy"] == "class 3"


REFUSED = [
    ({"denoisers": {"main": {"train": TRAIN}}}, "denoisers.main.train: given for the file"),
    ({"denoisers": {"main": {"net": {"name": "vgg"}}}}, "denoisers.main.net"),
    ({"denoisers": {"main": {"net": ADM | {"file": None}}}}, "denoisers.main.train: is missing"),
    ({"models": {"main": {"checkpoint": "adm-imagenet64"}}}, "models.main.checkpoint: given"),
    ({"denoisers": {"main": {"net": ADM | {"file": None}, "train": TRAIN}}}, "models.main.nimg: is missing"),
    ({"sampler": {"S_churn": -1.0}}, "sampler.S_churn"),
    (
        {"sampler": {"name": "ddim", "S_churn": 5.0, "sigma_min": None, "sigma_max": None, "rho": None}},
        "S_churn",
    ),
    ({"evaluate": {"label_policy": 4}}, "from 0 to 3"),
    ({"evaluate": {"label_policy": "balanced"}}, "label_policy"),
    (
        {
            "evaluate": {"label_policy": 1},
            "denoisers": {n: {"conditional": False} for n in ("main", "guide")},
        },
        "every net of this experiment is unconditional",
    ),
    ({"dataset": {"name": "cifar10", "classes": 10}}, "folds.reference.split: given 'all'"),
    ({"extends": "own_filse"}, "did you mean 'own_files'"),
]


@pytest.mark.parametrize(("change", "wanted"), REFUSED)
def test_refused(change, wanted):
    with pytest.raises(UserError) as error:
        spec(change)
    assert wanted in str(error.value)


def test_all_images_overlap_every_split():
    learnt = {"net": ADM | {"file": None}, "train": TRAIN}
    change = {
        "denoisers": {"main": learnt},
        "models": {"main": {"nimg": 32, "ema_std": 0.1}},
        "folds": {"train": {"split": "train"}},
    }
    with pytest.raises(UserError, match="training and evaluation data would overlap"):
        spec(change)
