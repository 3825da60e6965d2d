"""Images as people have them: leftovers, deep pictures, phones, pointers, latents; nothing shifts or is cut silently."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from guidelab.data import cifar10, imagenet
from guidelab.data.image_folder import read_folder
from guidelab.data.image_zip import read_zip, write_zip
from guidelab.data.latents import holds_latents
from guidelab.data.zip_reader import ZipLatents
from guidelab.errors import UserError
from guidelab.jobs.image_folds import Prepared, prepare_dataset

LEFTOVERS = [
    ".ipynb_checkpoints/x-checkpoint.png", ".DS_Store", "__MACOSX/cat/._1.png", "Thumbs.db", "cat/Thumbs.db", ".hidden/1.png",
    ".git/objects/aa/bb", "cat/.1.png.swp", "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "desktop.ini", "cat/.ipynb_checkpoints/1.png",
    "$RECYCLE.BIN/a.png", "__pycache__/a.pyc", "cat/1.png~", "THUMBS.DB",
    "Network Trash Folder/1.png", "Temporary Items/1.png", "CVS/1.png", "_gsdata_/1.png", "cat/CVS/Root",
]  # fmt: skip


def prepared(name, split, resolution_px, source, output) -> Prepared:
    dataset = {"name": name, "resolution_px": resolution_px, "source": str(source)}
    return prepare_dataset(dataset, split, None, 0, output)


def png(colour=0, side=8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), colour, np.uint8)).save(file, "png")
    return file.getvalue()


def tree(folder, files):
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number) if name.lower().endswith((".png", ".jpg")) else b"leftover")
    return folder


def packed(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_leftover_never_becomes_a_class_or_an_image(tmp_path, capsys, leftover):
    files = ["cat/1.png", "cat/2.png", "dog/1.png"]
    clean = read_folder(tree(tmp_path / "clean", files), 8)
    assert "hidden or leftover" not in capsys.readouterr().err
    found = read_folder(tree(tmp_path / "a", [*files, leftover]), 8)
    assert found.names == clean.names and found.labels.tolist() == clean.labels.tolist() == [0, 0, 1]
    assert leftover.split("/")[0] in capsys.readouterr().err, "what was passed over is named"
    zipped = read_zip(packed(tmp_path / "a.zip", {name: png() for name in [*files, leftover]}))
    assert zipped.labels.tolist() == [0, 0, 1]


def test_a_folder_that_may_be_no_class_is_never_counted_without_its_name(tmp_path, capsys):
    read_folder(tree(tmp_path / "a", ["build/1.png", "cat/1.png", "dog/1.png"]), 8)
    assert "3 classes, by folder: 0 build, 1 cat, 2 dog" in capsys.readouterr().err


def deep_png(colour_type, interlace=0, before=b"", after=b""):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = b"".join(b"\0" + os.urandom(8 * 2 * channels) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n"
        + before
        + chunk(b"IHDR", header)
        + after
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bits_are_never_cut_to_eight(tmp_path, colour_type):
    with pytest.raises(UserError, match="PNG of 16 bits a channel"):
        read_zip(packed(tmp_path / "a.zip", {"a.png": deep_png(colour_type)}))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(deep_png(colour_type))
    with pytest.raises(UserError, match="PNG of 16 bits a channel"):
        read_folder(tmp_path / "a", 8)


TEXT = b"\0\0\0\1tEXta" + struct.pack(">I", zlib.crc32(b"tEXta"))
APPLE = b"\0\0\0\4CgBI\x50\0\x20\x06" + struct.pack(">I", zlib.crc32(b"CgBI\x50\0\x20\x06"))


@pytest.mark.parametrize("before", [TEXT, APPLE])
def test_sixteen_bits_never_hide_behind_another_chunk(tmp_path, before):
    with pytest.raises(UserError, match="first chunk is not its only header"):
        read_zip(packed(tmp_path / "a.zip", {"a.png": deep_png(2, before=before)}))


def test_sixteen_bits_never_hide_in_a_second_header(tmp_path):
    second = deep_png(2)[8:33]  # the decoder takes the last one
    eight = bytearray(deep_png(2, after=second))
    eight[24] = 8
    eight[29:33] = struct.pack(">I", zlib.crc32(eight[12:29]))
    with pytest.raises(UserError, match="first chunk is not its only header"):
        read_zip(packed(tmp_path / "a.zip", {"a.png": bytes(eight)}))


@pytest.mark.parametrize(
    "shape", ["(True, 8, 8)", "(3.0, 8, 8)", "(-3, 8, 8)", "(3, 9999999999, 9999999999)", "'abc'"]
)
def test_no_shape_of_an_array_ends_in_a_traceback(tmp_path, shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(192)
    with pytest.raises(UserError, match=r"a\.npy (has shape|is no NPY array)") as error:
        read_zip(packed(tmp_path / "a.zip", {"a.npy": array}))
    assert "\n" not in str(error.value)


def test_the_last_of_two_lists_of_labels_is_never_taken(tmp_path):
    listing = b'{"labels": [["a.png", 0]], "labels": [["a.png", 5]]}'
    with pytest.raises(UserError, match="the key 'labels' is given twice"):
        read_zip(packed(tmp_path / "a.zip", {"a.png": png(), "dataset.json": listing}))


def test_the_photograph_of_a_phone_is_read_and_its_preview_is_not(tmp_path):
    (tmp_path / "a").mkdir()
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a" / "a.jpg", "MPO", save_all=True, append_images=[second])
    red, _, blue = read_folder(tmp_path / "a", 16).images[0].float().mean((1, 2)).tolist()
    assert red > 200 and blue < 50


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.npy"])
def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path, name):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(UserError, match="git lfs pull"):
        read_zip(packed(tmp_path / "a.zip", {name: pointer}))
    (tmp_path / "b.zip").write_bytes(pointer)
    with pytest.raises(UserError, match="git lfs pull"):
        read_zip(tmp_path / "b.zip")


def test_an_archive_without_files_is_no_traceback(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        read_zip(packed(tmp_path / "a.zip", {}))
    whole = packed(tmp_path / "c.zip", {"q": b"", "a.png": png()}).read_bytes()
    directory = whole.find(
        b"PK\1\2"
    )  # its first entry gets a name of no characters; the byte becomes an extra field
    nameless = whole[: directory + 28] + b"\0\0\0\0\1\0" + whole[directory + 34 :]
    (tmp_path / "c.zip").write_bytes(nameless)
    with pytest.raises(UserError, match=r"unsafe name|no readable ZIP"):
        read_zip(tmp_path / "c.zip")
    with pytest.raises(UserError, match="holds no images"):
        read_zip(packed(tmp_path / "b.zip", {"dataset.json": b'{"labels": []}'}))


@pytest.mark.parametrize("depth", ["my/", "my/own/"])
def test_labels_are_never_dropped_silently(tmp_path, capsys, depth):
    files = [f"{depth}cat/1.png", f"{depth}dog/1.png"]
    assert read_folder(tree(tmp_path / "a", files), 8).labels is None
    if depth == "my/":
        assert "none has a label. If cat, dog are classes, give" in capsys.readouterr().err
        assert read_folder(tmp_path / "a" / "my", 8).labels.tolist() == [0, 1]
    else:
        assert "none has a label" in capsys.readouterr().err
    assert read_zip(packed(tmp_path / "a.zip", dict.fromkeys(files, png()))).labels is None
    assert "none has a label" in capsys.readouterr().err


def test_pictures_are_never_left_out_of_ones_own_folder_silently(tmp_path, capsys):
    source = tree(tmp_path / "mine", [f"{number:03}.png" for number in range(60)])
    found = prepared("image-folder", "all", 8, source, tmp_path / "all.zip")
    assert found.n == 60 == len(read_zip(tmp_path / "all.zip"))
    assert "left" not in capsys.readouterr().err
    kept = prepared("image-folder", "train", 8, source, tmp_path / "train.zip").n
    said = capsys.readouterr().err
    assert (
        0 < kept < 60
        and f"{kept} of 60 images (10 of 12 parts" in said
        and f"other {60 - kept} belong" in said
    )
    command = [sys.executable, "-m", "guidelab.cli.app", "prepare", "image-folder", "--source", str(source)]
    done = subprocess.run(
        [*command, "--resolution", "8", "-o", str(tmp_path / "c.zip")], capture_output=True, text=True
    )
    assert done.returncode == 0 and "60 images" in done.stdout, done.stderr
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "GUIDELAB_CACHE")}
    nowhere = [*command, "--resolution", "8", "-o", str(tmp_path / "d.zip")]
    code = f"import os, sys; os.path.expanduser = lambda p: p; sys.argv = {nowhere[2:]!r}; import guidelab.cli.app as a; a.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "Traceback" not in done.stderr and done.returncode == 0, done.stderr


def test_control_characters_of_names_never_reach_the_terminal(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "\x1b[31mred\x07.png").write_bytes(b"no picture")
    (tmp_path / "a" / ".\x1b[2Jhidden.png").write_bytes(b"x")
    command = [
        sys.executable,
        "-m",
        "guidelab.cli.app",
        "prepare",
        "image-folder",
        "--source",
        str(tmp_path / "a"),
    ]
    done = subprocess.run(
        [*command, "--resolution", "8", "-o", str(tmp_path / "c.zip")], capture_output=True, text=True
    )
    assert done.returncode == 1 and "red" in done.stderr and "hidden" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout and "\x07" not in done.stderr


def latents(path, count=24, dtype="<f4", labels=True):
    """A ZIP as EDM2's dataset_tool.py encode writes it."""
    rng = np.random.default_rng(0)
    names = [f"{index // 1000:05d}/img-mean-std-{index:08d}.npy" for index in range(count)]
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            buffer = io.BytesIO()
            np.save(buffer, rng.standard_normal((8, 4, 4)).astype(dtype))
            file.writestr(name, buffer.getvalue())
        listed = [[name, index % 3] for index, name in enumerate(names)] if labels else None
        file.writestr("dataset.json", json.dumps({"labels": listed}))
    return path


