"""A user's own pictures, in a folder and in a ZIP, under every capability: what an experiment can do depends on no dataset.

One tree holds the experiments of capabilities.yaml; each goes through Snakemake to its printed table.
"""

import contextlib
import csv
import io
import json
import math
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tree import Tree

from guidelab.data.folds import BY_CONTENT, twelfth
from guidelab.plan.plan import Plan
from guidelab.released import CSV, Row
from guidelab.spec.load import load_spec
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


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def checkpoints(tree: Tree) -> None:
    """The user's files in the formats that are released, each with its row in checkpoints.csv."""
    for seed, (name, (kind, form, holds)) in enumerate(FILES.items()):
        file = f"{name}.npz" if kind == "reference" else name
        row = Row(name, kind, form, file, "", None, None, "", "", "", None, None, None, "")
        write_synthetic(row, tree.root / "checkpoints", resolution_px=SIDE, seed=seed, **holds)
        with (tree.root / CSV).open("a", newline="") as listing:
            csv.writer(listing).writerow(["" if value is None else value for value in row.as_job().values()])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree.new(tmp_path_factory.mktemp("capabilities") / "tree", fake=False, warm=True)
    shutil.copy(Path(__file__).with_name("capabilities.yaml"), made.root / "params.yaml")
    pictures(made.root)
    checkpoints(made)
    return made


@pytest.fixture(scope="module")
def plan(tree):
    with contextlib.chdir(tree.root):  # whose checkpoints.csv has the rows of the user's files
        return Plan(load_spec("params.yaml"))


def build(tree, *targets, **more):
    return tree.run("snakemake", "--cores", "2", "--quiet", "all", "--", *targets, **more)


def check_table(tree, plan, name, *targets):
    build(tree, f"results/tables/{name}.csv", *targets)
    experiment = plan.experiment(name)
    rows = list(csv.DictReader((tree.root / f"results/tables/{name}.csv").open()))
    assert {row["variant"] for row in rows} == set(experiment.spec.variants)
    for row in rows:
        for metric in experiment.spec.evaluate.metrics:
            assert math.isfinite(float(row[metric])), (row["variant"], metric)


def test_a_folder_has_guides_graders_and_divergences(tree, plan):
    check_table(tree, plan, "own_folder", "results/tables/own_folder_divergences.csv")


def test_a_net_of_the_chain(tree, plan):
    check_table(tree, plan, "own_chain")


def test_latents(tree, plan):
    check_table(tree, plan, "own_latent")


def test_released(tree, plan):
    check_table(tree, plan, "own_released")
