"""The plan of an experiment on images: what its jobs are given, and what is refused before work starts."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
RAW = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def job(plan, *names):
    return json.loads(plan.payload(*names))


def test_denoisers_learn_from_the_train_fold_and_samples_are_compared_with_another(plan):
    train = job(plan, "train", "fashion", "s", "seed0")
    assert "command" not in train and train["conditional"] is True
    assert train["inputs"] == {"data": ["results/fashion/data/train.zip"]}
    assert job(plan, "train", "fashion", "xs_uncond", "seed0")["conditional"] is False
    measure = job(plan, "measure", "fashion", "cfg", "w2.00", "seed0")
    assert measure["inputs"]["reference:lite0"] == [
        "results/fashion/features/lite0/data/reference.safetensors"
    ]
    assert measure["inputs"]["features:lite0"] == [
        "results/fashion/features/lite0/cfg/w2.00/seed0.safetensors"
    ]
    assert "samples" not in measure["inputs"]


def test_a_samplers_job_names_its_nets_and_how_they_are_taken(plan):
    sample = job(plan, "sample", "fashion", "dg_autog", "w2.00", "seed0")
    assert set(sample["inputs"]) == {"model:main", "model:early", "disc:guide"}
    assert [t["weight"] for t in sample["terms"]] == [1.0, 2.0]
    assert sample["discs"] == {"guide": {"role": "guide", "seed": None, "iterations": None}}
    assert sample["labels"] == "random" and "dataset" not in sample
    assert plan.job("sample", "fashion", "none", "w1.00", "seed0").outputs == (
        "results/fashion/samples/none/w1.00/seed0.json",
    )


def test_precision_batch_bytes_and_counts_are_options_of_any_experiment(tmp_path):
    """Not of those on streamed datasets alone; what discriminators learn from is rounded for any conversion of the table's bytes."""
    raw = copy.deepcopy(RAW)
    raw["experiments"]["fashion"] |= {"sampling": {"precision": "bfloat16", "batch": 8, "uint8": "truncate"}}
    raw["experiments"]["fashion"]["evaluate"]["counts"] = "all"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    changed = Plan(load_spec(tmp_path / "params.yaml"))
    how = ("precision", "batch", "uint8", "codec", "latent", "unlabelled")
    sample = job(changed, "sample", "fashion", "none", "w1.00", "seed0")
    assert [sample[key] for key in how] == ["bfloat16", 8, "truncate", "pixels", None, []]
    for names in (
        ("generate", "fashion", "guide"),
        ("grading", "fashion", "grade", "none", "w1.00", "seed0"),
    ):
        assert job(changed, *names)["uint8"] == "edm"
    spaces = job(changed, "measure", "fashion", "none", "w1.00", "seed0")["spaces"]
    assert {name: space["counts"] for name, space in spaces.items()} == {"lite0": "all", "classifier": "all"}


def test_seeds_of_blocks_and_of_the_guides_samples_never_meet(plan):
    e = plan.experiment("fashion").spec
    drawn = [e.discriminators["guide"].drawn.seeds, *e.evaluate.blocks.values()]
    seen = set()
    for first, last in drawn:
        block = set(range(first, last + 1))
        assert not block & seen
        seen |= block


def test_classifiers_need_no_samples_and_guides_need_those_of_their_own_sampler(plan):
    assert set(job(plan, "discriminate", "fashion", "clean")["inputs"]) == {"real"}
    guide = plan.job("discriminate", "fashion", "guide")
    assert guide.inputs["generated"] == ("results/fashion/generated/guide.json",)
    assert guide.inputs["real"] == ("results/fashion/data/holdout.zip",)
    assert set(job(plan, "generate", "fashion", "guide")["inputs"]) == {"model:main"}


def test_features_are_separate_files_that_name_their_classifier(plan):
    assert job(plan, "extract", "fashion", "classifier", "none/w1.00/seed0")["inputs"] == {
        "images": ["results/fashion/samples/none/w1.00/seed0.json"],
        "net": ["results/fashion/discriminators/clean.safetensors"],
    }
    assert "net" not in job(plan, "extract", "fashion", "lite0", "data/reference")["inputs"]
    with pytest.raises(UserError, match=r"no extract 'lite0/cfg/w9.99/seed0'.*did you mean"):
        plan.job("extract", "fashion", "lite0", "cfg/w9.99/seed0")
    with pytest.raises(
        UserError, match=r"no extract 'lite/cfg/w2.00/seed0'.*did you mean 'lite0/cfg/w2.00/seed0'"
    ):
        plan.job("extract", "fashion", "lite", "cfg/w2.00/seed0")
    with pytest.raises(UserError, match=r"has no jobs of extract.*where samples are images"):
        plan.job("extract", "toy2d", "lite0", "none/w1.00/seed0")


