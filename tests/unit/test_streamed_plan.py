"""Plans of streamed experiments: converted nets, trained nets, devices, and the smoke copies."""

import json
from pathlib import Path

import pytest
import yaml

from guidelab.errors import UserError
from guidelab.plan import instances
from guidelab.plan.build.expected import needed
from guidelab.plan.dvc import refuse_overlaps
from guidelab.plan.plan import Plan
from guidelab.plan.rules import RULES
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml

ROOT = Path(__file__).parents[2]
LARGE = ("imagenet512", "imagenet512_curves", "imagenet64", "imagenet256", "cifar10")
SMOKE = (
    "imagenet512_smoke",
    "imagenet512_curves_smoke",
    "imagenet64_smoke",
    "imagenet256_smoke",
    "cifar10_smoke",
)


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(ROOT / "params.yaml"))


def payload(plan, rule, experiment, *names):
    return json.loads(plan.payload(rule, experiment, *names))


def broken(tmp_path, change):
    """params.yaml with a mistake; the message it gets."""
    params = read_yaml(ROOT / "params.yaml")
    change(params["experiments"])
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    with pytest.raises(UserError) as caught:
        load_spec(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [*LARGE, *SMOKE, "cifar10_smoke_trained", "imagenet256_smoke_trained", "imagenet512_smoke_trained"],
)
def test_every_job_of_every_stage_can_be_planned_and_stages_share_nothing(plan, name):
    stages, experiment = plan.stages(name), plan.experiment(name)
    refuse_overlaps(stages)
    made = {path for stage in stages for path in stage.files}
    for key in ((rule, name, *names) for rule in RULES for names in experiment.planned(rule)):
        job = plan.job(*key)
        assert set(job.outputs) <= made, job.outputs
        missing = [path for path in job.files if path.startswith("results/") and path not in made]
        assert not missing, (job.rule, missing)


def test_stages_come_in_an_order_that_can_be_run(plan):
    for name in (*LARGE, "imagenet256_smoke_trained"):
        seen = set()
        for stage in plan.stages(name):
            assert set(stage.after) <= seen, (name, stage.name, stage.after)
            seen.add(stage.name)


def test_released_nets_are_converted_and_only_unreleased_ones_are_trained(plan):
    released, trained = plan.experiment("imagenet256"), plan.experiment("imagenet256_smoke_trained")
    assert instances.denoisers(released) == ["dit_s"]
    assert instances.denoisers(trained) == ["adm", "dit", "dit_s"]
    inputs = payload(plan, "sample", "imagenet256", "autog", "w1.50", "seed0")["inputs"]
    assert inputs["model:dit"] == ["results/imagenet256/obtained/models/dit.safetensors"]
    assert inputs["model:weak"] == ["results/imagenet256/models/weak.safetensors"]
    inputs = payload(plan, "sample", "imagenet256_smoke_trained", "autog", "w1.50", "seed0")["inputs"]
    assert inputs["model:dit"] == ["results/imagenet256_smoke_trained/models/dit.safetensors"]
    names = {stage.name for stage in plan.stages("imagenet256")}
    assert {"obtain", "train", "discriminate"} <= names and "synthetic" not in names


