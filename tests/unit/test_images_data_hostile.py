"""Malicious or damaged archives and files are named and refused before anything large is unpacked."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_images_data_zip import archive, npy, pictures, png

from guidelab.data import limits
from guidelab.data.image_zip import prepare, read_zip
from guidelab.errors import UserError

GOOD = png(pictures(1)[0])


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/etc/a.png", "..\\a.png", "C:/a.png", "a\n.png", "\x1b[31ma.png"]
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="unsafe name") as error:
        read_zip(archive(tmp_path / "a.zip", {"ok.png": GOOD, name: GOOD}))
    assert str(error.value).isprintable()


def entry(name: str, mode: int = 0o100644, **fields) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr, made.create_system = mode << 16, 3
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010644])
def test_links_and_devices_are_refused(tmp_path: Path, mode: int):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(entry("a.png", mode), "/etc/passwd")
    with pytest.raises(UserError, match=r"'a.png' is a link or a special file"):
        read_zip(tmp_path / "a.zip")


def patched(path: Path, name: str, *, central: dict[int, bytes]) -> Path:
    """Overwrite bytes of a file's entry in the central directory, by their offset in it."""
    content = bytearray(path.read_bytes())
    start = content.rfind(name.encode()) - 46
    assert content[start : start + 4] == b"PK\x01\x02"
    for offset, value in central.items():
        content[start + offset : start + offset + len(value)] = value
    path.write_bytes(content)
    return path


def test_declared_sizes_are_validated_before_unpacking(tmp_path: Path):
    path = archive(tmp_path / "a.zip", {"a.png": GOOD})
    patched(path, "a.png", central={24: struct.pack("<I", limits.IMAGE_BYTES + 1)})
    with pytest.raises(UserError, match=r"'a.png' declares \d+ bytes, wanted at most"):
        read_zip(path)


def test_a_zip_bomb_is_refused(tmp_path: Path):
    zeros = bytes(100 << 20)
    path = archive(tmp_path / "a.zip", {"a.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 100 times as many"):
        read_zip(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_a_false_size_unpacks_no_more_than_declared(tmp_path: Path):
    path = archive(tmp_path / "a.zip", {"a.npy": bytes(5 << 20)}, zipfile.ZIP_DEFLATED)
    patched(path, "a.npy", central={24: struct.pack("<I", 200)})
    with pytest.raises(UserError, match=r"1 of 1 images cannot be used: a.npy cannot be read \(Bad CRC"):
        read_zip(path)


def test_overlapping_entries_are_refused(tmp_path: Path):
    path = archive(tmp_path / "a.zip", {"a.png": GOOD, "b.png": GOOD})
    patched(path, "b.png", central={42: struct.pack("<I", 0)})
    with pytest.raises(UserError, match=r"overlaps what follows it"):
        read_zip(path)


def test_other_kinds_of_entries_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="compressed by method 12"):
        read_zip(archive(tmp_path / "a.zip", {"a.png": GOOD}, zipfile.ZIP_BZIP2))
    path = patched(archive(tmp_path / "b.zip", {"a.png": GOOD}), "a.png", central={8: b"\x01"})
    with pytest.raises(UserError, match=r"'a.png' is encrypted"):
        read_zip(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "c.zip", "w") as made:
        made.writestr("a.png", GOOD)
        made.writestr("a.png", GOOD)
    with pytest.raises(UserError, match=r"'a.png' is there twice"):
        read_zip(tmp_path / "c.zip")
    with pytest.raises(UserError, match=r"holds 2 files that are no images: notes.txt, x.pkl; wanted"):
        read_zip(archive(tmp_path / "d.zip", {"a.png": GOOD, "notes.txt": "", "x.pkl": ""}))
    with pytest.raises(UserError, match="holds no images"):
        read_zip(archive(tmp_path / "e.zip", {"dataset.json": "{}"}))


def test_what_is_no_archive_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        read_zip(tmp_path / "none.zip")
    with pytest.raises(UserError, match="is a folder, wanted a ZIP; use the dataset image_folder"):
        read_zip(tmp_path)
    whole = archive(tmp_path / "a.zip", {"a.png": GOOD}).read_bytes()
    for content in (b"", b"hello", whole[:-30], whole[60:]):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(UserError, match=f"{tmp_path / 'b.zip'}: "):
            read_zip(tmp_path / "b.zip")


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path):
    """With any one byte changed, the pixels are those of the archive or a UserError names the damage."""
    path = archive(tmp_path / "a.zip", {"a.png": GOOD, "dataset.json": '{"labels": [["a.png", 5]]}'})
    whole, wanted = path.read_bytes(), read_zip(path)
    refused = 0
    for position in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            read = read_zip(path)
            assert (read.images == wanted.images).all() and read.labels.tolist() == [5]
        except UserError:
            refused += 1
    assert refused > len(whole) / 3 / 2


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def npy_saying(text: str, content: bytes = b"") -> bytes:
    header = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def saved(mode: str, form: str = "PNG", **kw) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, form, **kw)
    return file.getvalue()