def test_every_stage_lists_its_files_once_and_folders_of_shards_are_kept(plan):
    stages = {s.name: s for s in plan.stages("fashion")}
    assert {"data", "train", "generate", "discriminate", "sample", "features", "measure", "paper"} <= set(
        stages
    )
    assert "density" not in stages
    assert any(folder.startswith("results/fashion/grading/grade/") for folder in stages["grade"].folders)
    assert "results/tables/fashion_costs.csv" in stages["diverge"].files
    listed = [path for s in stages.values() for path in s.files]
    assert len(listed) == len(set(listed))
    assert "results/fashion/samples/cfg/w2.00/seed0/" in json.loads(stages["sample"].payload)["keep"]
    assert "results/fashion/previews/cfg/w1.50/seed0.png" in stages["paper"].files
    assert {"sample", "field", "measure"} <= set(stages["paper"].after)


def test_a_change_reruns_only_what_it_reaches(plan, tmp_path):
    """One more weight of one variant: the jobs of all others are given the very same payload."""
    raw = copy.deepcopy(RAW)
    raw["experiments"]["fashion"]["variants"]["cfg"]["weights"].append(4.0)
    (tmp_path / "params.yaml").write_text(yaml.dump(raw))
    changed = Plan(load_spec(tmp_path / "params.yaml"))
    for run in plan.experiment("fashion").runs:
        names = (*run.point.split("/"), run.part)
        for rule in ("sample", "measure"):
            assert plan.payload(rule, "fashion", *names) == changed.payload(rule, "fashion", *names)
    assert plan.payload("collect", "fashion") != changed.payload("collect", "fashion")


