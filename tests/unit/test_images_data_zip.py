"""The EDM2 dataset format: read from any writer, written with reproducible bytes; labels; folds."""

import hashlib
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import prepare, read_zip, write_zip
from guidelab.errors import UserError

RANDOM = np.random.default_rng(0)


def png(pixels: np.ndarray, **kw) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **kw)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(path: Path, files: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def pictures(n: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def listing(pairs: object) -> str:
    return json.dumps({"labels": pairs})


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip_repeats_every_byte(tmp_path: Path, channels: int, labelled: bool):
    images = torch.from_numpy(RANDOM.integers(0, 256, (1003, channels, 4, 4), dtype=np.uint8))
    labels = torch.arange(1003) % 7 if labelled else None
    made = ImageSet(images, labels, tuple(f"any/{i}" for i in range(1003)))
    write_zip(tmp_path / "a.zip", made)
    read = read_zip(tmp_path / "a.zip")
    assert torch.equal(read.images, images)
    assert read.labels is None if labels is None else torch.equal(read.labels, labels)
    suffix = "npy" if channels == 4 else "png"
    assert (read.names[0], read.names[-1]) == (f"00000/img00000000.{suffix}", f"00001/img00001002.{suffix}")
    time.sleep(0.01)
    write_zip(tmp_path / "b.zip", read)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.testzip() is None and {e.compress_type for e in file.infolist()} == {zipfile.ZIP_STORED}
        first = file.read(f"00000/img00000000.{suffix}")
        if suffix == "npy":
            assert np.array_equal(np.load(io.BytesIO(first), allow_pickle=False), images[0].numpy())
        pairs = json.loads(file.read("dataset.json"))["labels"]
        assert pairs is None if labels is None else pairs[8] == [f"00000/img00000008.{suffix}", 1]


def test_the_bytes_are_pinned(tmp_path: Path):
    """On every machine and with every version of the libraries."""
    images = torch.arange(144).reshape(3, 3, 4, 4).to(torch.uint8)
    write_zip(tmp_path / "a.zip", ImageSet(images, torch.tensor([2, 0, 1]), ("a", "b", "c")))
    assert hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()[:16] == "b6f487242079d6cb"


def test_archives_of_other_tools_are_read(tmp_path: Path):
    images = pictures(3)
    files = {f"x/{i}.png": png(images[i], compress_level=9) for i in range(3)}
    files["x/2.png"] = npy(images[2].transpose(2, 0, 1))  # not renamed: distinguished by suffix below
    files["x/2.npy"] = files.pop("x/2.png")
    files |= {
        "dataset.json": listing([[r"x\1.png", 4], ["x/0.png", 2], ["x/2.npy", 0]]),
        "__MACOSX/._x": "junk",
    }
    read = read_zip(archive(tmp_path / "a.zip", files, zipfile.ZIP_DEFLATED))
    assert read.names == ("x/0.png", "x/1.png", "x/2.npy") and read.labels.tolist() == [2, 4, 0]
    assert np.array_equal(read.images.numpy(), images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "array", [pictures(1)[0, ..., 0], np.asfortranarray(pictures(1)[0].transpose(2, 0, 1))]
)
def test_npy_of_either_order_and_without_channels(tmp_path: Path, array: np.ndarray):
    read = read_zip(archive(tmp_path / "a.zip", {"a.npy": npy(array)}))
    assert np.array_equal(read.images[0].numpy(), array.reshape(-1, 8, 8))


def labelled(tmp_path: Path, names: list[str], pairs: object = ..., raw: str | None = None) -> ImageSet:
    files: dict[str, bytes | str] = {name: png(pictures(1)[0]) for name in names}
    if raw is not None or pairs is not ...:
        files["dataset.json"] = raw if raw is not None else listing(pairs)
    return read_zip(archive(tmp_path / "a.zip", files))


def test_labels_fall_back_to_class_folders(tmp_path: Path):
    names = ["wolf/b.png", "cat/x/a.png", "ant/c.png", "cat/b.png"]
    for pairs in (..., None, []):
        made = labelled(tmp_path, names, pairs)
        assert made.names == tuple(sorted(names)) and made.labels.tolist() == [0, 1, 1, 2]
    assert labelled(tmp_path, ["one/a.png", "one/b.png"]).labels is None
    assert labelled(tmp_path, ["a.png", "b.png"]).labels is None


def test_numbered_folders_of_the_format_are_no_classes(tmp_path: Path):
    assert labelled(tmp_path, ["00000/img00000999.png", "00001/img00001000.png"], None).labels is None
    assert labelled(tmp_path, ["00000/img00000999.png", "00001/img00000001.png"], None).labels.tolist() == [
        0,
        1,
    ]


def test_one_hot_rows_become_classes(tmp_path: Path):
    assert labelled(
        tmp_path, ["a.png", "b.png"], [["a.png", [0, 0, 1.0]], ["b.png", [1, 0, 0]]]
    ).labels.tolist() == [2, 0]
    assert labelled(tmp_path, ["a.png"], [["a.png", 3.0]]).labels.tolist() == [3]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([["a.png", 0]], "dataset.json has no label for b.png. Add them"),
        ([["a.png", 0], ["b.png", 1], ["c.png", 1]], "labels c.png, which the dataset does not hold"),
        ([["a.png", 0], ["a.png", 0]], "labels a.png twice"),
        ([["a.png", 0], ["b.png", -1]], r"gives b.png the label -1, wanted 0 to"),
        ([["a.png", 0], ["b.png", 10**30]], "wanted a whole number"),
        ([["a.png", 0], ["b.png", 1.5]], "label 1.5, wanted a whole number"),
        ([["a.png", 0], ["b.png", True]], "label true"),
        ([["a.png", 0], ["b.png", None]], "label null"),
        ([["a.png", 0], ["b.png", "1"]], 'label "1"'),
        ([["a.png", 0], ["b.png", [0, 1]]], "one-hot rows of one length"),
        ([["a.png", [1, 0]], ["b.png", 1]], "label 1, wanted a whole number for every image"),
        ([["a.png", [1, 0]], ["b.png", [1, 0, 0]]], "one-hot rows of one length"),
        ([["a.png", [1, 0]], ["b.png", [0.5, 0.5]]], "one-hot rows of one length"),
        ([["a.png", [1, 0]], ["b.png", [1, 0.25]]], "rows that mix classes"),
        ([["a.png", [1, 0]], ["b.png", [float("nan"), 1]]], "one-hot rows"),
        ([["a.png", 0], ["b.png"]], r"holds \[\"b.png\"\] among its labels"),
        ({"a.png": 0}, "among its labels"),
        ("text", "among its labels"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, pairs: object, said: str):
    with pytest.raises(UserError, match=said) as error:
        labelled(tmp_path, ["a.png", "b.png"], pairs)
    assert str(error.value).startswith(f"{tmp_path / 'a.zip'}: ")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "holds a list, wanted"),
        ('{"labels": [["a.png", ' + "9" * 5000 + "]]}", "is not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "is not JSON"),
    ],
)
def test_a_listing_that_is_no_listing(tmp_path: Path, raw: str, said: str):
    with pytest.raises(UserError, match=said):
        labelled(tmp_path, ["a.png"], raw=raw)