BAD = [
    ("a.png", GOOD[: len(GOOD) // 2], "is corrupt"),
    ("a.png", b"", "is empty"),
    ("a.png", b"GIF89a" + bytes(40), "is no PNG"),
    ("a.png", bomb(9000), "9000 x 9000, more than"),
    ("a.png", bomb(60000), "more than 67108864 pixels"),
    ("a.png", saved("P"), "mode P, wanted 8-bit gray or RGB"),
    ("a.png", saved("RGBA"), "mode RGBA"),
    ("a.png", saved("I;16"), "16 bits a channel"),
    ("a.webp", saved("RGB", "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]), "several frames"),
    ("a.png", png(pictures(1)[0, :5]), "is 8 wide and 5 high, wanted square images"),
    ("a.png", png(pictures(1, 9)[0]), "is 9 x 9 pixels with 3 channels, but 0.png is 8 x 8"),
    ("a.png", png(pictures(1)[0, ..., 0]), "with 1 channel, but 0.png is 8 x 8 pixels with 3 channels"),
    ("a.npy", npy(np.zeros((3, 8, 8), np.float32)), "holds float32 values, wanted uint8 images"),
    ("a.npy", npy_saying("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n."), "holds pickled objects"),
    ("a.npy", npy(np.zeros((3, 8, 8), np.uint8))[:-1], "holds 191 values, but its header says 192"),
    ("a.npy", npy_saying("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 90000, 90000)}"), "has shape"),
    ("a.npy", npy_saying("{'descr': '|u1', 'fortran_order': False, 'shape': (-3, -8, 8)}", bytes(192)), "has shape"),
    ("a.npy", npy_saying("{'descr': '|u1', 'fortran_order': False, 'shape': (8,)}", bytes(8)), "has shape"),
    ("a.npy", npy_saying("__import__('os')"), "is no NPY array"),
    ("a.npy", npy_saying("(" * 3000), "is no NPY array"),
    ("a.npy", GOOD, "is no NPY array"),
    ("a.npy", b"\x93NUMPY\x09\x00" + bytes(50), "is no NPY array"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"), BAD, ids=[f"{i}-{b[2][:20]}" for i, b in enumerate(BAD)]
)
def test_files_that_are_no_images_for_us_are_named(tmp_path: Path, name: str, content: bytes, said: str):
    files = {"0.png": GOOD, "1.png": GOOD, name: content}
    with pytest.raises(UserError, match=rf"1 of 3 images cannot be used: {name} .*{said}.*none is skipped"):
        read_zip(archive(tmp_path / "a.zip", files))


def test_all_bad_files_are_counted_and_some_named(tmp_path: Path):
    files = {f"{i:03d}.png": b"broken" for i in range(7)} | {"ok.png": GOOD}
    with pytest.raises(
        UserError, match=r"7 of 8 images .*000.png is no.*004.png is no.*; and 2 more. Replace"
    ):
        read_zip(archive(tmp_path / "a.zip", files))
    files = {f"{i:03d}.png": b"broken" for i in range(150)}
    with pytest.raises(UserError, match=r"at least 100 of 150 images"):
        read_zip(archive(tmp_path / "a.zip", files))


def test_a_checksum_that_fails_is_named_when_folds_are_made(tmp_path: Path):
    path = archive(tmp_path / "a.zip", {"a.png": GOOD, "b.png": pictures(1).tobytes()})
    content = bytearray(path.read_bytes())
    content[content.find(pictures(1).tobytes()) + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"b.png cannot be read \(Bad CRC-32"):
        prepare("train", 8, path)