def test_nets_on_pixels_and_on_latents_live_in_one_experiment(plan):
    adm = payload(plan, "sample", "imagenet256", "adm", "w1.00", "seed0")
    dit = payload(plan, "sample", "imagenet256", "cfg", "w1.50", "seed0")
    assert adm["latent"] is None and "autoencoder" not in adm["inputs"] and adm["sampler"]["clip"] is True
    assert dit["latent"]["side_px"] == 32 and dit["sampler"]["clip"] is False
    assert dit["inputs"]["autoencoder"] == [
        "results/imagenet256/obtained/autoencoders/autoencoder.safetensors"
    ]
    assert dit["unlabelled"] == ["dit_null"]
    guide = payload(plan, "discriminate", "imagenet256", "guide_adm")
    assert guide["inputs"]["real"] == ["results/imagenet256/data/holdout.zip"]
    assert guide["inputs"]["generated"] == ["results/imagenet256/generated/guide_adm.json"]
    assert guide["inputs"]["extractor"] == ["results/imagenet256/obtained/discriminators/cls.safetensors"]
    expected = payload(plan, "obtain", "imagenet256", "models", "adm")["expect"]
    assert expected == {
        "resolution_px": 256, "image_channels": 3, "name": "adm", "classes": 1000,
        "net": {"channels": 256, "channel_mult": [1, 1, 2, 2, 4, 4], "blocks": 2, "attention_px": [32, 16, 8],
                "head_channels": 64, "schedule": "linear"},
        "entry": "imagenet256.models.adm.checkpoint", "net_entry": "imagenet256.denoisers.adm.net",
    }  # fmt: skip
    expected = payload(plan, "obtain", "imagenet256", "models", "dit")["expect"]
    assert (expected["resolution_px"], expected["image_channels"], expected["name"]) == (32, 4, "dit")
    assert expected["net"] == {"width": 1152, "depth": 28, "heads": 16, "patch_px": 2}


def test_real_images_take_the_place_of_samples(plan):
    job = payload(plan, "sample", "imagenet256", "validation", "w1.00", "seed0")
    assert (
        job["inputs"] == {"images": ["results/imagenet256/data/reference.zip"]} and job["real"] == "reference"
    )


def test_a_space_has_its_own_reference_and_statistics(plan):
    job = payload(plan, "measure", "imagenet256", "adm", "w1.00", "seed0")
    assert job["spaces"]["adm"] == {
        "of": "inception",
        "reference": "adm",
        "statistics": True,
        "neighbours": 3,
        "counts": "all",
    }
    assert job["inputs"]["statistics:adm"] == ["results/imagenet256/obtained/references/adm.safetensors"]
    assert job["inputs"]["reference:adm"] == ["results/imagenet256/features/inception/data/adm.safetensors"]
    assert "statistics:inception" not in job["inputs"]
    published = payload(plan, "measure", "imagenet512", "none", "w1.00", "seed0")["inputs"]
    assert "reference:paper" not in published  # FID alone: no published images are needed


@pytest.mark.parametrize("name", SMOKE)
def test_a_smoke_copy_plans_the_same_points_under_its_own_name(plan, name):
    small, full = plan.experiment(name), plan.experiment(name.removesuffix("_smoke"))
    assert [run.point for run in small.runs] == [run.point for run in full.runs]
    assert needed(small) == [n for n in needed(full) if n not in ("inception", "dinov2-vitl14")]
    for stage in plan.stages(name):
        assert all(f"/{name}" in path for path in (*stage.files, *stage.outs)), stage.name
    rows = payload(plan, "measure", name, *small.runs[0].point.split("/"), "seed0")
    assert rows["row"]["scale"] == "smoke" and rows["row"]["experiment"] == name
    assert plan.job("table", name).spec["published"] == {}
    assert all(last - first + 1 == 16 for first, last in small.spec.evaluate.blocks.values())


def test_inputs_of_a_smoke_experiment_are_synthetic(plan):
    made = "results/imagenet256_smoke/synthetic/files.json"
    assert plan.job("prepare", "imagenet256_smoke", "train").files == [made]
    assert plan.job("obtain", "imagenet256_smoke", "models", "dit").files == [made]
    job = plan.job("synthesize", "imagenet256_smoke").spec
    shapes = {entry["row"]["name"]: entry for entry in job["checkpoints"]}
    assert (shapes["adm-256"]["resolution_px"], shapes["adm-256"]["image_channels"]) == (32, 3)
    assert (shapes["DiT-XL-2-256x256"]["resolution_px"], shapes["DiT-XL-2-256x256"]["classes"]) == (8, 4)
    assert shapes["sd-vae-ft-ema"]["side_px"] == 8


