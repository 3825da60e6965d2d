"""Files are written atomically and reproducibly; incomplete or unknown ones are refused with a clear message."""

import errno
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from guidelab.errors import UserError
from guidelab.io import atomic_write, load_arrays, read_csv, save_arrays, wanted, write_csv


def test_arrays_come_back_exactly_and_bytes_repeat(tmp_path):
    tensors = {"b": torch.arange(6).reshape(2, 3), "a": torch.randn(4, dtype=torch.float64)}
    save_arrays(tmp_path / "one", tensors, {"seeds": [0, 1], "w": 1.4})
    save_arrays(tmp_path / "two", dict(reversed(tensors.items())), {"w": 1.4, "seeds": [0, 1]})
    found, meta = load_arrays(tmp_path / "one")
    assert meta == {"seeds": [0, 1], "w": 1.4}
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_bytes_are_those_of_the_formats_own_writer(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "b": torch.randn(3, 2, generator=generator).t(),
        "a": torch.tensor(True),
        "c é": torch.arange(5),
        "d": torch.randn(3, generator=generator).half(),
        "e": torch.zeros(0, 4),
        "f": torch.tensor(7, dtype=torch.uint8),
        "g": torch.zeros(3, dtype=torch.int32),
        "h": torch.tensor(0.5, dtype=torch.float64),
        "i": torch.ones(3, dtype=torch.bfloat16),
    }
    meta = {"kind": "x", "at": [1, 2], "where": "é\n"}
    save_arrays(tmp_path / "ours", tensors, meta)
    plain = {name: value.contiguous() for name, value in tensors.items()}
    save_file(plain, tmp_path / "theirs", {"guidelab": json.dumps(meta, sort_keys=True)})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    found, about = load_arrays(tmp_path / "ours")
    assert about == meta and all(torch.equal(found[name], value) for name, value in tensors.items())
    with pytest.raises(ValueError, match="complex64"):
        save_arrays(tmp_path / "no", {"z": torch.zeros(1, dtype=torch.complex64)}, {})


def test_missing_truncated_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="no such file"):
        load_arrays(path)
    save_arrays(path, {"x": torch.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"x\.safetensors: is not a readable safetensors file"):
        load_arrays(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="not a readable"):
        load_arrays(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not one written by guidelab"):
        load_arrays(path)


def test_shapes_are_checked():
    tensors = {"x": torch.zeros(3, 2)}
    assert wanted(tensors, "x", "f", (None, 2)) is tensors["x"]
    with pytest.raises(UserError, match=r"f: x has shape \(3, 2\), wanted \(4, 2\)"):
        wanted(tensors, "x", "f", (4, 2))
    with pytest.raises(UserError, match="holds no 'y'"):
        wanted(tensors, "y", "f", (None,))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"),
        atomic_write(tmp_path / "x"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == []


def test_a_real_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(UserError, match="No space left"),
        atomic_write(tmp_path / "x"),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)


def test_tables_repeat_to_the_byte_and_keep_empty_text(tmp_path):
    table = pd.DataFrame({"metric": ["a", "b"], "value": [1 / 3, float("nan")], "note": ["", "x, y"]})
    write_csv(tmp_path / "t.csv", table)
    again = read_csv(tmp_path / "t.csv")
    assert list(again["note"]) == ["", "x, y"] and pd.isna(again["value"][1])
    write_csv(tmp_path / "u.csv", again)
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "u.csv").read_bytes()
    (tmp_path / "v.csv").write_text("")
    with pytest.raises(UserError, match="not a readable CSV"):
        read_csv(tmp_path / "v.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2,3\n", "more cells than its header"),
        (b",".join(b"c%d" % i for i in range(100_000)), "header has more than"),
        (b"\xff\xfea\x00", "codec can't decode"),
    ],
)
def test_a_csv_never_shifts_its_columns_hangs_or_ends_in_a_traceback(tmp_path, content, says):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match="Is a directory"):
        read_csv(tmp_path)


@pytest.mark.parametrize("about", ["no JSON", "[" * 100_000])
def test_a_description_that_is_no_json_never_ends_in_a_traceback(tmp_path, about):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata={"guidelab": about})
    with pytest.raises(UserError, match="its description is not JSON"):
        load_arrays(tmp_path / "a.safetensors")
