"""Folds written as a stream have the bytes of those written at once, and are read lazily; malicious files are refused."""

import io
import os
import pickle
import struct
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from guidelab.core.latents import encoding
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import read_zip, write_zip
from guidelab.data.reference import ReferenceImages
from guidelab.data.zip_reader import ZipImages, ZipLatents, read_latent
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError

RANDOM = np.random.default_rng(0)


def written(path: Path, images: np.ndarray, labels: list[int] | None) -> Path:
    with ZipWriter(path) as writer:
        for index, image in enumerate(images):
            writer.add_image(image, None if labels is None else labels[index])
    return path


def latents(path: Path, moments: np.ndarray, about: dict | None = None, labels: bool = True) -> Path:
    with ZipWriter(path, about) as writer:
        for index, one in enumerate(moments):
            writer.add_latent(one, index % 3 if labels else None)
    return path


def moments(n: int = 5) -> np.ndarray:
    return RANDOM.random((n, 8, 4, 4), dtype=np.float32) + 0.1


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("side", [4, 160])  # one deflate block, and several
def test_a_stream_has_the_bytes_of_a_set_and_reads_like_it(tmp_path: Path, labelled: bool, side: int):
    images = RANDOM.integers(0, 256, (1002 if side == 4 else 3, 3, side, side), dtype=np.uint8)
    labels = [index % 7 for index in range(len(images))] if labelled else None
    given = None if labels is None else torch.tensor(labels)
    write_zip(
        tmp_path / "set.zip", ImageSet(torch.from_numpy(images), given, tuple(map(str, range(len(images)))))
    )
    path = written(tmp_path / "stream.zip", images, labels)
    assert path.read_bytes() == (tmp_path / "set.zip").read_bytes()
    whole, lazy = read_zip(path), ZipImages(path)
    assert (len(lazy), lazy.shape, lazy.classes) == (len(images), (3, side, side), whole.classes)
    assert lazy.labels is None if labels is None else torch.equal(lazy.labels, whole.labels)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert torch.equal(lazy[order], whole.images[order])
    assert torch.equal(lazy[1:3], whole.images[1:3]) and torch.equal(lazy[-1], whole.images[-1])
    assert torch.equal(lazy[[0, -1]], whole.images[[0, -1]]) and len(lazy[[]]) == 0
    for wrong in ([len(images)], [-len(images) - 1], [0.5], torch.tensor([True])):
        with pytest.raises(IndexError):
            lazy[wrong]


def test_only_requested_images_are_read_and_from_any_process(tmp_path: Path):
    images = RANDOM.integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    path = written(tmp_path / "a.zip", images, None)
    lazy = ZipImages(path)
    content = bytearray(path.read_bytes())
    middle = content.find(b"img00000020.png") + 100
    content[middle] ^= 1
    path.write_bytes(content)
    assert torch.equal(lazy[10:12], torch.from_numpy(images[10:12]))  # the damaged one was not touched
    with pytest.raises(UserError, match=r"a.zip: image 20 .* is damaged"):
        lazy[19:22]
    content[middle] ^= 1
    path.write_bytes(content)
    assert torch.equal(pickle.loads(pickle.dumps(lazy))[:], torch.from_numpy(images))
    found: dict[int, torch.Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: lazy[i::4]})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], torch.from_numpy(images[i::4])) for i in range(4))
    loader = torch.utils.data.DataLoader(lazy, batch_size=10, num_workers=2)  # type: ignore[arg-type]
    assert torch.equal(torch.cat(list(loader)), torch.from_numpy(images))
    kept = pickle.dumps(lazy)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="another size than before"):
        pickle.loads(kept)