@pytest.mark.parametrize("labels", [True, False])
def test_latents_that_edm2_encoded_are_never_refused_as_images(tmp_path, labels):
    source = latents(tmp_path / "a.zip", labels=labels)
    assert holds_latents(source)
    found = prepared("image-zip", "all", 4, source, tmp_path / "b.zip")
    assert (found.what, found.n, found.shape) == ("latents", 24, (8, 4, 4))
    ours, theirs = ZipLatents(tmp_path / "b.zip"), ZipLatents(source)
    assert torch.equal(ours[:], theirs[:]) and ours.encoding.name == "edm2"
    assert (ours.labels is None) == (not labels)
    if labels:
        assert ours.labels.tolist() == theirs.labels.tolist()
    with pytest.raises(UserError, match="latents are not resized"):
        prepared("image-zip", "all", 8, source, tmp_path / "c.zip")


def test_edms_cifar_zip_is_read_as_cifar(tmp_path):
    images = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(40) % 10
    from guidelab.data.image_set import ImageSet

    write_zip(tmp_path / "cifar10-32x32.zip", ImageSet(images, labels, tuple(str(i) for i in range(40))))
    fold = cifar10.prepare("train", 32, tmp_path / "cifar10-32x32.zip")
    assert fold.labels == labels.tolist()
    assert torch.equal(torch.stack([torch.from_numpy(x.copy()) for x in fold.pixels(1)]), images)
    with pytest.raises(
        UserError, match=r"is a ZIP of training images, so it has no split 'test'.*binary\.tar\.gz"
    ):
        cifar10.prepare("test", 32, tmp_path / "cifar10-32x32.zip")


def test_kaggles_imagenet_is_read_from_its_root(tmp_path):
    top, wnids = tmp_path / "kaggle", ["n01440764", "n01443537"]
    files = [f"train/{wnid}/{wnid}_{number}.JPEG" for wnid in wnids for number in range(3)]
    for name in [
        *files,
        "val/ILSVRC2012_val_00000001.JPEG",
        "val/ILSVRC2012_val_00000002.JPEG",
        "test/x.JPEG",
    ]:
        path = top / imagenet.KAGGLE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(path, "JPEG")
    (top / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} a fish\n" for wnid in wnids))
    rows = "ILSVRC2012_val_00000001,n01443537 1 2 3 4\nILSVRC2012_val_00000002,n01440764 1 2 3 4\n"
    (top / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    (top / imagenet.KAGGLE / "train" / ".ipynb_checkpoints").mkdir()
    for source in (top, top / imagenet.KAGGLE):
        assert imagenet.prepare("test", 8, source, classes=2).labels == [0, 1]
        assert set(imagenet.prepare("train", 8, source, classes=2).labels) == {0, 1}