def mistakes():
    def fashion(change):
        def apply(raw):
            change(raw["experiments"]["fashion"])

        return apply

    return {
        "denoiser without conditional": (
            fashion(lambda e: e["denoisers"]["s"].pop("conditional")), r"denoisers.s.conditional: wanted true or false"),
        "toy net": (
            fashion(lambda e: e["denoisers"]["s"].update(net={"name": "toy", "width": 8, "layers": 1})),
            r"denoisers.s.net.name: given 'toy', wanted edm2"),
        "size and channels": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(size="S")), r"given size 'S' and channels 64, wanted one"),
        "unknown net key": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(chanels=3)), r"net.chanels: unknown key"),
        "patch": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(patch_px=3)), r"patch_px: given 3, wanted a divisor of 16"),
        "drawn fold": (
            fashion(lambda e: e["folds"].update(train={"n": 5, "seed": 1})), r"folds.train: given `n` and `seed`, wanted `split`"),
        "same fold": (
            fashion(lambda e: e["folds"].update(reference={"split": "train"})), r"training and evaluation data would overlap"),
        "guide trained on the reference": (
            fashion(lambda e: e["discriminators"]["guide"].update(real="reference")), r"discriminators.guide.real: given 'reference'"),
        "trained on the reference's split": (
            fashion(lambda e: e["folds"].update(train={"split": "test", "n": 5000})), r"folds.train: given 'train', of the split 'test'"),
        "an average that cannot be reconstructed": (
            fashion(lambda e: e["models"]["early"].update(ema_std=0.07)), r"from the 4 averages kept .* wanted at least 24"),
        "unknown net": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(name="edn2")), r"net.name: given 'edn2', wanted one of .*did you mean 'edm2'"),
        "reference smaller than a block": (
            fashion(lambda e: e["folds"].update(reference={"split": "test", "n": 500})), r"reference.n: given 500, wanted at least 1000"),
        "zip without a source": (
            fashion(lambda e: e["dataset"].update(name="image_zip")), r"dataset.source: is missing"),
        "too many levels": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(channel_mult=[1, 1, 1, 1, 1])), r"cannot be halved 4 times"),
        "attention at no level": (
            fashion(lambda e: e["denoisers"]["s"]["net"].update(attention_px=[5])), r"attention_px: given 5, wanted sides .*\[8, 4\]"),
        "inception without weights": (
            fashion(lambda e: e["features"]["lite0"].update(name="inception", size_px=None)), r"features.lite0.path: is missing"),
        "density of images": (
            fashion(lambda e: e["evaluate"].update(density={"n": 4, "steps": 4})), r"evaluate.density: given, but"),
        "evaluated never": (
            fashion(lambda e: e["discriminators"]["guide"]["train"].update(evaluate_every=5000)), r"evaluate_every = 5000 is more"),
        "a class for an unconditional net": (
            fashion(lambda e: e["variants"]["autog"].update(main="blind")), r"main 'blind' is unconditional"),
        "grid of another training": (
            fashion(lambda e: e["paper"]["figures"]["grid"].update(train_seed=7)), r"grid.train_seed: given 7, which none has not; it has \[0\]"),
        "a class that is none": (
            fashion(lambda e: e["paper"]["figures"]["variety"].update(labels=[0, 12])), r"variety.labels: given 12, wanted classes from 0 to 9"),
        "snapshot after the end": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(iterations=2400)), r"given 2400, wanted a multiple of 120 up to 1200"),
        "no reference": (fashion(lambda e: e["folds"].pop("reference")), r"folds: has no 'reference'"),
        "metric without features": (
            fashion(lambda e: e["evaluate"]["metrics"].append("fid")), r"given 'fid', wanted features after the @"),
        "unknown features": (
            fashion(lambda e: e["evaluate"]["metrics"].append("fid@lite")), r"wanted features after the @.*did you mean 'lite0'"),
        "unknown metric": (
            fashion(lambda e: e["evaluate"]["metrics"].append("fidd@lite0")), r"'fidd' is not known.*did you mean 'fid'"),
        "classifier that guides as a discriminator": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(disc="clean")), r"whose role is 'features'; method 'discriminator'"),
        "discriminator for classifier guidance": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(method="classifier")), r"method 'classifier' needs a classifier"),
        "guide without samples": (
            fashion(lambda e: e["discriminators"]["guide"].pop("generated")), r"generated: is missing"),
        "classifier with samples": (
            fashion(lambda e: e["discriminators"]["clean"].update(generated={"variant": "none", "seeds": "5-6"})),
            r"learns classes of real images"),
        "extractor that is none": (
            fashion(lambda e: e["discriminators"]["guide"].update(extractor="clean", net={"name": "adm_discriminator", "channels": 32})),
            r"extractor: given 'clean', wanted a discriminator of role classifier \((noisy|none is defined)\)"),
        "features of a guide": (
            fashion(lambda e: e["features"]["classifier"].update(disc="guide")), r"wanted a discriminator of role features \(clean\)"),
        "figure of the 2D example": (
            fashion(lambda e: e["paper"]["figures"].update(sweep={})), r"figures.sweep: is a figure of the 2D example"),
        "point of no sweep": (
            fashion(lambda e: e["paper"]["figures"]["grid"]["points"].append(["x", "cfg/w9.00"])), r"grid: given 'cfg/w9.00'"),
        "guide outside its noise levels": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(sigma_hi=50.0)), r"guide acts in \(0.02, 50.0\], wanted within"),
        "snapshot that is not kept": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(iterations=100)), r"given 100, wanted a multiple of 120"),
        "boost at both stages": (
            fashion(lambda e: e["variants"]["dg"]["guide"].update(boost=True)), r"wanted `discriminator` and `stages: first`"),
        "one discriminator twice": (
            fashion(lambda e: e["variants"]["dg_autog"]["guide"].insert(0, dict(e["variants"]["dg_autog"]["guide"][0]))),
            r"wanted each discriminator in one term"),
        "split of points": (
            lambda raw: raw["experiments"]["toy2d"]["folds"].update(train={"split": "train"}), r"folds.train: given split, wanted `n`"),
        "labels of points": (
            lambda raw: raw["experiments"]["toy2d"]["denoisers"]["s"].update(conditional=True), r"denoisers.s.classes: wanted A, B or AB"),
    }  # fmt: skip


@pytest.mark.parametrize("name", mistakes())
def test_mistakes_are_named_before_work_starts(name, tmp_path):
    change, message = mistakes()[name]
    raw = copy.deepcopy(RAW)
    del raw["experiments"]["fashion_ci"]  # it extends: its mistakes are the same again
    change(raw)
    (tmp_path / "params.yaml").write_text(yaml.dump(raw))
    with pytest.raises(UserError, match=message):
        load_spec(tmp_path / "params.yaml")