def test_a_device_or_a_pipe_is_never_read_without_end(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (Path("/dev/zero"), tmp_path / "pipe.zip"):
        with pytest.raises(UserError, match="is a device or a pipe, wanted a ZIP"):
            ZipImages(path)


def test_cut_short_compressed_and_odd_archives_are_refused(tmp_path: Path):
    path = written(tmp_path / "a.zip", RANDOM.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8), [0, 1, 2])
    whole = path.read_bytes()
    for cut in (whole[:-40], whole[: len(whole) // 2], b""):
        (tmp_path / "b.zip").write_bytes(cut)
        with pytest.raises(UserError, match=r"b.zip: is no readable ZIP"):
            ZipImages(tmp_path / "b.zip")
    with (
        zipfile.ZipFile(path) as file,
        zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in file.namelist():
            packed.writestr(name, file.read(name))
    with pytest.raises(UserError, match=r"00000/img00000000.png is compressed, wanted members stored"):
        ZipImages(tmp_path / "c.zip")
    lies = bytearray(whole)  # the directory says one member lies elsewhere, inside another's pixels
    entry = lies.rfind(b"00000/img00000001.png") - 46
    offset = struct.unpack_from("<I", lies, entry + 42)[0]
    struct.pack_into("<I", lies, entry + 42, offset + 1)
    (tmp_path / "d.zip").write_bytes(lies)
    with pytest.raises(UserError, match=r"overlaps|damaged"):
        ZipImages(tmp_path / "d.zip")[:]
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as odd, zipfile.ZipFile(path) as file:
        odd.writestr("a.png", file.read("00000/img00000000.png"))
        odd.writestr("b.png", b"\x89PNG no more")
    with pytest.raises(UserError, match=r"e.zip: b.png is"):
        ZipImages(tmp_path / "e.zip")[1]


def test_the_writer_refuses_mixtures(tmp_path: Path):
    image = np.zeros((3, 4, 4), np.uint8)
    with ZipWriter(tmp_path / "a.zip") as writer:
        writer.add_image(image, 1)
        for args in ((image, None), (np.zeros((3, 8, 8), np.uint8), 1)):
            with pytest.raises(ValueError, match="ZipWriter: given"):
                writer.add_image(*args)
        with pytest.raises(ValueError, match="wanted float32"):
            writer.add_latent(np.zeros((8, 4, 4)), 1)  # type: ignore[arg-type]


def test_latents_round_trip_and_are_drawn_as_both_families_do(tmp_path: Path):
    raw = moments()
    about = {"encoding": "ldm", "parts": {"0": [0, 2], "7": [3, 4]}}
    zipped = ZipLatents(latents(tmp_path / "a.zip", raw, about))
    assert torch.equal(zipped[:], torch.from_numpy(raw))
    assert (zipped.shape, zipped.classes, zipped.encoding.name) == ((8, 4, 4), 3, "ldm")
    assert zipped.parts == {0: range(0, 3), 7: range(3, 5)}
    with zipfile.ZipFile(tmp_path / "a.zip") as file:  # as EDM2 names and numpy reads them
        assert np.array_equal(np.load(io.BytesIO(file.read("00000/img-mean-std-00000003.npy"))), raw[3])
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    x = torch.from_numpy(raw[[4, 1]])
    drawn = x[:, :4] + x[:, 4:] * noise
    found = zipped.sample([4, 1], torch.Generator().manual_seed(5))
    assert torch.equal(found, drawn * 0.18215)
    assert torch.equal(zipped.sample([4], None), x[:1, :4] * 0.18215)

    plain = ZipLatents(latents(tmp_path / "b.zip", raw), "edm2")  # EDM2's own files name no encoding
    mean, std = torch.tensor([5.81, 3.25, 0.12, -2.15]), torch.tensor([4.17, 4.62, 3.71, 3.28])
    wanted = (drawn - mean[:, None, None]) / std[:, None, None] * 0.5
    assert torch.allclose(plain.sample([4, 1], torch.Generator().manual_seed(5)), wanted, atol=1e-6)


def test_latents_of_another_encoding_or_images_are_refused(tmp_path: Path):
    path = latents(tmp_path / "a.zip", moments(), {"encoding": "ldm"})
    with pytest.raises(UserError, match="of encoding ldm, wanted edm2"):
        ZipLatents(path, "edm2")
    with pytest.raises(UserError, match="names the encoding 'sdxl', wanted one of edm2, ldm"):
        ZipLatents(latents(tmp_path / "b.zip", moments(), {"encoding": "sdxl"}))
    with pytest.raises(UserError, match="malformed `parts`"):
        ZipLatents(latents(tmp_path / "c.zip", moments(), {"parts": {"a": 1}}))
    with pytest.raises(UserError, match="holds images, wanted latents"):
        ZipLatents(written(tmp_path / "d.zip", np.zeros((1, 3, 4, 4), np.uint8), None))
    with pytest.raises(ValueError, match=r"wanted \[B, 4, h, w\]"):
        encoding("edm2").standardise(torch.zeros(1, 3, 2, 2))


class Bomb:
    def __reduce__(self):
        return (open, ("/nonexistent/opened", "w"))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[[Bomb()]]], object), "pickled objects, which are never read"),
        (np.zeros((8, 4, 4)), "wanted float32"),
        (np.zeros((4, 4), np.float32), "wanted float32"),
        (np.full((2, 1, 1), np.nan, np.float32), "not finite"),
    ],
)
def test_other_arrays_than_latents_are_refused(tmp_path: Path, array: np.ndarray, said: str):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("00000/img-mean-std-00000000.npy", file.getvalue())
    with pytest.raises(UserError, match=f"img-mean-std-00000000.npy is no latent: .*{said}"):
        ZipLatents(tmp_path / "a.zip")


