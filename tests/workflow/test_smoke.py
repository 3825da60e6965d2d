"""The papers' own experiments at the smallest size: every rule, released formats and all, to the finished tables.

Of variants that differ in a weight, an EMA length or the size of a net alone, one is built: such numbers are data.
"""

import csv
import math
import re
from pathlib import Path

import pytest
from tree import Tree

from guidelab.io.shards import load_manifest
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

pytestmark = pytest.mark.slow
EXPERIMENTS = ("imagenet256_smoke", "imagenet512_smoke", "cifar10_smoke")


EDM2 = (
    "none",
    "cfg",
    "interval",
    "autog",
    "xxl_autog",
    "uncond_autog",
    "drop5",
    "dropout",
    "input_noise",
    "mismatched",
)


EDM = {"autog_u": 1.5, "dg_autog_u": 1.25, "cfg": 1.5, "autog_c": 1.5, "dg_autog_c": 1.25}


def few(tree):
    """One variant of each kind: every method, sum of methods, stage, interval, degradation, file format and conditioning."""
    tree.write_params(
        lambda params: params["experiments"]["imagenet256_smoke"].update(
            variants={"cg_dg": {"weights": [1.0]}, "autog": {"weights": [1.5]}, "cfg_schedule": None}
        )
    )
    tree.keep(
        "imagenet512_smoke",
        {name: {} for name in EDM2},
        paper={"headline": ["none", "cfg/w1.40", "interval/w2.10", "autog/w2.10"]},
    )
    tree.write_params(
        lambda params: params["experiments"]["cifar10_smoke"].update(
            variants={name: {"weights": [w]} for name, w in EDM.items()}
        )
    )


def few_trained(tree):
    """Both kinds of net, each alone, with a discriminator and with a weaker net."""
    alone = {"none_u": {}, "none_c": {}, "dg_c": {}}
    guided = {"dg_u": {"weights": [2.0]}, "autog_u": {"weights": [1.5]}, "autog_c": {"weights": [1.5]}}
    headline = ["none_u", "dg_u/w2.00", "autog_u/w1.50", "none_c", "dg_c/w1.00", "autog_c/w1.50"]
    tree.keep("cifar10_smoke_trained", alone | guided, paper={"headline": headline})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One clean copy of the project in which all three tables are requested by name."""
    folder = tmp_path_factory.mktemp("smoke") / "tree"
    tree = Tree.new(folder, fake=False, experiment=EXPERIMENTS[0], warm=True, more=EXPERIMENTS[1:])
    few(tree)
    tables = [f"results/tables/{name}.csv" for name in EXPERIMENTS]
    tree.run(
        "snakemake",
        "--cores",
        "2",
        "--quiet",
        "all",
        "--",
        *tables,
        "results/figures/imagenet256_smoke/grid.png",
    )
    return tree


@pytest.fixture(scope="module")
def plan(built):
    return Plan(load_spec(built.root / "params.yaml"))


def table(built, name):
    return list(csv.DictReader((built.root / f"results/tables/{name}.csv").open()))


def not_measured(experiment, variant):
    """Real images are compared with the samples under the papers' protocol only: in ours they are the reference."""
    return {
        metric
        for metric in experiment.spec.evaluate.metrics
        if experiment.spec.variants[variant].real and not metric.endswith("@adm")
    }


