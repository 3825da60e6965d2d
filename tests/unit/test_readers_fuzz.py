"""Damaged files of every format: each is read or refused with one line, within bounded time and memory.

`python tests/unit/test_readers_fuzz.py 5000 1` runs more mutants of each format, from another seed, and prints the tally.
"""

import io
import json
import pickle
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import poisoned_files as poisoned
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from guidelab.checkpoints.released import read_released
from guidelab.cli.bundle import unpack
from guidelab.data.image_zip import read_zip
from guidelab.data.reference import ReferenceImages
from guidelab.data.tar import read_members
from guidelab.data.zip_reader import ZipLatents
from guidelab.errors import UserError
from guidelab.io.shards import load_manifest, read_block

MUTANTS, SEED, SECONDS, MEMORY_KIB = 150, 0, 5.0, 1 << 20
VALUES = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x1b[31m",
    b"../",
    b"\x80\x04",
    b"(",
    b"R",
    b"b",
    b"9" * 40,
]


class Format(NamedTuple):
    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    share: int = 1  # one mutant in so many: reading builds a net


def pictures(kind: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        if kind == "npy":
            np.save(file, pixels.transpose(2, 0, 1))
        else:
            Image.fromarray(pixels).save(file, kind)
        with zipfile.ZipFile(path, "w") as archive:
            for index in range(3):
                archive.writestr(f"{index}.{kind}", file.getvalue())
            archive.writestr("dataset.json", json.dumps({"labels": [[f"{i}.{kind}", i] for i in range(3)]}))

    return make


def statistics(packed: bool) -> Callable[[Path], object]:
    save = np.savez_compressed if packed else np.savez
    return lambda path: save(path, mu=np.zeros(3), sigma=np.eye(3), arr_0=np.zeros((2, 4, 4, 3), np.uint8))


def latents(path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).standard_normal((8, 4, 4)).astype("<f4"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("00000/img-mean-std-00000000.npy", file.getvalue())
        archive.writestr("dataset.json", '{"labels": null}')


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in (("manifest.json", b'{"version": 2, "members": {}}'), ("a.bin", b"x" * 100)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def manifest(path: Path) -> None:
    shard = {
        "file": "seed0/a/0-1.safetensors",
        "train_seed": 0,
        "block": "a",
        "first": 0,
        "last": 1,
        "n": 2,
        "sha256": "0" * 64,
    }
    path.write_text(json.dumps({"kind": "samples", "shards": [shard, shard]}))


def read_latents(path: Path) -> None:
    ZipLatents(path)[:]


def both(path: Path) -> None:
    load_manifest(path)
    read_block(path, 0, "a")


STATE = {"ema": {"w.a": torch.zeros(3), "w.b": torch.ones(2)}, "step": 3, "best": np.float64(1.5)}
FORMATS = [
    Format("a.pkl", poisoned.edm2, lambda path: read_released(path, "edm2_pickle"), 4),
    Format("stats.pkl", lambda path: path.write_bytes(pickle.dumps({"fid": {"mu": np.zeros(3), "sigma": np.eye(3)}}, 4)),
           lambda path: read_released(path, "reference_pkl")),
    Format("a.pt", lambda path: torch.save(STATE, path), lambda path: read_released(path, "inception_pt")),
    Format("old.pt", lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
           lambda path: read_released(path, "inception_pt")),
    Format("a.safetensors", lambda path: save_file(STATE["ema"], path), lambda path: read_released(path, "inception_pt")),
    Format("a.npz", statistics(False), lambda path: read_released(path, "reference_npz")),
    Format("packed.npz", statistics(True), lambda path: read_released(path, "reference_npz")),
    Format("images.npz", statistics(False), lambda path: list(ReferenceImages(path, 4))),
    *(Format(f"{kind}.zip", pictures(kind), read_zip) for kind in ("png", "jpeg", "webp", "bmp", "npy")),
    Format("latents.zip", latents, read_latents),
    Format("a.tar", tar, lambda path: read_members(path, {"a.bin": 100})),
    Format("bundle.tar", tar, lambda path: unpack(path, str(path.parent / "put"))),
    Format("samples.json", manifest, both),
]  # fmt: skip


def mutant(whole: bytes, rng: np.random.Generator) -> bytes:
    """One to four edits: bytes changed, a piece cut, repeated or moved, an extreme value put in."""
    content = bytearray(whole)
    for _ in range(int(rng.integers(1, 5))):
        if not content:
            break
        at, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
        kind = int(rng.integers(6))
        if kind == 0:
            content[at] = int(rng.integers(256))
        elif kind == 1:
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length]
        elif kind == 4:
            value = VALUES[int(rng.integers(len(VALUES)))]
            content[at : at + len(value)] = value
        else:
            del content[at:]
    return bytes(content)


def tally(form: Format, folder: Path, count: int, seed: int) -> Counter[str]:
    """Read the file and its mutants.

    Raises:
        AssertionError: the intact file is refused, or a mutant takes too long, or its message is more than a line.
        Exception: any other error of a mutant than UserError.
    """
    form.make(folder / form.name)
    whole, found = (folder / form.name).read_bytes(), Counter[str]()
    rng = np.random.default_rng([seed, *form.name.encode()])
    for number in range(count):
        content = mutant(whole, rng)
        (folder / form.name).write_bytes(content)
        start = time.process_time()
        try:
            form.read(folder / form.name)
            found["read"] += 1
        except UserError as error:
            assert len(str(error)) < 2000, f"mutant {number}"
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(
                f"{form.name}: mutant {number} of seed {seed}: {error!r}; {content[:200]!r}"
            ) from error
        assert time.process_time() - start < SECONDS, (
            f"{form.name}: mutant {number} of seed {seed} takes too long"
        )
    return found


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_damaged_file_never_ends_in_a_traceback_or_a_hang(tmp_path, form, capsys):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = tally(form, tmp_path, MUTANTS // form.share, SEED)
    print(f"{form.name}: seed {SEED}, {dict(found)}")
    assert found["refused"] > MUTANTS // form.share // 20, "the mutations reach what the reader checks"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB


@pytest.mark.parametrize(
    "shards", [["x"], [1], [None], [{}], [{"file": 3}], {"a": 1}, "x", [[]], [{"file": "../x"}]]
)
def test_a_manifest_of_other_types_is_refused(tmp_path, shards):
    whole = {"train_seed": 0, "block": "a", "first": 0, "last": 1, "n": 2, "sha256": "0" * 64}
    if isinstance(shards, list) and isinstance(shards[0], dict) and shards[0]:
        shards = [{**whole, **shards[0]}]
    (tmp_path / "a.json").write_text(json.dumps({"kind": "samples", "shards": shards}))
    with pytest.raises(UserError, match="is no manifest of samples"):
        read_block(tmp_path / "a.json", 0, "a")


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    for form in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{form.name}: seed {seed}, {dict(tally(form, Path(folder), count, seed))}", flush=True)


if __name__ == "__main__":
    main()
