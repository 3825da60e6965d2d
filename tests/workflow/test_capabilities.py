"""A user's own pictures, in a folder and in a ZIP, under every capability: what an experiment can do depends on no dataset.

One tree holds the experiments of capabilities.yaml; each goes through Snakemake to its printed table.
"""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tree import ROOT, Tree

from guidelab.data.folds import BY_CONTENT, twelfth
from guidelab.io import load_arrays, sha256
from guidelab.io.shards import load_manifest
from guidelab.plan.plan import Plan
from guidelab.released import CSV, Row
from guidelab.spec.load import load_spec
from guidelab.spec.reading import read_yaml
from guidelab.synthetic.checkpoints import write_synthetic

pytestmark = pytest.mark.slow
SIDE, CLASSES = 8, 4
FOLDS = {"train": 96, "holdout": 48, "test": 96}  # pictures of each split
FILES = {  # row of checkpoints.csv -> kind, format, and what the file holds
    "own-vae": ("autoencoder", "vae", {"image_channels": 3, "classes": 0, "side_px": 4}),
    "own-net": ("net", "edm2_pickle", {"image_channels": 3, "classes": CLASSES}),
    "own-blind": ("net", "edm2_pickle", {"image_channels": 3, "classes": 0}),
    "own-extractor": ("extractor_classifier", "adm_classifier_pt", {"image_channels": 3, "classes": CLASSES}),
    "own-head": ("discriminator", "dg_pt", {"image_channels": 3, "classes": CLASSES}),
    "own-statistics": ("reference", "reference_npz", {"image_channels": 3, "classes": 0}),
}


