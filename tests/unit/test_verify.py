"""`guidelab verify` on a run of real files: packaged weights, samples in shards, measured rows; and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from guidelab.cli.app import app
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.features.efficientnet_lite0 import EfficientNetLite0
from guidelab.io import read_csv, write_csv
from guidelab.io.shards import split, write_manifest, write_shard
from guidelab.jobs import extract, measure
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec
from guidelab.study.verify import cases, numbers

PARAMS = Path(__file__).parents[2] / "params.yaml"
NAMES = ("cfg", "w1.50", "seed0")
ROWS = "results/fashion_ci/measurements/cfg/w1.50/seed0.csv"


@pytest.fixture(scope="module")
def plan():
    return Plan(load_spec(PARAMS))


def pictures(n, seed, scale=60):
    generator = torch.Generator().manual_seed(seed)
    coarse = 128 + scale * torch.randn(n, 1, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, 16).clip(0, 255).to(torch.uint8)


def run(plan, rule, *names, **changed):
    job = plan.job(rule, "fashion_ci", *names)
    payload = json.loads(plan.payload(rule, "fashion_ci", *names)) | changed
    {"extract": extract, "measure": measure}[rule].run(payload, [Path(p) for p in job.outputs])


def finished(plan):
    """Samples, real images, features and measured rows of one point of `fashion_ci`, in Lite0 features."""
    point = plan.job("measure", "fashion_ci", *NAMES).spec
    of = point["of"]
    about = {
        "variant": of["variant"],
        "seeds": of["train_seeds"],
        "blocks": point["blocks"],
        "sampler": of["sampler"],
    }
    about |= {
        "terms": [{"weight": w} for w in of["weights"]],
        "nets_sha256": {"model:main": "1"},
        "code": "0",
    }
    manifest = Path(plan.job("sample", "fashion_ci", *NAMES).outputs[0])
    shards = [s for block, ends in point["blocks"].items() for s in split(0, block, ends, 16)]
    for shard in shards:
        write_shard(manifest.with_suffix(""), shard, about, lambda a, b: (pictures(b - a + 1, a, 50), None))
    write_manifest(manifest, shards, about)
    real = ImageSet(pictures(224, 9), None, tuple(f"{i:03}" for i in range(224)))
    fold = Path(plan.job("prepare", "fashion_ci", "reference").outputs[0])
    fold.parent.mkdir(parents=True)
    write_zip(fold, real)
    for of in ("data/reference", "/".join(NAMES)):
        run(plan, "extract", "lite0", of)
    metrics = [m for m in point["metrics"] if m.endswith("@lite0")]
    run(plan, "measure", *NAMES, metrics=metrics, spaces={"lite0": point["spaces"]["lite0"]})


@pytest.fixture(scope="module")
def there(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finished(plan)
    return folder


def verify(*words):
    return CliRunner().invoke(app, ["verify", *words, "--params", str(PARAMS)])


def test_the_numbers_of_a_run_are_confirmed_and_their_differences_explained(there, monkeypatch):
    monkeypatch.chdir(there)
    done = verify("fashion_ci", "--point", "cfg/w1.50", "-o", "out/v.csv")
    assert done.exit_code == 0, done.output
    table = read_csv("out/v.csv").set_index("metric")
    assert list(table.index) == ["fid@lite0", "kid@lite0", "precision@lite0", "recall@lite0"]
    assert table.agrees.all() and set(table.seed_block) == {"report1"}
    measured = read_csv(ROWS).query("seed_block == 'report1'").set_index("metric").value
    for metric, row in table.iterrows():
        # of 32 images in 1,280 dimensions torch-fidelity's roots of zero eigenvalues add up
        assert row.torch_fidelity == pytest.approx(
            measured[metric], rel=1e-3 if metric == "fid@lite0" else 1e-6, abs=1e-6
        )
        assert row.difference == pytest.approx(row.torch_fidelity - row.ours, abs=1e-8)
    assert table.n_reference.tolist() == [224, 32, 32, 32] and set(table.n_reference_default) == {224}
    assert table.why["precision@lite0"] == "224 real images, ours 32"
    assert table.why["kid@lite0"] == "100 random subsets of 32 of 224 real images, ours all 32 x 32 pairs"
    assert "float32" in table.why["fid@lite0"] and "1280" in table.why["fid@lite0"]
    assert table.torch_fidelity_default["recall@lite0"] != table.torch_fidelity["recall@lite0"]
    text = Path("out/v.md").read_text()
    assert text in done.output and "| cfg/w1.50, seed 0 |" in text and "fold reference" in text
    assert "at most 0 from the recorded features" in text  # batches of 64 there and here
    assert (
        "kid@lite0 from all pairs at once." in text and "random subsets" not in text.split("Same settings")[1]
    )
    assert "at most 0.1 of its standard error, or 1e-06 of the number" in text


def test_random_subsets_of_kid_and_their_tolerance_are_printed(there, monkeypatch):
    monkeypatch.chdir(there)
    monkeypatch.setattr(numbers, "KID_ROWS", 16)
    done = verify("fashion_ci", "--point", "cfg/w1.50", "-o", "out/subsets.csv")
    table = read_csv("out/subsets.csv").set_index("metric")
    assert table.kid_pairs["kid@lite0"] == "20 random subsets of 16 images a side"
    assert table.allowed_std_errors.to_dict() == {
        "fid@lite0": 0.1,
        "kid@lite0": 1.0,
        "precision@lite0": 0.1,
        "recall@lite0": 0.1,
    }
    assert "k and parts, kid@lite0 from 20 random subsets of 16 images a side." in done.output
    assert "0.1 of its standard error (kid@lite0: of random subsets, 1), or 1e-06" in done.output
    assert "all pairs at once" not in done.output


def test_a_headline_without_points_is_refused(tmp_path):
    raw = yaml.load(PARAMS.read_text(encoding="utf-8"), yaml.CSafeLoader)
    raw["experiments"]["fashion_ci"].setdefault("paper", {})["headline"] = []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["verify", "fashion_ci", "--params", str(tmp_path / "params.yaml")])
    assert isinstance(done.exception, UserError)
    assert "fashion_ci: its headline has no points; give --point VARIANT/wW" in str(done.exception)


def test_another_number_in_the_rows_ends_with_status_1(there, monkeypatch):
    monkeypatch.chdir(there)
    rows = read_csv(ROWS)
    write_csv(ROWS, rows.assign(value=rows.value.where(rows.metric != "recall@lite0", 0.5 * rows.value)))
    done = verify("fashion_ci", "--point", "cfg/w1.50", "--features", "lite0")
    write_csv(ROWS, rows)
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.output.splitlines() if "| NO" in line]
    assert "recall@lite0" in line


def test_rows_and_features_of_other_weights_are_refused(there, plan, monkeypatch):
    monkeypatch.chdir(there)
    (case,) = cases.cases(plan, "fashion_ci", ["cfg/w1.50"], None, ["lite0"])
    other = {name: row.where(row.index != "features_sha256", "0" * 64) for name, row in case.rows.items()}
    with pytest.raises(
        UserError, match="fid@lite0 is of features with weights 000000000000, these are 579344248a93"
    ):
        numbers.verified(plan, "fashion_ci", [replace(case, rows=other)])


def test_features_that_are_not_finite_and_too_few_images_are_refused(there, plan, monkeypatch):
    monkeypatch.chdir(there)
    found = cases.cases(plan, "fashion_ci", ["cfg/w1.50"], None, ["lite0"])
    with monkeypatch.context() as patch:
        patch.setattr(numbers, "LEAST", 33)
        with pytest.raises(UserError, match=r"cfg/w1.50, block report1: holds 32 images, wanted at least 33"):
            numbers.verified(plan, "fashion_ci", found)
    extract_all = EfficientNetLite0.features_and_logits

    def broken(self, images):
        features, logits = extract_all(self, images)
        features[3] = float("nan")
        return features, logits

    monkeypatch.setattr(EfficientNetLite0, "features_and_logits", broken)
    with pytest.raises(
        UserError, match=r"seed0.json: 1 of 32 images have lite0 features that are not finite"
    ):
        numbers.verified(plan, "fashion_ci", found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["toy2d"], "its samples are points.* such as fashion"),
        (["fashon"], "no experiment 'fashon'.*fashion"),
        (["fashion_ci"], "samples/none/w1.00/seed0.json.*no such file.*Build them with: snakemake"),
        (["fashion_ci", "--point", "cfg/w1.55"], "no point 'cfg/w1.55'.*cfg/w1.50"),
        (
            ["fashion_ci", "--point", "cfg/w1.50", "--features", "lite"],
            "--features: given 'lite'.*did you mean",
        ),
        (["fashion_ci", "--point", "cfg/w1.50", "--block", "report"], "--block: given 'report'.*report1"),
        (["fashion_ci", "-o", "v.md"], r"--output: given v.md, wanted a file .csv"),
    ],
)
def test_what_cannot_be_verified_is_refused_before_anything_is_computed(there, monkeypatch, words, said):
    monkeypatch.chdir(there)
    monkeypatch.setattr(numbers, "Sides", pytest.fail)
    done = verify(*words)
    assert isinstance(done.exception, UserError)
    assert re.search(said, str(done.exception), re.DOTALL), done.exception