def check_finished(tree, experiment):
    """Every row of a table is there, every cell has a number, and every label says smoke."""
    rows = table(tree, experiment.name)
    assert {row["variant"] for row in rows} == set(experiment.spec.variants)
    for row in rows:
        absent = not_measured(experiment, row["variant"])
        for metric in experiment.spec.evaluate.metrics:
            if metric in absent:
                assert (row[metric], row[f"{metric} over"]) == ("", "not run"), (row["variant"], metric)
            else:
                assert math.isfinite(float(row[metric])) and row[f"{metric} over"] != "not run", (row, metric)
        assert row["n_generated"] == "16" and int(row["n_blocks"]) >= 1
        assert "smoke" in row["scale"] and row["label"].startswith("smoke: "), row
        assert (row["published"], row["published verdict"]) == ("", "smoke: not compared"), row
    text = (tree.root / f"results/tables/{experiment.name}.md").read_text()
    assert "smoke test" in text.splitlines()[0] and "No published value stands here" in text


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_table_is_finished_and_every_cell_is_named_as_smoke(built, plan, name):
    check_finished(built, plan.experiment(name))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_guidance_changed_the_samples(built, plan, name):
    """Every guided point has images of its own: no term is dropped on the way."""
    experiment = plan.experiment(name)
    hashes = {}
    for run in experiment.runs:
        listed = load_manifest(built.root / experiment.path("sample", *run.names))["shards"]
        blocks = 1 if experiment.spec.variants[run.variant].real else 3  # real images have no seeds
        assert [shard["n"] for shard in listed] == [8, 8] * blocks
        hashes[run.point] = tuple(shard["sha256"] for shard in listed)
    mains = {point: experiment.spec.variants[point.split("/")[0]].main for point in hashes}
    for point, found in hashes.items():
        if experiment.spec.variants[point.split("/")[0]].guide and not point.endswith("mismatched/w1.00"):
            same = [p for p in hashes if p != point and mains[p] == mains[point] and hashes[p] == found]
            assert not same, (point, same)


def test_real_rows_are_never_touched(built):
    for name in EXPERIMENTS:
        full = name.removesuffix("_smoke")
        assert not (built.root / f"results/{full}").exists()
        assert not (built.root / f"results/tables/{full}.csv").exists()


def test_interrupted_samples_go_on_at_the_shard_they_were_in(built, plan):
    """A shard and the manifest are deleted: one shard is made again, byte by byte."""
    experiment = plan.experiment("imagenet256_smoke")
    run = next(r for r in experiment.runs if r.variant == "cg_dg")
    manifest = built.root / experiment.path("sample", *run.names)
    before = manifest.read_bytes()
    shards = [manifest.with_suffix("") / s["file"] for s in load_manifest(manifest)["shards"]]
    times = {path: path.stat().st_mtime_ns for path in shards}
    shards[3].unlink()
    manifest.unlink()
    built.run("snakemake", "--cores", "2", "--quiet", "all", "--", experiment.path("sample", *run.names))
    assert manifest.read_bytes() == before
    made = [path for path in shards if path.stat().st_mtime_ns != times[path]]
    assert made == [shards[3]]


def test_a_changed_checkpoint_is_refused_before_any_work(built):
    """The file's hash was pinned when it was first read."""
    root = built.root / "results/imagenet256_smoke"
    (path,) = (root / "synthetic/checkpoints").rglob("DiT-XL-2-256x256.pt")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    output = "results/imagenet256_smoke/obtained/models/dit.safetensors"
    done = Path(built.root / output)
    done.unlink()
    with pytest.raises(AssertionError) as caught:
        built.run("snakemake", "--cores", "1", "--", output)
    assert re.search(r"DiT-XL-2-256x256\.pt: .*sha256", str(caught.value))
    assert not done.exists()


def test_nets_trained_here_take_the_place_of_released_ones(tmp_path):
    """One key: the table of CIFAR-10 from nets, classifier and discriminators trained in the same run."""
    tree = Tree.new(tmp_path / "tree", fake=False, experiment="cifar10_smoke_trained", warm=True)
    few_trained(tree)
    ran = tree.run("snakemake", "--cores", "2", "--", "results/tables/cifar10_smoke_trained.csv")
    assert len(re.findall(r"^(?:local)?rule train:", ran, re.M)) == 4
    assert len(re.findall(r"^(?:local)?rule discriminate:", ran, re.M)) == 3
    check_finished(tree, Plan(load_spec(tree.root / "params.yaml")).experiment("cifar10_smoke_trained"))
