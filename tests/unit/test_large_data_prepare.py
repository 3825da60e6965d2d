"""ImageNet's tree and CIFAR-10's binary files: splits, labels, refusals, and memory that does not grow with them."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidelab.cli.large.prepare import prepare_streamed, run
from guidelab.data.center_crop import center_crop
from guidelab.data.folds import twelfth
from guidelab.data.image_zip import read_zip
from guidelab.data.large import cifar10, imagenet
from guidelab.errors import UserError
from guidelab.synthetic.images import wnid, write_cifar_like, write_imagenet_like

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
    prepare_streamed(dataset, split, kw.pop("n", None), kw.pop("seed", 0), output, **kw)
    return output.read_bytes()


def test_the_made_up_pictures_are_as_varied_as_real_ones(made: Path):
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
        "fold": "train", "split": "train", "n": 50, "seed": 3, "inputs": {},
    }  # fmt: skip
    run(job, [tmp_path / "job.zip"])
    assert (tmp_path / "job.zip").read_bytes() == one


def test_no_source_says_what_to_give(monkeypatch: pytest.MonkeyPatch, made: Path, tmp_path: Path):
    dataset = {"name": "imagenet", "resolution_px": 16, "classes": CLASSES, "source": None}
    monkeypatch.delenv("GUIDELAB_IMAGENET", raising=False)
    with pytest.raises(UserError, match=r"no source given.*train/<class>.*`source:`.*GUIDELAB_IMAGENET"):
        prepare_streamed(dataset, "test", None, 0, tmp_path / "a.zip")
    monkeypatch.setenv("GUIDELAB_IMAGENET", str(made))
    assert prepare_streamed(dataset, "test", None, 0, tmp_path / "a.zip") == CLASSES * VAL
    with pytest.raises(UserError, match="fashion_mnist: is held in memory"):
        prepare_streamed({**dataset, "name": "fashion-mnist"}, "test", None, 0, tmp_path / "a.zip")
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
from guidelab.cli.large.prepare import prepare_streamed
dataset = {"name": "imagenet", "resolution_px": 256, "classes": 2, "source": sys.argv[1]}
prepare_streamed(dataset, "train", int(sys.argv[2]), 0, Path(sys.argv[3]), threads=1)
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


# ---- CIFAR-10 ------------------------------------------------------------------------------------------------


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    write_cifar_like(tmp_path / "cifar", classes=10, train_per_batch=20, test=60, seed=0)
    return tmp_path / "cifar"


def test_cifar_splits_and_planes(batches: Path):
    folds = {s: cifar10.prepare(s, 32, batches, classes=10) for s in ("train", "holdout", "test")}
    assert len(folds["train"]) == 100 and len(folds["holdout"]) + len(folds["test"]) == 60
    assert 15 < len(folds["test"]) < 45
    record = np.frombuffer((batches / "data_batch_2.bin").read_bytes(), np.uint8)[3073 : 2 * 3073]
    image = list(folds["train"].images(1))[21]
    assert np.array_equal(image, record[1:].reshape(3, 32, 32)) and folds["train"].labels[21] == record[0]
    shown = {image.tobytes() for split in ("holdout", "test") for image in folds[split].images(1)}
    assert len(shown) == 60
    small = next(cifar10.prepare("train", 8, batches, classes=10, n=5, seed=1).images(1))
    assert small.shape == (3, 8, 8)


def packed(batches: Path, path: Path, names: list[str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name in names or ["batches.meta.txt", *cifar10.TRAIN, *cifar10.TEST]:
            content = (batches / name).read_bytes() if (batches / name).is_file() else b"airplane\n"
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "RECORDS", 20)


def test_the_archive_and_the_folder_give_the_same(tmp_path: Path, few: None):
    write_cifar_like(tmp_path / "made" / "cifar-10-batches-bin", 10, 20, 20, seed=0)
    inside = tmp_path / "made" / "cifar-10-batches-bin"
    (inside / "synthetic.json").unlink()
    path = packed(inside, tmp_path / "cifar-10-binary.tar.gz")
    folds = [cifar10.prepare("train", 32, source) for source in (path, inside, tmp_path / "made")]
    images = [np.stack(list(fold.images(1))) for fold in folds]
    assert folds[0].labels == folds[1].labels and len(folds[0]) == 100
    assert all(np.array_equal(images[0], other) for other in images[1:])
    with pytest.raises(UserError, match=r"holds no data_batch_3.bin"):
        cifar10.prepare(
            "train", 32, packed(inside, tmp_path / "b.tar.gz", ["data_batch_1.bin", "data_batch_2.bin"])
        )
    with pytest.raises(UserError, match=r"holds data_batch_1.bin twice"):
        cifar10.prepare("train", 32, packed(inside, tmp_path / "b.tar.gz", ["data_batch_1.bin"] * 2))
    (tmp_path / "cut.tar.gz").write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"cut.tar.gz: cannot be read"):
        cifar10.prepare("test", 32, tmp_path / "cut.tar.gz")


def test_real_files_must_have_the_official_counts(batches: Path):
    (batches / "synthetic.json").unlink()
    with pytest.raises(
        UserError, match=r"data_batch_1.bin holds 61460 bytes, wanted 30730000 \(10000 records"
    ):
        cifar10.prepare("train", 32, batches, classes=10)


def test_cifar_refusals(batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"no source given.*GUIDELAB_CIFAR10"):
        cifar10.prepare("train", 32, None)
    with pytest.raises(UserError, match="holds 10 classes, wanted 100"):
        cifar10.prepare("train", 32, batches, classes=100)
    with pytest.raises(UserError, match="wanted 1 to 32: images are not enlarged"):
        cifar10.prepare("train", 64, batches)
    with pytest.raises(UserError, match="no such file or folder"):
        cifar10.prepare("train", 32, tmp_path / "none")
    path = batches / "data_batch_1.bin"
    whole = path.read_bytes()
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(UserError, match=r"data_batch_1.bin holds the label 10, wanted 0 to 9.*CIFAR-100"):
        cifar10.prepare("train", 32, batches)
    path.write_bytes(whole + b"x")
    with pytest.raises(UserError, match=r"data_batch_1.bin holds more, wanted 61460"):
        cifar10.prepare("train", 32, batches)
    path.rename(batches / "data_batch_1")
    with pytest.raises(UserError, match="it is the Python version, a pickle"):
        cifar10.prepare("train", 32, batches)
    (batches / "synthetic.json").write_text(
        json.dumps({"classes": 10, "records": {"data_batch_1.bin": 10**9}})
    )
    with pytest.raises(UserError, match=r"synthetic.json: is malformed"):
        cifar10.prepare("train", 32, batches)


def test_hostile_archives_of_cifar_end_soon(
    batches: Path, tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("guidelab.data.large.tar._MAX_TOTAL", 1 << 20)
    info = tarfile.TarInfo("bomb")
    info.size = 8 << 20
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE):
        info.type = kind
        with gzip.open(tmp_path / "bomb.tar.gz", "wb") as file:
            file.write(info.tobuf() + bytes(info.size))
        with pytest.raises(UserError, match="unpacks to more than 1048576 bytes"):
            cifar10.prepare("test", 32, tmp_path / "bomb.tar.gz")
    link = tarfile.TarInfo("test_batch.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        tar.addfile(link)
    with pytest.raises(UserError, match=r"holds no test_batch.bin"):
        cifar10.prepare("test", 32, tmp_path / "link.tar")
    (tmp_path / "pickle.tar.gz").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match="cannot be read"):
        cifar10.prepare("test", 32, tmp_path / "pickle.tar.gz")


def test_official_names_and_counts(tmp_path: Path):
    assert imagenet.VARIABLE == "GUIDELAB_IMAGENET" and cifar10.VARIABLE == "GUIDELAB_CIFAR10"
    with pytest.raises(ValueError, match="wanted 10 to 10000 each"):
        write_cifar_like(tmp_path, 10, 5, 20, 0)