def pictures(root: Path) -> None:
    """Class folders of noise of one colour a class, as many of each split as `FOLDS` says; and the same in a ZIP."""
    random, left = np.random.default_rng(0), dict(FOLDS)
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for index in range(100_000):
            label = index % CLASSES
            pixels = random.integers(0, 128, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., label % 3] += 64 * (label // 3 + 1) - 1
            content = png(pixels)
            split = next(name for name, parts in BY_CONTENT.items() if twelfth(content) in parts)
            if left[split]:
                left[split] -= 1
                name = f"class{label}/{index:05d}.png"
                (root / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
                (root / "pictures" / name).write_bytes(content)
                archive.writestr(name, content)
            if not any(left.values()):
                return


def png(pixels: np.ndarray, comment: int = 0) -> bytes:
    content, about = io.BytesIO(), PngInfo()
    about.add_text("comment", str(comment))
    Image.fromarray(pixels).save(content, "png", pnginfo=about)
    return content.getvalue()


def checkpoints(tree: Tree) -> None:
    """The user's files in the formats that are released, each with its row in checkpoints.csv."""
    for seed, (name, (kind, form, holds)) in enumerate(FILES.items()):
        file = f"{name}.npz" if kind == "reference" else name
        row = Row(name, kind, form, file, "", None, None, "", "", "", None, None, None, "")
        write_synthetic(row, tree.root / "checkpoints", resolution_px=SIDE, seed=seed, **holds)
        with (tree.root / CSV).open("a", newline="") as listing:
            csv.writer(listing).writerow(["" if value is None else value for value in row.as_job().values()])


def repacked(tree: Tree) -> None:
    """The pictures of two folds of fashion_ci in a ZIP of a user's own, in which each falls in the split it came from."""
    with zipfile.ZipFile(tree.root / "fashion.zip", "w") as archive:
        labels = []
        for split, fold in (("train", "train"), ("test", "reference")):
            with zipfile.ZipFile(tree.root / f"results/fashion_ci/data/{fold}.zip") as given:
                for name, label in json.loads(given.read("dataset.json"))["labels"]:
                    labels.append([f"{fold}/{Path(name).name}", label])
                    pixels = np.asarray(Image.open(io.BytesIO(given.read(name))))
                    tries = (png(pixels, count) for count in range(10_000))
                    archive.writestr(labels[-1][0], next(p for p in tries if twelfth(p) in BY_CONTENT[split]))
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree.new(tmp_path_factory.mktemp("capabilities") / "tree", fake=False, warm=True)
    own, shipped = read_yaml(Path(__file__).with_name("capabilities.yaml")), read_yaml(ROOT / "params.yaml")
    known = {name: shipped["experiments"][name] for name in ("fashion", "fashion_ci")}
    without = {
        n: e for n, e in own["experiments"].items() if n != "own_plugins"
    }  # test_plugins.py has its plugins
    params = own | {"experiments": known | without}
    (made.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    pictures(made.root)
    checkpoints(made)
    return made


@pytest.fixture(scope="module")
def plan(tree):
    with contextlib.chdir(tree.root):  # whose checkpoints.csv has the rows of the user's files
        return Plan(load_spec("params.yaml"))


def build(tree, *targets, **more):
    return tree.run("snakemake", "--cores", "2", "--", *targets, **more)


def check_table(tree, plan, name, *targets, metrics=(), **more):
    """A number in every cell of the printed table."""
    build(tree, f"results/tables/{name}.csv", *targets, **more)
    experiment, rows = plan.experiment(name), read(tree, f"results/tables/{name}.csv")
    assert {row["variant"] for row in rows} == set(experiment.spec.variants)
    for row in rows:
        for metric in metrics or experiment.spec.evaluate.metrics:
            assert math.isfinite(float(row[metric])), (row["variant"], metric)


def read(tree, path):
    return list(csv.DictReader((tree.root / path).open()))


def shards(tree, name, point="none/w1.00"):
    """The hashes of the samples of a point."""
    listed = load_manifest(tree.root / f"results/{name}/samples/{point}/seed0.json")["shards"]
    return [shard["sha256"] for shard in listed]


def tensors(tree, path):
    return load_arrays(tree.root / path)[0]


def described(tree, path):
    return load_arrays(tree.root / path)[1]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_has_guides_graders_and_divergences(tree, plan):
    check_table(tree, plan, "own_folder", "results/tables/own_folder_divergences.csv")
    rows = read(tree, "results/own_folder/divergences.csv")
    assert {row["point"] for row in rows} == {"none/w1.00", "dg/w2.00", "real_vs_real"}
    assert any(row["features_sha256"].startswith("tiny:") for row in rows)
    assert len({tuple(shards(tree, "own_folder", p)) for p in ("none/w1.00", "autog/w2.00", "dg/w2.00")}) == 3


def test_a_zip_in_half_precision_and_two_processes_is_the_folder(tree, plan):
    """The same pictures: precision is that of a GPU, and processes change sums of gradients by rounding."""
    plain = {"PATH": f"{unforked(tree)}{os.pathsep}{tree.environment['PATH']}"}
    net, drawn = "results/own_zip/models/main.safetensors", "results/own_zip/samples/none/w1.00/seed0.json"
    refused = pytest.raises(AssertionError, match=r"number of processes that divides it")
    with refused:
        build(tree, "results/own_zip/checkpoints/s/seed0.safetensors", GUIDELAB_PROCESSES="3", **plain)
    build(tree, drawn, GUIDELAB_PROCESSES="2", **plain)
    build(tree, "results/own_folder/models/main.safetensors")
    one, two = tensors(tree, "results/own_folder/models/main.safetensors"), tensors(tree, net)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
    shared = shards(tree, "own_zip")
    shutil.rmtree(tree.root / Path(drawn).with_suffix(""))
    (tree.root / drawn).unlink()
    check_table(tree, plan, "own_zip")
    assert shards(tree, "own_zip") == shared


def unforked(tree):
    """A folder with a `guidelab` that is a process of its own: torchrun's workers replace it."""
    folder = tree.root.parent / "plain"
    folder.mkdir(exist_ok=True)
    (folder / "guidelab").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guidelab.cli.app "$@"\n')
    (folder / "guidelab").chmod(0o755)
    return folder


def test_a_net_of_the_discrete_chain_and_its_samplers(tree, plan):
    check_table(tree, plan, "own_chain")
    rows = read(tree, "results/own_chain/measurements.csv")
    assert {(row["variant"], row["nfe"]) for row in rows} >= {("none", "4"), ("ddim", "5")}


def test_latents(tree, plan):
    check_table(tree, plan, "own_latent")
    autoencoder = described(tree, "results/own_latent/obtained/autoencoders/autoencoder.safetensors")
    assert autoencoder["released"]["name"] == "own-vae"  # a file of the user's
    for path in ("models/main.safetensors", "discriminators/guide.safetensors"):
        assert described(tree, f"results/own_latent/{path}")["net"]["image_channels"] == 4, path


def test_released_weights_train_nothing(tree, plan):
    check_table(tree, plan, "own_released")
    root = tree.root / "results/own_released"
    assert not (root / "checkpoints").exists() and not (root / "discriminators").exists()
    assert len({tuple(shards(tree, "own_released", p)) for p in ("none/w1.00", "cfg/w2.00", "dg/w1.00")}) == 3


def test_an_absent_file_is_named_before_any_work(tree):
    path = tree.root / "checkpoints/own-net"
    shutil.rmtree(tree.root / "results/own_released", ignore_errors=True)
    (tree.root / "results/tables/own_released.csv").unlink(missing_ok=True)
    path.rename(path.with_name("elsewhere"))
    try:
        with pytest.raises(AssertionError, match="own-net"):
            build(tree, "results/tables/own_released.csv")
    finally:
        path.with_name("elsewhere").rename(path)
    assert not (tree.root / "results/own_released").exists()


def test_fashion_with_device_and_precision_and_in_a_zip_is_fashion_ci(tree, plan):
    """Halves act on a GPU, and equal data are equal bytes."""
    points = ("none/w1.00", "cfg/w1.50")
    build(
        tree,
        *(f"results/fashion_ci/samples/{point}/seed0.json" for point in points),
        "results/fashion_ci/data/reference.zip",
    )
    repacked(tree)
    check_table(
        tree,
        plan,
        "fashion_half",
        "results/tables/fashion_zip.csv",
        metrics=("kid@tiny",),
        GUIDELAB_DEVICE="cpu",
    )  # 32 gray images leave FID inestimable
    for name in ("fashion_half", "fashion_zip"):
        for path in (
            "checkpoints/s/seed0.safetensors",
            "checkpoints/xs_uncond/seed0.safetensors",
            "models/main.safetensors",
        ):
            assert equal(
                tensors(tree, f"results/{name}/{path}"), tensors(tree, f"results/fashion_ci/{path}")
            ), path
        for point in points:
            assert shown(tree, name, point) == shown(tree, "fashion_ci", point), (name, point)
    for path in ("data/train.zip", "data/reference.zip"):
        assert sha256(tree.root / f"results/fashion_zip/{path}") == sha256(
            tree.root / f"results/fashion_ci/{path}"
        )
    printed = [read(tree, f"results/tables/{name}.csv") for name in ("fashion_half", "fashion_zip")]
    assert [row["kid@tiny"] for row in printed[0]] == [row["kid@tiny"] for row in printed[1]]


def shown(tree, name, point):
    """Every image and label of a point."""
    manifest = tree.root / f"results/{name}/samples/{point}/seed0.json"
    found = [
        load_arrays(manifest.with_suffix("") / shard["file"])[0]
        for shard in load_manifest(manifest)["shards"]
    ]
    return [{key: value.numpy().tobytes() for key, value in part.items()} for part in found]
