"""Small files that would cause unbounded work or memory are refused within a second."""

import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from poisoned_files import raw, rezipped

from guidelab.checkpoints.released import read_released
from guidelab.errors import UserError

MEMORY = (
    2 << 30
)  # bytes a child may map, torch's own libraries included, above what it maps after its imports
CODE = """
import resource, sys
from guidelab.checkpoints.released import read_released
from guidelab.errors import UserError
mapped = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + int(sys.argv[3]), -1))
try:
    read_released(sys.argv[1], sys.argv[2])
except UserError as error:
    print(error)
"""


def refusal(path: Path, format: str) -> str:
    """What a process of its own says of a file, with little memory and time."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path), format, str(MEMORY)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n") == 1 and "Traceback" not in done.stderr
    return done.stdout


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def doubled(first: bytes, times: int = 60, pair: bytes = b"\x86") -> bytes:
    """A value put into a pair with itself, and the pair again, so many times."""
    made = first
    for slot in range(times):
        made += b"q" + bytes([slot]) + b"h" + bytes([slot]) + pair
    return made


TUPLE = doubled(b")")
ENCODE = b"c_codecs\nencode\n"
LOADED = b"ctorch.storage\n_load_from_bytes\n"
SET = b"cbuiltins\nset\n"
ORDERED = b"ccollections\nOrderedDict\n"


def repeated(call: bytes, arguments: bytes, times: int) -> bytes:
    """A list of the results of one call with one object of arguments."""
    once = b"h\xfeh\xff" + b"R"
    return call + b"q\xfe0" + arguments + b"q\xff0](" + once * times + b"e"


def filled(items: int) -> bytes:
    return b"](" + b"K\x01" * items + b"e\x85"


def one_hash(count: int, after: bytes = b"") -> bytes:
    """Numbers that Python hashes to 0, each followed by `after`: a dict compares every one with all others."""
    numbers = ((n * (2**61 - 1)).to_bytes(12, "little") for n in range(count))
    return b"".join(b"\x8a\x0c" + number + after for number in numbers)


PICKLES = {
    "keys of one hash": b"}(" + one_hash(20_000, b"N") + b"u",
    "members of one hash": b"\x8f(" + one_hash(20_000) + b"\x90",
    "a call with members of one hash": SET + b"](" + one_hash(20_000) + b"e\x85R",
    "a call with keys of one hash": ORDERED + b"](" + one_hash(20_000, b"N\x86") + b"e\x85R",
    "a key that is a tuple doubled 60 times": b"}" + TUPLE + b"Ns",
    "keys of one call": b"}(" + TUPLE + b"Nu",
    "a member of a set doubled 60 times": b"\x8f(" + TUPLE + b"\x90",
    "a frozen set of it": b"(" + TUPLE + b"\x91",
    "a call with it": SET + b"](" + TUPLE + b"e\x85R",
    "pairs of a dict in a call": ORDERED + b"]" + TUPLE + b"N\x86a\x85R",
    "a shape that is doubled": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00" + TUPLE + b")tR",
    "a type that is doubled": b"cnumpy\ndtype\n" + TUPLE + b"\x85R",
    "a version that is doubled": b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(" + text("type") + text("class")
    + text("version") + TUPLE + text("state") + b"}u\x85R",
    "a large text encoded 200 times": repeated(ENCODE, text("x" * (1 << 21)) + text("latin1") + b"\x86", 200),
    "a text with a codec of quadratic time": ENCODE + text("\u00fc" * 200_000) + text("punycode") + b"\x86R",
    "a large list made a set 20,000 times": repeated(SET, filled(50_000), 20_000),
    "a list that receives its items after its call was written": SET + b"q\xfe0]q\xfd\x85q\xff0h\xfd(" + b"K\x01" * 50_000
    + b"e0](" + b"h\xfeh\xffR" * 20_000 + b"e",
}  # fmt: skip


@pytest.mark.parametrize("what", PICKLES)
def test_a_pickle_never_hangs_or_fills_the_memory(tmp_path, what):
    path = raw(tmp_path / "a.pkl", b"\x80\x04" + PICKLES[what] + b".")
    start = time.process_time()
    for format in ("edm2_pickle", "reference_pkl"):
        with pytest.raises(UserError, match=r"a\.pkl: (repeats|holds|encodes|names)") as error:
            read_released(path, format)
        assert len(str(error.value)) < 1000
    assert time.process_time() - start < 10


@pytest.mark.parametrize("what", [key for key in PICKLES if "shape" not in key and "version" not in key])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_index_of_weights_never_hangs(tmp_path, what, legacy):
    content = b"\x80\x02" + PICKLES[what] + b"."
    if legacy:
        head = b"".join(
            pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        )
        path = raw(tmp_path / "a.pt", head + content)
    else:

        def change(new, name, old):
            if name.endswith("data.pkl"):
                new.writestr(name, content)
            return name.endswith("data.pkl")

        path = rezipped(tmp_path / "a.pt", change)
    start = time.process_time()
    with pytest.raises(UserError, match=r"a\.pt: "):
        read_released(path, "dit_pt")
    assert time.process_time() - start < 10


def test_memory_stays_bounded_for_a_file_that_declares_gigabytes(tmp_path):
    content = repeated(ENCODE, text("x" * (30 << 20)) + text("latin1") + b"\x86", 200)
    said = refusal(raw(tmp_path / "a.pkl", b"\x80\x04" + content + b"."), "reference_pkl")
    assert "repeats its content" in said
    reserve = b"cbuiltins\nbytearray\n" + b"\x8a\x05" + (1 << 36).to_bytes(5, "little") + b"\x85R"

    def change(new, name, old):
        if name.endswith("data.pkl"):
            new.writestr(name, b"\x80\x02" + reserve + b".")
        return name.endswith("data.pkl")

    said = refusal(rezipped(tmp_path / "b.pt", change), "dit_pt")
    assert "names builtins.bytearray" in said


def flagged(path: Path, offset: int, value: bytes) -> Path:
    """An archive whose entries all have other flags (offset 8 in the directory) or methods (10), in both headers."""
    content = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\1\2", 0), (b"PK\3\4", -2)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset + shift : at + offset + shift + 2] = value
            at = content.find(signature, at + 1)
    return raw(path, bytes(content))


@pytest.mark.parametrize("format", ["dit_pt", "reference_npz", "inception_pt"])
@pytest.mark.parametrize(
    ("offset", "value"), [(8, b"\1\0"), (10, b"\x5d\0"), (10, b"\x63\0"), (10, b"\x0e\0")]
)
def test_an_entry_that_cannot_be_unpacked_never_ends_in_a_traceback(tmp_path, format, offset, value):
    path = tmp_path / ("a.npz" if format == "reference_npz" else "a.pt")
    if format == "reference_npz":
        np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    else:
        torch.save({"w": torch.zeros(9)}, path)
    with pytest.raises(UserError, match=r"encrypted|compressed by method") as error:
        read_released(flagged(path, offset, value), format)
    assert str(error.value).startswith(f"{path}: ")


def test_damaged_deflate_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, mu=np.random.default_rng(0).random(300), sigma=np.eye(300))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("mu.npy").header_offset + 60
    for place in range(start + 200, start + 400):
        content[place] ^= 0xFF
    with pytest.raises(UserError, match="not a readable"):
        read_released(raw(path, bytes(content)), "reference_npz")


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(4).to(torch.float8_e4m3fn), "float8_e4m3fn, wanted float16"),
        (torch.zeros([1] * 100), "100 dimensions"),
        (torch.zeros(3).to_sparse(), "unusual kind|as tensors alone"),
        (torch.zeros(3, dtype=torch.complex64), "complex64"),
    ],
)
def test_tensors_of_unusual_kinds_are_named(tmp_path, tensor, says):
    torch.save({"a": torch.zeros(2), "w": tensor}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=says):
        read_released(tmp_path / "a.pt", "inception_pt")