def test_images_next_to_class_folders_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"stray.png are next to the folders cat, dog"):
        labelled(tmp_path, ["cat/a.png", "dog/b.png", "stray.png"])


def folds(path: Path, **kw) -> dict[str, ImageSet]:
    return {split: prepare(split, 8, path, **kw) for split in ("train", "holdout", "test")}


def test_folds_are_disjoint_whole_and_stable(tmp_path: Path):
    images = torch.from_numpy(np.random.default_rng(7).integers(0, 256, (600, 1, 8, 8), dtype=np.uint8))
    images[300:310] = images[:10]  # copies: never on two sides
    write_zip(tmp_path / "a.zip", ImageSet(images, torch.arange(600) % 3, tuple(map(str, range(600)))))
    made = folds(tmp_path / "a.zip")
    assert {split: len(s) for split, s in made.items()} == COUNTS
    assert sorted(name for s in made.values() for name in s.names) == [
        f"00000/img{i:08d}.png" for i in range(600)
    ]
    kinds = [{image.numpy().tobytes() for image in s.images} for s in made.values()]
    assert not kinds[0] & kinds[1] and not kinds[0] & kinds[2] and not kinds[1] & kinds[2]
    for s in made.values():
        places = torch.tensor([int(name[-12:-4]) for name in s.names])
        assert torch.equal(s.images, images[places]) and torch.equal(s.labels, places % 3)
    some = prepare("train", 4, tmp_path / "a.zip", n=20, seed=1)
    assert some.images.shape == (20, 1, 4, 4) and set(some.names) < set(made["train"].names)
    assert some.names == prepare("train", 4, tmp_path / "a.zip", n=20, seed=1).names
    assert some.names != prepare("train", 4, tmp_path / "a.zip", n=20, seed=2).names


COUNTS = {"train": 497, "holdout": 56, "test": 47}


def test_unsupported_requests_to_prepare_are_refused_with_the_reason(tmp_path: Path):
    path = archive(tmp_path / "a.zip", {"a.png": png(pictures(1)[0])})
    (inside,) = [split for split in ("train", "holdout", "test") if _has(path, split)]
    for size in (9, 0):
        with pytest.raises(UserError, match=f"images are 8 px, given resolution_px {size}; wanted 1 to 8"):
            prepare(inside, size, path)
    with pytest.raises(UserError, match="n = 2, wanted 1 to 1"):
        prepare(inside, 8, path, n=2)
    with pytest.raises(UserError, match="no source given"):
        prepare("train", 8)
    with pytest.raises(UserError, match="split 'val' is not known; wanted one of train, holdout, test"):
        prepare("val", 8, path)


def _has(path: Path, split: str) -> bool:
    try:
        return len(prepare(split, 8, path)) > 0
    except UserError as error:
        assert "falls in the split" in str(error)
        return False


def test_fifty_thousand_small_images_read_in_seconds(tmp_path: Path):
    images = torch.zeros(10_000, 1, 16, 16, dtype=torch.uint8)
    write_zip(tmp_path / "own.zip", ImageSet(images, None, tuple(map(str, range(10_000)))))
    archive(tmp_path / "other.zip", {f"{i}.png": png(images[0, 0].numpy()) for i in range(2000)})
    for name, n in (("own.zip", 10_000), ("other.zip", 2000)):
        start = time.process_time()
        read_zip(tmp_path / name)
        assert (time.process_time() - start) / n * 50_000 < 10