def test_headers_that_lie_are_refused():
    file = io.BytesIO()
    np.save(file, np.zeros((8, 4, 4), np.float32))
    content = file.getvalue()
    for bad in (content[:-1], content + b"x", content[:8], b"", content.replace(b"(8, 4, 4)", b"(9, 4, 4)")):
        with pytest.raises(ValueError, match=r"holds|no NPY array"):
            read_latent(bad)
    huge = content.replace(b"(8, 4, 4)", b"(8<<9,4,4)"[:9])
    with pytest.raises(ValueError, match="no NPY array"):
        read_latent(huge)
    column = io.BytesIO()
    np.save(column, np.asfortranarray(np.arange(24, dtype=np.float16).reshape(2, 3, 4)))
    assert np.array_equal(read_latent(column.getvalue()), np.arange(24).reshape(2, 3, 4))


def npz(path: Path, compressed: bool = False, **arrays: np.ndarray) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_reference_batches_are_streamed(tmp_path: Path, compressed: bool):
    pictures = RANDOM.integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    path = npz(tmp_path / "a.npz", compressed, arr_0=pictures, mu=np.zeros(3), arr_1=np.arange(5))
    batch = ReferenceImages(path, 6)
    assert len(batch) == 5 and np.array_equal(np.stack(list(batch)), pictures.transpose(0, 3, 1, 2))
    assert batch.labels is not None and batch.labels.tolist() == [0, 1, 2, 3, 4]
    assert ReferenceImages(npz(tmp_path / "b.npz", arr_0=pictures), 6).labels is None


def test_other_files_than_reference_batches_are_refused(tmp_path: Path):
    good = np.zeros((2, 6, 6, 3), np.uint8)
    for arrays, said in [
        ({"mu": np.zeros(3)}, r"holds no arr_0 \(it holds mu.npy\)"),
        ({"arr_0": good.astype(np.float32)}, "wanted uint8 images"),
        ({"arr_0": good[0]}, "wanted uint8 images"),
        ({"arr_0": np.array([[[[Bomb()]]]], object)}, "pickled objects, which are never read"),
        ({"arr_0": good, "arr_1": np.arange(3)}, "wanted 2 class indices"),
        ({"arr_0": good, "arr_1": -np.arange(2)}, "holds the label -1"),
    ]:
        with pytest.raises(UserError, match=said):
            ReferenceImages(npz(tmp_path / "a.npz", **arrays), 6)
    with pytest.raises(UserError, match="its images are 6 px, wanted 8"):
        ReferenceImages(npz(tmp_path / "a.npz", arr_0=good), 8)
    with pytest.raises(UserError, match="no such file"):
        ReferenceImages(tmp_path / "none.npz", 8)
    path = npz(tmp_path / "a.npz", compressed=True, arr_0=good)
    with zipfile.ZipFile(path) as file:
        content = file.read("arr_0.npy").replace(b"(2, 6, 6, 3)", b"(3, 6, 6, 3)")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("arr_0.npy", content)
    with pytest.raises(UserError, match="ends within image 2 of 3"):
        list(ReferenceImages(path, 6))
    header = content.replace(b"(3, 6, 6, 3), }      ", b"(3000000,99,99,3), }")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("arr_0.npy", header)
    with pytest.raises(UserError, match=r"declares|readable NPZ"):
        ReferenceImages(path, 99)