MISTAKES = {
    "an unknown checkpoint": (
        lambda e: e["cifar10"]["models"]["cond"].update(checkpoint="edm-cifar10-32x32-cond-vpp"),
        "cifar10.models.cond.checkpoint: given 'edm-cifar10-32x32-cond-vpp'", "edm-cifar10-32x32-cond-vp'",
    ),
    "a classifier for a net": (
        lambda e: e["imagenet256"]["models"]["adm"].update(checkpoint="adm-256-classifier"),
        "imagenet256.models.adm.checkpoint: given 'adm-256-classifier', which is a classifier", "wanted a net",
    ),
    "a head on nothing released": (
        lambda e: e["cifar10"]["discriminators"]["noisy"].pop("checkpoint"),
        "cifar10.discriminators.guide_uncond.checkpoint: is a head on 'noisy', which is not released", "wanted",
    ),
    "a chain for a net that has none": (
        lambda e: e["cifar10"]["variants"]["none_u"].update(sampler={"name": "ddim", "steps": 50}),
        "cifar10.variants.none_u: main 'uncond' is a net edm, which sampler ddim cannot step", "heun",
    ),
    "statistics for a metric of images": (
        lambda e: e["cifar10"]["evaluate"].update(metrics=["fid@edm", "kid@edm"]),
        "cifar10.evaluate.metrics: given 'kid@edm'", "wanted a space whose reference is a fold of images",
    ),
    "real images and guidance": (
        lambda e: e["imagenet256"]["variants"]["cg"].update(real="reference"),
        "imagenet256.variants.cg: given real examples and guidance", "wanted one",
    ),
    "a space of nothing": (
        lambda e: e["imagenet256"]["features"]["adm"].update(of="inceptoin"),
        "imagenet256.features.adm.of: given 'inceptoin'", "did you mean 'inception'",
    ),
    "a reference that is no fold": (
        lambda e: e["imagenet256"]["features"]["adm"].update(reference="adn"),
        "imagenet256.features.adm.reference: given 'adn'", "did you mean 'adm'",
    ),
    "released weights where there are none": (
        lambda e: e["fashion"].update(weights="released"),
        "fashion.weights: given 'released', but no model or discriminator names a `checkpoint`", "or 'trained'",
    ),
    "dropout where there is none": (
        lambda e: e["imagenet256"]["models"]["adm"].update(degrade={"dropout": 0.1}),
        "imagenet256.models.adm.degrade.dropout: given 0.1", "input_noise",
    ),
    "mirrored latents": (
        lambda e: e["imagenet256"]["denoisers"]["dit"]["train"].update(flip=True),
        "imagenet256.denoisers.dit.train.flip: given for a net on latents", "wanted none",
    ),
    "a checkpoint of another data set": (
        lambda e: e["cifar10"]["models"]["cond"].update(checkpoint="edm-imagenet-64x64-cond-adm"),
        "cifar10.models.cond.checkpoint: given 'edm-imagenet-64x64-cond-adm', which is of imagenet64", "wanted one of cifar10",
    ),
    "a checkpoint of another resolution": (
        lambda e: e["imagenet256"]["models"]["dit"].update(checkpoint="DiT-XL-2-512x512"),
        "imagenet256.models.dit.checkpoint: given 'DiT-XL-2-512x512', which is of imagenet512", "wanted one of imagenet256",
    ),
    "a checkpoint of another kind of net": (
        lambda e: e["imagenet256"]["models"]["adm"].update(checkpoint="DiT-XL-2-256x256"),
        "models.adm.checkpoint: given 'DiT-XL-2-256x256', which is a net dit, wanted a net adm", "image_channels 4",
    ),
    "a checkpoint that is told no class": (
        lambda e: e["cifar10"]["models"]["cond"].update(checkpoint="edm-cifar10-32x32-uncond-vp"),
        "cifar10.models.cond.checkpoint: given 'edm-cifar10-32x32-uncond-vp', of classes 0 in checkpoints.csv", "wanted 10",
    ),
    "a checkpoint that is told a class": (
        lambda e: e["cifar10"]["models"]["uncond"].update(checkpoint="edm-cifar10-32x32-cond-vp"),
        "cifar10.models.uncond.checkpoint: given 'edm-cifar10-32x32-cond-vp', of classes 10", "wanted 0",
    ),
    "another number of classes": (
        lambda e: e["imagenet256"]["dataset"].update(classes=100),
        "imagenet256.models.adm.checkpoint: given 'adm-256', of classes 1000 in checkpoints.csv, wanted 100",
        "discriminators.cls.checkpoint",
    ),
    "a classifier of other images": (
        lambda e: e["imagenet256"]["discriminators"]["cls"].update(checkpoint="adm-64-classifier"),
        "imagenet256.discriminators.cls.checkpoint: given 'adm-64-classifier', which is of imagenet64", "resolution_px 64",
    ),
    "statistics of other images": (
        lambda e: e["imagenet256"]["folds"]["adm"].update(checkpoint="ref-imagenet512-adm"),
        "imagenet256.folds.adm.checkpoint: given 'ref-imagenet512-adm', which is of imagenet512", "resolution_px 512",
    ),
    "another data set's checkpoint in a smoke copy": (
        lambda e: e["imagenet256_smoke"].update(models={"dit": {"checkpoint": "edm-cifar10-32x32-cond-vp"}}),
        "imagenet256_smoke.models.dit.checkpoint: given 'edm-cifar10-32x32-cond-vp', which is of cifar10", "wanted one of imagenet",
    ),
    "the weights of another extractor": (
        lambda e: e["cifar10"]["features"]["inception"].update(checkpoint="dinov2-vitl14"),
        "cifar10.features.inception.checkpoint: given 'dinov2-vitl14', the weights of dinov2, wanted those of inception", "",
    ),
    "a guide on latents for a net on pixels": (
        lambda e: e["imagenet256"]["variants"]["cg"].update(guide={"method": "reference", "ref": "weak"}),
        "imagenet256.variants.cg.guide: model 'weak' works on latents, but main 'adm' works on pixels", "wanted both",
    ),
    "a discriminator of pixels for a net on latents": (
        lambda e: e["imagenet256"]["variants"]["autog"].update(guide={"method": "discriminator", "disc": "guide_adm"}),
        "variants.autog.guide: discriminator 'guide_adm' works on pixels, but main 'dit' works on latents", "wanted both",
    ),
    "a head on features of something else": (
        lambda e: e["imagenet256"]["discriminators"]["guide_adm"].update(extractor="noisy"),
        "discriminators.guide_adm.extractor: 'noisy' works on latents, but the head on it works on pixels", "wanted both",
    ),
    "a subset of what is never counted": (
        lambda e: e["cifar10"]["dataset"].update(subset=True), "cifar10.dataset.subset: given for cifar10", "wanted none",
    ),
    "a published point nobody runs": (
        lambda e: e["cifar10"]["paper"]["published"].update({"dg_u/w3.00": ["EDM-G++, unconditional"]}),
        "cifar10.paper.published: given 'dg_u/w3.00'", "w1.00, w2.00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_before_any_work(tmp_path, mistake):
    change, *said = MISTAKES[mistake]
    message = broken(tmp_path, change)
    assert all(text in message for text in said), message


def test_unplanned_names_are_refused_with_the_planned_ones(plan):
    with pytest.raises(UserError, match="has no jobs of obtain"):
        plan.job("obtain", "fashion", "models", "main")
    with pytest.raises(
        UserError, match=r"no obtain 'models/weak'.*with weights: trained, nets are trained here"
    ):
        plan.job("obtain", "imagenet256", "models", "weak")
    with pytest.raises(UserError, match="wanted one of data/"):
        plan.job("encode", "imagenet256", "data/nowhere")
