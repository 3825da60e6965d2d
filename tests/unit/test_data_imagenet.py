"""ImageNet's tree: splits, labels, refusals, and memory that does not grow with it; published batches of images."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidelab.checkpoints import store
from guidelab.data import complete
from guidelab.data.center_crop import center_crop
from guidelab.data.complete import check_complete
from guidelab.data.folds import twelfth
from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.jobs.image_folds import prepare_dataset
from guidelab.jobs.prepare import run
from guidelab.synthetic.images import wnid, write_imagenet_like

CLASSES, PER_CLASS, VAL = 4, 40, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    write_imagenet_like(root, CLASSES, PER_CLASS, VAL, seed=0)
    return root


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "tree")


def prepared(source: Path, output: Path, split: str = "train", **kw) -> bytes:
    dataset = {
        "name": "imagenet",
        "resolution_px": 16,
        "classes": kw.pop("classes", CLASSES),
        "source": str(source),
    }
    prepare_dataset(dataset, split, kw.pop("n", None), kw.pop("seed", 0), output, **kw)
    return output.read_bytes()


def test_synthetic_pictures_are_as_varied_as_real_ones(made: Path):
    pictures = [Image.open(path) for path in sorted(made.rglob("*.JPEG"))]
    assert len(pictures) == CLASSES * (PER_CLASS + VAL)
    assert {picture.format for picture in pictures} == {"JPEG"}
    assert {picture.mode for picture in pictures} == {"RGB", "L", "CMYK"}
    assert len({picture.size for picture in pictures}) > 100
    ratios = [picture.width / picture.height for picture in pictures]
    assert min(ratios) < 0.5 and max(ratios) > 2


def test_splits_share_nothing_and_leave_nothing_out(made: Path, tmp_path: Path):
    for split in ("train", "holdout", "test"):
        prepared(made, tmp_path / f"{split}.zip", split)
    folds = {split: read_zip(tmp_path / f"{split}.zip") for split in ("train", "holdout", "test")}
    files = sorted(str(p.relative_to(made / "train").as_posix()) for p in (made / "train").rglob("*.JPEG"))
    held = [name for name in files if twelfth(name.encode()) == 10]
    assert 5 <= len(held) == len(folds["holdout"]) <= 25
    assert len(folds["train"]) == len(files) - len(held) and len(folds["test"]) == CLASSES * VAL
    assert folds["test"].labels.tolist() == [label for label in range(CLASSES) for _ in range(VAL)]
    labels = [sorted({f.split("/")[0] for f in files}).index(name.split("/")[0]) for name in held]
    assert folds["holdout"].labels.tolist() == labels
    for row, name in enumerate(held):
        pixels = np.asarray(Image.open(made / "train" / name).convert("RGB"))
        cropped = torch.from_numpy(center_crop(pixels, 16)).permute(2, 0, 1)
        assert torch.equal(folds["holdout"].images[row], cropped), name


def test_bytes_depend_on_the_job_alone(made: Path, tmp_path: Path):
    one = prepared(made, tmp_path / "one.zip", n=50, seed=3, threads=1)
    assert prepared(made, tmp_path / "three.zip", n=50, seed=3, threads=3) == one
    assert prepared(made, tmp_path / "other.zip", n=50, seed=4) != one
    assert len(read_zip(tmp_path / "one.zip")) == 50
    job = {
        "dataset": {"name": "imagenet", "resolution_px": 16, "classes": CLASSES, "source": str(made), "latent": None},
        "examples": "images", "fold": "train", "split": "train", "n": 50, "seed": 3, "inputs": {},
    }  # fmt: skip
    run(job, [tmp_path / "job.zip"])
    assert (tmp_path / "job.zip").read_bytes() == one


def test_a_missing_source_is_refused_with_what_to_give(
    monkeypatch: pytest.MonkeyPatch, made: Path, tmp_path: Path
):
    dataset = {"name": "imagenet", "resolution_px": 16, "classes": CLASSES, "source": None}
    monkeypatch.delenv("GUIDELAB_IMAGENET", raising=False)
    with pytest.raises(UserError, match=r"no source given.*train/<class>.*`source:`.*GUIDELAB_IMAGENET"):
        prepare_dataset(dataset, "test", None, 0, tmp_path / "a.zip")
    monkeypatch.setenv("GUIDELAB_IMAGENET", str(made))
    assert prepare_dataset(dataset, "test", None, 0, tmp_path / "a.zip").n == CLASSES * VAL
    with pytest.raises(UserError, match="is no folder"):
        prepared(made / "none", tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"holds no folder train/ \(it holds n90000000"):
        prepared(made / "train", tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"split 'tets' is not known.*'test'"):
        prepared(made, tmp_path / "a.zip", "tets")
    with pytest.raises(UserError, match="given n = 999, wanted 1 to 12"):
        prepared(made, tmp_path / "a.zip", "test", n=999)


def test_missing_empty_and_unexpected_classes_are_named(tree: Path, tmp_path: Path):
    shutil.rmtree(tree / "train" / wnid(1))
    with pytest.raises(UserError, match=rf"3 classes with images, wanted 4; 1 missing: {wnid(1)}"):
        prepared(tree, tmp_path / "a.zip")
    (tree / "train" / wnid(1)).mkdir()
    with pytest.raises(UserError, match=rf"wanted 4; 1 without images: {wnid(1)}"):
        prepared(tree, tmp_path / "a.zip")
    shutil.copytree(tree / "train" / wnid(0), tree / "train" / wnid(1), dirs_exist_ok=True)
    shutil.copytree(tree / "train" / wnid(0), tree / "train" / "n99999999")
    with pytest.raises(UserError, match=r"5 classes with images, wanted 4; 1 unexpected: n99999999"):
        prepared(tree, tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"holds 4 classes with images, wanted 1000\b"):
        prepared(tree, tmp_path / "a.zip", "test", classes=1000)
    listed = "".join(f"{wnid(i)} a name, another\n" for i in range(12))
    (tree / "LOC_synset_mapping.txt").write_text(listed)
    missing = ", ".join(wnid(i) for i in range(4, 9))
    with pytest.raises(UserError, match=rf"wanted 12; 8 missing: {missing} and 3 more"):
        prepared(tree, tmp_path / "a.zip", "test", classes=12)
    assert not (tmp_path / "a.zip").exists()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1000 classes of the validation tree, as links to one picture."""
    root = tmp_path_factory.mktemp("thousand")
    Image.new("RGB", (20, 20)).save(root / "one.JPEG")
    for label in range(1000):
        folder = root / "val" / wnid(label)
        folder.mkdir(parents=True)
        for index in range(50):
            (folder / f"{index}.JPEG").symlink_to(root / "one.JPEG")
    return root


