"""Folders of pictures of any kind: cropped, labelled by folder, none skipped."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_images_data_hostile import BAD
from test_images_data_zip import npy, png

from guidelab.data.center_crop import center_crop
from guidelab.data.image_folder import prepare, read_folder
from guidelab.errors import UserError

RGB = np.random.default_rng(3).integers(0, 256, (30, 45, 3), dtype=np.uint8)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def saved(mode: str, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, form)
    return file.getvalue()


def test_an_imagenet_tree_is_cropped_and_labelled(tmp_path: Path):
    put(tmp_path / "n02" / "b.JPEG", saved("RGB", "JPEG"))
    put(tmp_path / "n01" / "a.png", png(RGB))
    put(tmp_path / "n01" / "deep" / "c.png", png(RGB[:, :30]))
    put(tmp_path / "n02" / ".DS_Store", b"junk")
    made = read_folder(tmp_path, 16)
    assert made.names == ("n01/a.png", "n01/deep/c.png", "n02/b.JPEG") and made.labels.tolist() == [0, 0, 1]
    assert made.images.shape == (3, 3, 16, 16)
    assert np.array_equal(made.images[0].permute(1, 2, 0).numpy(), center_crop(RGB, 16))
    assert np.array_equal(made.images[1].permute(1, 2, 0).numpy(), center_crop(RGB[:, :30], 16))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "LA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str):
    content = saved(mode, "JPEG" if mode == "CMYK" else "PNG")
    put(tmp_path / "a.png", content)  # a name that lies about the format, as one of ImageNet's does
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(
        read_folder(tmp_path, 8).images[0].permute(1, 2, 0).numpy(), center_crop(expected, 8)
    )


def test_a_set_is_gray_only_when_all_of_it_is(tmp_path: Path):
    gray = RGB[..., 0]
    put(tmp_path / "a.png", png(gray))
    put(tmp_path / "b.png", saved("1"))
    put(tmp_path / "c.npy", npy(gray))
    made = read_folder(tmp_path, 8)
    assert made.images.shape == (3, 1, 8, 8) and made.labels is None
    assert np.array_equal(made.images[0, 0].numpy(), center_crop(gray, 8)) and torch.equal(
        made.images[0], made.images[2]
    )
    put(tmp_path / "d.npy", npy(RGB.transpose(2, 0, 1)))
    colour = read_folder(tmp_path, 8)
    assert colour.images.shape == (4, 3, 8, 8)
    assert all(torch.equal(colour.images[i], made.images[i].expand(3, 8, 8)) for i in (0, 2))
    assert np.array_equal(colour.images[3].permute(1, 2, 0).numpy(), center_crop(RGB, 8))


def test_an_unpacked_dataset_keeps_its_labels(tmp_path: Path):
    for i in range(3):
        put(tmp_path / "00000" / f"img{i:08d}.png", png(RGB[i : i + 8, :8]))
    pairs = [[f"00000/img{i:08d}.png", 2 - i] for i in range(3)]
    put(tmp_path / "dataset.json", json.dumps({"labels": pairs}).encode())
    made = read_folder(tmp_path, 8)
    assert made.labels.tolist() == [2, 1, 0]
    assert np.array_equal(
        made.images[1].permute(1, 2, 0).numpy(), RGB[1:9, :8]
    )  # of that size already: untouched
    (tmp_path / "00000" / "img00000001.png").unlink()
    with pytest.raises(UserError, match=r"labels 00000/img00000001.png, which the dataset does not hold"):
        read_folder(tmp_path, 8)


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    real = put(tmp_path / "cache" / "a.png", png(RGB))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "x.png").symlink_to(real)
    (tree / "again").symlink_to(tmp_path / "cache", target_is_directory=True)
    assert read_folder(tmp_path / "tree" / "again", 8).names == ("a.png",)
    (tree / "x.png").unlink()
    assert read_folder(tree, 8).names == ("again/a.png",)
    (tree / "loop").symlink_to(tree, target_is_directory=True)
    with pytest.raises(UserError, match="is a link to a folder above it"):
        read_folder(tree, 8)


def test_what_is_no_picture_is_named(tmp_path: Path):
    put(tmp_path / "a.png", png(RGB))
    put(tmp_path / "notes.txt", b"")
    with pytest.raises(UserError, match=r"holds 1 files that are no images: notes.txt"):
        read_folder(tmp_path, 8)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"b.png: is a broken link or a special file"):
        read_folder(tmp_path, 8)
    (tmp_path / "b.png").unlink()
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b.png: is a broken link or a special file"):
        read_folder(tmp_path, 8)
    (tmp_path / "b.png").unlink()
    with pytest.raises(UserError, match="resolution_px 0, wanted at least 1"):
        read_folder(tmp_path, 0)
    with pytest.raises(
        UserError, match="is no folder; wanted a folder of pictures; use the dataset image_zip"
    ):
        read_folder(tmp_path / "a.png", 8)
    with pytest.raises(UserError, match=r"is no folder; wanted a folder of pictures$"):
        read_folder(tmp_path / "none", 8)
    with pytest.raises(UserError, match="no source given"):
        prepare("train", 8)


def test_arrays_of_other_channels_are_named(tmp_path: Path):
    put(tmp_path / "0.png", png(RGB))
    put(tmp_path / "a.npy", npy(np.zeros((4, 8, 8), np.uint8)))
    with pytest.raises(UserError, match=r"a.npy holds 4 channels, wanted 1 or 3"):
        read_folder(tmp_path, 8)


FATAL = [
    case
    for case in BAD
    if not any(word in case[2] for word in ("mode P", "RGBA", "wide", " 9 x", "1 channel"))
]


@pytest.mark.parametrize(
    ("name", "content", "said"), FATAL, ids=[f"{i}-{b[2][:20]}" for i, b in enumerate(FATAL)]
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, said: str):
    put(tmp_path / "0.png", png(RGB))
    put(tmp_path / name, content)
    with pytest.raises(UserError, match=rf"1 of 2 images cannot be used: {name} .*{said}"):
        read_folder(tmp_path, 8)


def test_a_needle_is_refused_before_it_is_resized(tmp_path: Path):
    put(tmp_path / "a.png", png(np.zeros((1, 60_000, 3), np.uint8)))
    with pytest.raises(UserError, match=r"a.png is 60000 x 1: too narrow to be brought to 64 px"):
        read_folder(tmp_path, 64)


def test_folds_by_content(tmp_path: Path):
    for i in range(40):
        put(tmp_path / f"k{i % 2}" / f"{i}.png", png(np.full((9, 8), i, np.uint8)))
    for i in range(5):
        put(tmp_path / "k0" / f"copy{i}.png", (tmp_path / f"k{i % 2}" / f"{i}.png").read_bytes())
    made = [prepare(split, 8, tmp_path) for split in ("train", "holdout", "test")]
    assert [len(s) for s in made] == [38, 3, 4]
    assert sorted(name for s in made for name in s.names) == list(read_folder(tmp_path, 8).names)
    shades = [set(s.images[:, 0, 0, 0].tolist()) for s in made]
    assert not shades[0] & shades[1] and not shades[0] & shades[2] and not shades[1] & shades[2]
    assert all(s.labels.tolist() == [int(name[1]) for name in s.names] for s in made)
    some = prepare("train", 8, tmp_path, n=4, seed=3)
    assert len(some) == 4 and set(some.names) < set(made[0].names)
    with pytest.raises(UserError, match="n = 39, wanted 1 to 38"):
        prepare("train", 8, tmp_path, n=39)
