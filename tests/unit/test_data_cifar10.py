"""CIFAR-10's binary version: splits, counts and labels checked; malicious archives are refused soon."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from guidelab.data import cifar10
from guidelab.data.folds import twelfth
from guidelab.errors import UserError
from guidelab.synthetic.images import write_cifar_like


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    write_cifar_like(tmp_path / "cifar", classes=10, train_per_batch=20, test=60, seed=0)
    return tmp_path / "cifar"


def test_cifar_splits_and_planes(batches: Path):
    folds = {s: cifar10.prepare(s, 32, batches, classes=10) for s in ("train", "holdout", "test")}
    assert len(folds["train"]) == 100 and len(folds["holdout"]) + len(folds["test"]) == 60
    assert 15 < len(folds["test"]) < 45
    record = np.frombuffer((batches / "data_batch_2.bin").read_bytes(), np.uint8)[3073 : 2 * 3073]
    image = list(folds["train"].pixels(1))[21]
    assert np.array_equal(image, record[1:].reshape(3, 32, 32)) and folds["train"].labels[21] == record[0]
    shown = {image.tobytes() for split in ("holdout", "test") for image in folds[split].pixels(1)}
    assert len(shown) == 60
    parts = {
        split: {twelfth(image.tobytes()) for image in folds[split].pixels(1)} for split in ("holdout", "test")
    }
    assert max(parts["test"]) < 6 <= min(parts["holdout"])
    small = next(cifar10.prepare("train", 8, batches, classes=10, n=5, seed=1).pixels(1))
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
    images = [np.stack(list(fold.pixels(1))) for fold in folds]
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


def test_cifar_refusals(batches: Path, tmp_path: Path):
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


def test_malicious_archives_of_cifar_are_refused_soon(
    batches: Path, tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("guidelab.data.limits.CIFAR_BYTES", 1 << 20)
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


def test_synthetic_files_hold_every_class(tmp_path: Path):
    with pytest.raises(ValueError, match="wanted 10 to 10000 each"):
        write_cifar_like(tmp_path, 10, 5, 20, 0)