def test_classes_with_missing_files_are_noticed_by_the_numbers(thousand: Path, tmp_path: Path):
    check_complete(thousand, "test")
    for label, lost in ((3, 2), (700, 50 - 1)):
        for index in range(lost):
            (thousand / "val" / wnid(label) / f"{index}.JPEG").unlink()
    says = rf"holds 49949 images of 1000 classes, wanted 50000; classes with fewer.*: {wnid(3)} with 48, {wnid(700)} with 1"
    with pytest.raises(UserError, match=says) as error:
        prepared(thousand, tmp_path / "a.zip", "test", classes=1000)
    assert "subset: true" in str(error.value) and str(thousand / "val") in str(error.value)
    assert not (tmp_path / "a.zip").exists()
    assert prepared(thousand, tmp_path / "a.zip", "test", classes=1000, n=3)
    (thousand / "val" / wnid(0) / "again.JPEG").symlink_to(thousand / "one.JPEG")
    shutil.copytree(thousand / "val", thousand / "train", symlinks=True)
    with pytest.raises(
        UserError, match=r"holds 49950 images of 1000 classes, wanted 1281167; .* and 995 more"
    ):
        prepared(thousand, tmp_path / "b.zip", "holdout", classes=1000)


def test_a_part_of_imagenet_must_be_declared(thousand: Path, tmp_path: Path):
    dataset = {
        "name": "imagenet",
        "resolution_px": 4,
        "classes": 1000,
        "source": str(thousand),
        "subset": True,
    }
    job = {"examples": "images", "dataset": dataset, "fold": "holdout", "split": "holdout", "inputs": {}}
    run(job, [tmp_path / "holdout.zip"])
    assert 3000 < len(read_zip(tmp_path / "holdout.zip")) < 5500
    with pytest.raises(UserError, match="wanted 1281167"):
        run({**job, "dataset": {**dataset, "subset": False}}, [tmp_path / "other.zip"])


def test_a_class_short_by_less_than_the_smallest_is_noticed_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    counts = {wnid(label): ["x"] * 1300 for label in range(1000)}
    monkeypatch.setattr(complete, "_tree", lambda root, part: counts)
    with pytest.raises(
        UserError, match=rf"holds 1300000 images .*wanted 1281167; smallest classes: {wnid(0)} with 1300"
    ):
        check_complete(tmp_path, "train")
    for label in range(1000):  # the right number in all
        counts[wnid(label)] = ["x"] * (1281 + (label < 167))
    check_complete(tmp_path, "train")
    counts[wnid(5)] = ["x"] * 700
    with pytest.raises(UserError, match=rf"fewer than any has: {wnid(5)} with 700"):
        check_complete(tmp_path, "holdout")


