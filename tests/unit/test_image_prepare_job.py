"""The job `prepare` of image experiments, and the plain command's function."""

from pathlib import Path

import pytest
import torch

from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import read_zip, write_zip
from guidelab.errors import UserError
from guidelab.jobs.image_folds import Prepared, cache_folder, prepare_dataset
from guidelab.jobs.prepare import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    write_zip(tmp_path / "own.zip", ImageSet(images, torch.arange(60) % 10, tuple(map(str, range(60)))))
    return tmp_path / "own.zip"


def job(source: Path, **changed: object) -> dict[str, object]:
    dataset = {"name": "image_zip", "resolution_px": 4, "source": str(source)}
    return {
        "examples": "images",
        "dataset": dataset,
        "fold": "train",
        "split": "train",
        "n": 20,
        "seed": 3,
        "inputs": {},
        "code": "x",
        **changed,
    }


def test_a_job_writes_its_fold_and_the_same_bytes_again(source: Path, tmp_path: Path):
    first, second = tmp_path / "new" / "train.zip", tmp_path / "again.zip"
    run(job(source), [first])
    run(job(source, code="y"), [second])
    assert first.read_bytes() == second.read_bytes()
    made = read_zip(first)
    assert made.images.shape == (20, 1, 4, 4) and made.labels is not None and made.classes == 10
    run(job(source, seed=4), [second])
    assert first.read_bytes() != second.read_bytes()
    assert [p.name for p in first.parent.iterdir()] == ["train.zip"]


def test_a_job_that_fails_leaves_no_output(source: Path, tmp_path: Path):
    with pytest.raises(UserError, match="n = 100, wanted 1 to"):
        run(job(source, n=100), [tmp_path / "out.zip"])
    assert not (tmp_path / "out.zip").exists()


def prepared(name: str, source: Path | None, output: Path) -> Prepared:
    dataset = {"name": name, "resolution_px": 8, "source": str(source) if source else None}
    return prepare_dataset(dataset, "train", None, 0, output)


def test_the_command_accepts_a_folder_and_dashes(source: Path, tmp_path: Path):
    made = prepared("image-zip", source, tmp_path / "a" / "out.zip")
    read = read_zip(tmp_path / "a" / "out.zip")
    assert read.images.shape == (made.n, *made.shape) and made.classes == read.classes == 10
    with pytest.raises(UserError, match=r"fashion-mnist.: no such|no such folder"):
        prepared("fashion-mnist", tmp_path / "fashion-mnist", tmp_path / "b.zip")
    with pytest.raises(UserError, match=r"'fashion_minst' is not known.*did you mean 'fashion_mnist'"):
        prepared("fashion-minst", None, tmp_path / "b.zip")
    with pytest.raises(UserError, match="toy2d is no dataset of images"):
        prepared("toy2d", None, tmp_path / "b.zip")


def test_the_cache_is_in_the_folder_the_user_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GUIDELAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("GUIDELAB_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "guidelab"
