"""A user's own two checkpoints: the commands of docs/own-nets.md as they stand there, in a folder with two pickles and 160 pictures."""

import csv
import json
import math
import re
import shlex

import numpy as np
import pytest
import yaml
from PIL import Image
from tree import ROOT, Tree

from guidelab.io.shards import read_block
from guidelab.released import Row
from guidelab.synthetic.checkpoints import write_synthetic

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/own-nets.md").read_text()
SIDE, CLASSES, PICTURES = 8, 4, 160


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree.new(tmp_path_factory.mktemp("own") / "tree", fake=False, warm=True)
    for seed, name in enumerate(("main.pkl", "weak.pkl")):
        row = Row(name, "net", "edm2_pickle", name, "", None, None, "", "", "", None, None, None, "")
        write_synthetic(row, made.root, resolution_px=SIDE, image_channels=3, classes=CLASSES, seed=seed)
    random = np.random.default_rng(0)
    (made.root / "pictures").mkdir()
    for index in range(PICTURES):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made.root / f"pictures/{index:03d}.png")
    made.commit("a user's files")
    return made


def commands():
    """Every command of the page, in order."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def rows(path):
    return list(csv.DictReader(path.open()))


def test_two_commands_and_no_edit_make_a_table(tree):
    """From two pickles and a folder; tracked files stay as they are."""
    study, snakemake = commands()[-2:]
    said = tree.run(*study)
    assert " ".join(snakemake[3:]) in said  # what it prints is what the page says
    written = (tree.root / "look.yaml").read_text()
    assert len([line for line in written.splitlines() if line.strip()]) <= 12
    tree.run(*snakemake)
    table = rows(tree.root / "results/tables/look.csv")
    assert {row["variant"] for row in table} == {"none", "guided", "interval"}
    for row in table:
        for metric in ("precision@lite0", "recall@lite0"):
            assert float(row[f"{metric} lo"]) < float(row[metric]) < float(row[f"{metric} hi"]), (
                row["variant"],
                metric,
            )
        for metric in (
            "fid@lite0",
            "kid@lite0",
        ):  # 40 images are few for a distance of 1,280 features, and the table says so
            assert row[metric] or row[f"{metric} over"] == "not estimable", (row["variant"], metric)
    same_images(tree)
    assert not tree.run("git", "status", "--porcelain", "--untracked-files=no")


def same_images(tree):
    """The study's samples are those of the command, at the same seeds and weight."""
    tree.run(*commands()[0])
    images, labels = read_block(tree.root / "results/look/samples/guided/w2.00/seed0.json", 0, "select")
    listed = dict(json.loads((tree.root / "out/dataset.json").read_text())["labels"])
    for seed, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        assert np.array_equal(np.asarray(Image.open(tree.root / f"out/{seed:06d}.png")), image), seed
        assert listed[f"{seed:06d}.png"] == int(labels[seed])


def test_images_and_numbers(tree):
    for command in commands()[:-2]:
        tree.run(*command)
    assert len(list((tree.root / "out").glob("*.png"))) == 64
    found = rows(tree.root / "sweep.csv")
    assert {(row["images"], row["metric"]) for row in found} == {
        (f"sweep/w{w}.00", f"{metric}@lite0")
        for w in (1, 2)
        for metric in ("fid", "kid", "precision", "recall")
    }
    assert all(math.isfinite(float(row["std_error"])) for row in found if not row["metric"].startswith("fid"))


def test_the_entry_of_the_page_is_checked_as_it_stands(tree):
    entry = re.search(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    assert len([line for line in entry.splitlines() if line.strip()]) <= 12
    assert yaml.safe_load(entry)["experiments"]["look"]["extends"] == "own_files"
    (tree.root / "by_hand.yaml").write_text(entry)
    assert "10 points" in tree.run("guidelab", "check", "--params", "by_hand.yaml")
