"""The real commands on images, once, at the smallest scale: everything is built, twice gives the same bytes."""

import csv
import json
import platform
import re
from pathlib import Path

import pytest
from tree import Tree

from guidelab.io.shards import load_manifest
from guidelab.plan.plan import Plan
from guidelab.provenance import records
from guidelab.provenance.disk import sha256
from guidelab.spec.load import load_spec

pytestmark = pytest.mark.slow
EXPERIMENT = "fashion_ci"
RESULTS = f"results/{EXPERIMENT}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tree = Tree.new(tmp_path_factory.mktemp("images") / "tree", fake=False, experiment=EXPERIMENT, warm=True)
    tree.run("snakemake", "--cores", "2", "--quiet", "all")
    return tree


@pytest.fixture(scope="module")
def plan(built):
    return Plan(load_spec(built.root / "params.yaml"))


def rows(built):
    return list(csv.DictReader((built.root / RESULTS / "measurements.csv").open()))


def test_every_planned_file_is_there_with_its_record(built, plan):
    for stage in plan.stages(EXPERIMENT):
        entries, complaint = records.read(built.root, stage)
        assert complaint is None
        for path in (*stage.files, stage.manifest):
            assert (built.root / path).stat().st_size > 0, path
            assert entries[path].sha256 == sha256(built.root / path), path


def test_shards_stay_where_their_manifest_lists_them(built, plan):
    """The stage's tidying keeps the folders of shards, and each shard is the one listed."""
    for names in plan.experiment(EXPERIMENT).planned("sample"):
        manifest = built.root / plan.experiment(EXPERIMENT).path("sample", *names)
        listed = load_manifest(manifest)["shards"]
        assert [s["n"] for s in listed] == [16, 16] * (1 if names[0] == "real" else 3)  # real data: one block
        for shard in listed:
            assert sha256(manifest.with_suffix("") / shard["file"]) == shard["sha256"]


def test_nothing_is_left_to_do(built):
    assert "Nothing to be done" in built.planned()


def test_every_number_records_its_origin(built, plan):
    found, e = rows(built), plan.experiment(EXPERIMENT)
    metrics = set(e.spec.evaluate.metrics)
    assert {r["metric"] for r in found} == metrics
    blocks = sum(1 if run.variant == "real" else len(e.spec.evaluate.blocks) for run in e.runs)
    assert len(found) == blocks * len(metrics)
    for row in found:
        assert row["features"] == row["metric"].split("@")[1]
        assert re.fullmatch(r"[0-9a-f]{64}", row["features_sha256"]) and row["n_generated"] == "32"
        assert row["label_policy"] == "random" and row["scale"] == "ci"
        assert row["nfe"] == ("0" if row["variant"] == "real" else "7")
        assert float(row["value"]) == float(row["value"]), row  # no nan
    fids = {r["value"] for r in found if r["metric"] == "fid@lite0" and r["variant"] == "cfg"}
    assert len(fids) == 6  # two weights on three blocks: no number stands for two


def test_the_same_bytes_come_out_again(built):
    """Delete one file of every kind of job, make it again, compare."""
    again = [
        f"{RESULTS}/data/holdout.zip",
        f"{RESULTS}/checkpoints/xs/seed0.safetensors",
        f"{RESULTS}/checkpoints/xs/seed0.csv",
        f"{RESULTS}/models/early.safetensors",
        f"{RESULTS}/generated/guide.json",
        f"{RESULTS}/discriminators/guide.safetensors",
        f"{RESULTS}/discriminators/clean.safetensors",
        f"{RESULTS}/samples/dg_autog/w2.50/seed0.json",
        f"{RESULTS}/features/lite0/dg_autog/w2.50/seed0.safetensors",
        f"{RESULTS}/features/classifier/data/reference.safetensors",
        f"{RESULTS}/measurements/dg_autog/w2.50/seed0.csv",
        f"{RESULTS}/grading/grade/none/w1.00/seed0.json",
        f"{RESULTS}/graders/grade/none/w1.00/seed0.safetensors",
        f"{RESULTS}/nulls/grade.safetensors",
        f"{RESULTS}/divergences/null.csv",
        f"{RESULTS}/divergences/dg_autog/w1.50/seed0.csv",
        f"results/tables/{EXPERIMENT}_divergences.csv",
        f"results/tables/{EXPERIMENT}_costs.csv",
        f"results/figures/{EXPERIMENT}/divergence_sigma.png",
        f"results/figures/{EXPERIMENT}/divergence_weight.png",
        f"{RESULTS}/fields/grid.safetensors",
        f"{RESULTS}/previews/none/w1.00/seed0.png",
        f"results/figures/{EXPERIMENT}/weights.csv",
        f"results/figures/{EXPERIMENT}/weights.png",
        f"results/figures/{EXPERIMENT}/weights.pdf",
    ]
    before = {path: sha256(built.root / path) for path in again}
    for path in again:
        (built.root / path).unlink()
    for shard in (built.root / f"{RESULTS}/samples/dg_autog").rglob("*.safetensors"):
        shard.unlink()
    built.run("snakemake", "--cores", "2", "--quiet", "all", "--", *again)
    assert {path: sha256(built.root / path) for path in again} == before


def test_a_printed_number_is_followed_back_to_its_shards(built):
    found = json.loads(
        built.run(
            "guidelab", "trace", f"results/tables/{EXPERIMENT}.csv", "--row", "1", "-c", "kid@lite0", "--json"
        )
    )
    assert found["problems"] == [] and found["cell"]["agrees"]
    assert {state["word"] for state in found["files"].values()} == {"intact"}
    (sample,) = [step for step in found["steps"] if step["rule"] == "sample"]
    assert (
        len(sample["shards"]) == 4
    )  # two blocks of 32 in shards of 16; the choosing block is not in the number
    assert all(step["run"]["machine"] for step in found["steps"])


def test_a_new_guide_variant_is_one_entry(built):
    """Input noise on both nets, not planned before: an entry for each model and one for the variant."""

    def add(params):
        e = params["experiments"][EXPERIMENT]
        e["models"] |= {
            "noisy": {"denoiser": "s", "nimg": 512, "ema_std": 0.1, "degrade": {"input_noise": 0.1}},
            "noisier": {"denoiser": "s", "nimg": 512, "ema_std": 0.05, "degrade": {"dropout": 0.1}},
        }
        e["variants"]["mine"] = {
            "main": "noisy", "guide": {"method": "reference", "ref": "noisier"}, "weights": [2.0]
        }  # fmt: skip

    built.write_params(add)
    ran = built.run("snakemake", "--cores", "2", f"results/tables/{EXPERIMENT}.csv")
    assert len(re.findall(r"^(?:local)?rule sample:", ran, re.M)) == 1 and not re.findall(
        r"^(?:local)?rule train:", ran, re.M
    )
    table = (built.root / f"results/tables/{EXPERIMENT}.csv").read_text()
    assert "mine" in table


def test_tables_hold_no_times_and_no_machine(built):
    printed = [*Path(built.root, "results/tables").iterdir(), built.root / RESULTS / "metrics.json"]
    for path in printed:
        assert platform.node() not in re.findall(r"[\w.-]+", path.read_text()), path
    flat = json.loads((built.root / RESULTS / "metrics.json").read_text())
    assert flat and all("." not in name and "@" not in name for name in flat)