def test_broken_files_are_all_named_and_leave_nothing(tree: Path, tmp_path: Path):
    files = sorted((tree / "train").rglob("*.JPEG"))
    for place, path in enumerate(files[10:80:10]):
        whole = path.read_bytes()
        path.write_bytes([whole[: len(whole) // 2], b"", b"<html>", whole[:2]][place % 4])
    for threads in (1, 2):
        with pytest.raises(UserError) as error:
            prepared(tree, tmp_path / "a.zip", threads=threads)
        said = str(error.value)
        assert "7 of 1" in said and "; and 2 more. Copy these files again" in said
        assert said.index(files[10].name) < said.index(files[20].name) < said.index(files[50].name)
        assert list(tmp_path.glob("*.zip*")) == [] and list(tmp_path.glob(".a*")) == []
    (tree / "val" / wnid(0) / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"holds notes.txt, which are no pictures"):
        prepared(tree, tmp_path / "a.zip", "test")


def test_a_flat_validation_folder_needs_to_say_the_classes(tree: Path, tmp_path: Path):
    wanted = prepared(tree, tmp_path / "a.zip", "test")
    lines = []
    for path in sorted((tree / "val").rglob("*.JPEG")):
        lines.append((path.stem, path.parent.name))
        path.rename(tree / "val" / path.name)
    for folder in (tree / "val").iterdir():
        if folder.is_dir():
            folder.rmdir()
    with pytest.raises(
        UserError, match=r"12 images and no class folders; wanted val/<class>.*val_labels.txt"
    ):
        prepared(tree, tmp_path / "b.zip", "test")
    (tree / "val_labels.txt").write_text("".join(f"{name}.JPEG {label}\n" for name, label in lines))
    assert prepared(tree, tmp_path / "b.zip", "test") == wanted
    (tree / "val_labels.txt").write_text("".join(f"{name}.JPEG {label}\n" for name, label in lines[1:]))
    with pytest.raises(UserError, match=rf"gives no class for {lines[0][0]}.JPEG"):
        prepared(tree, tmp_path / "b.zip", "test")
    (tree / "val_labels.txt").write_text("490\n361\n")
    with pytest.raises(UserError, match=r"line 1: given '490', wanted an image and its class"):
        prepared(tree, tmp_path / "b.zip", "test")
    (tree / "val_labels.txt").unlink()
    rows = "".join(f"{name},{label} 1 2 3 4\n" for name, label in lines)
    (tree / "val" / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    assert prepared(tree, tmp_path / "c.zip", "test") == wanted


PEAK = """
import resource, sys
from pathlib import Path
from guidelab.jobs.image_folds import prepare_dataset
dataset = {"name": "imagenet", "resolution_px": 256, "classes": 2, "source": sys.argv[1]}
prepare_dataset(dataset, "train", int(sys.argv[2]), 0, Path(sys.argv[3]), threads=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path):
    write_imagenet_like(tmp_path / "tree", 2, 2, 1, seed=1)
    for label in range(2):
        folder = tmp_path / "tree" / "train" / wnid(label)
        pictures = sorted(folder.iterdir())
        for index in range(200):
            (folder / f"{wnid(label)}_more{index}.JPEG").hardlink_to(pictures[index % 2])
    peaks = {}
    for n in (30, 300):
        command = [sys.executable, "-c", PEAK, str(tmp_path / "tree"), str(n), str(tmp_path / f"{n}.zip")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[n] = int(done.stdout) * 1024
    written = (tmp_path / "300.zip").stat().st_size
    assert written > 300 * 3 * 256 * 256  # 59 MB of images
    assert peaks[300] - peaks[30] < 12 << 20


def test_a_published_batch_of_real_images_becomes_a_fold(tmp_path: Path):
    from guidelab.released import load_rows

    row = next(r for r in load_rows().values() if r.format == "reference_npz")
    path = tmp_path / "files" / row.file
    path.parent.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    np.savez(path, arr_0=pictures, mu=np.zeros(2), sigma=np.eye(2))
    entry = {**row.as_job(), "bytes": None, "sha256": ""}
    dataset = {"name": "imagenet", "resolution_px": 16, "classes": 4}
    job = {
        "examples": "images",
        "dataset": dataset,
        "fold": "batch",
        "checkpoint": entry,
        "folder": str(tmp_path / "files"),
        "inputs": {},
    }
    run(job, [tmp_path / "batch.zip"])
    found = read_zip(tmp_path / "batch.zip")
    assert np.array_equal(found.images.numpy(), pictures.transpose(0, 3, 1, 2)) and found.labels is None
    with pytest.raises(UserError, match="its images are 16 px, wanted 32"):
        run({**job, "dataset": {**dataset, "resolution_px": 32}}, [tmp_path / "other.zip"])
    with pytest.raises(UserError, match="holds statistics and no images"):
        run({**job, "checkpoint": {**entry, "format": "reference_pkl"}}, [tmp_path / "other.zip"])
    assert not store.pins(tmp_path / "files"), (
        "its statistics are judged elsewhere: a better copy may take its place"
    )
    store.pin(entry, tmp_path / "files")
    np.savez(path, arr_0=pictures[:4])
    with pytest.raises(UserError, match="when it was first used"):
        run(job, [tmp_path / "other.zip"])
    path.unlink()
    with pytest.raises(UserError, match="no such file, wanted as"):
        run(job, [tmp_path / "other.zip"])
    assert not (tmp_path / "other.zip").exists()
