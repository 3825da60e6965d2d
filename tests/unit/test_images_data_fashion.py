"""Fashion-MNIST: where it comes from, what is refused, and its folds. The real files where they can be had."""

import gzip
import hashlib
import http.server
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from guidelab.data import fashion_mnist, fashion_mnist_files
from guidelab.data.download import download
from guidelab.data.fashion_mnist import parse_idx, prepare
from guidelab.data.fashion_mnist_files import FILES, Published, find
from guidelab.errors import UserError


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), 1, mtime=0)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder of four small files, taken for the published ones; nothing installed, no apt, no network."""
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (240, 28, 28), dtype=np.uint8)
    train[100:105] = train[:5]
    test = random.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    test[7], test[20] = train[3], train[9]
    arrays = [train, np.arange(240) % 10, test, np.arange(30) % 10]
    folder = tmp_path / "published"
    folder.mkdir()
    files = []
    for file, array in zip(FILES, arrays, strict=True):
        content = idx(array.astype(np.uint8))
        (folder / file.name).write_bytes(content)
        files.append(Published(file.name, len(content), hashlib.sha256(content).hexdigest()))
    for name, value in zip(
        ("TRAIN_IMAGES", "TRAIN_LABELS", "TEST_IMAGES", "TEST_LABELS"), files, strict=True
    ):
        monkeypatch.setattr(fashion_mnist_files, name, value)
    monkeypatch.setattr(fashion_mnist_files, "FILES", tuple(files))
    monkeypatch.setattr(fashion_mnist_files, "INSTALLED", tmp_path / "usr/share/datasets/fashion-mnist")
    monkeypatch.setattr(fashion_mnist_files, "UPSTREAM", "http://127.0.0.1:9")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def test_splits_are_disjoint_and_leave_out_what_is_known(small):
    made = {split: prepare(split, 16, small) for split in ("train", "holdout", "test")}
    assert {split: len(s) for split, s in made.items()} == {"train": 207, "holdout": 33, "test": 28}
    kept = {split: prepare(split, 28, small) for split in made}
    contents = [{image.numpy().tobytes() for image in s.images} for s in kept.values()]
    assert not contents[0] & contents[1] and not (contents[0] | contents[1]) & contents[2]
    assert sorted(kept["train"].names + kept["holdout"].names) == [f"train/{i:05d}" for i in range(240)]
    assert "test/00007" not in made["test"].names and "test/00020" not in made["test"].names
    for s in made.values():
        assert s.images.shape[1:] == (1, 16, 16) and s.names == tuple(sorted(s.names))
        assert s.labels.tolist() == [int(name[-1]) for name in s.names]


def test_subsets_and_what_is_refused(small):
    whole, some = prepare("train", 8, small), prepare("train", 8, small, n=50, seed=4)
    places = torch.tensor([whole.names.index(name) for name in some.names])
    assert torch.equal(some.images, whole.images[places]) and torch.equal(some.labels, whole.labels[places])
    assert some.names == prepare("train", 8, small, n=50, seed=4).names
    assert some.names != prepare("train", 8, small, n=50, seed=5).names
    with pytest.raises(UserError, match="split holdout: given n = 40, wanted 1 to 33"):
        prepare("holdout", 8, small, n=40)
    for size in (0, 29):
        with pytest.raises(UserError, match=f"resolution_px {size}, wanted 1 to 28"):
            prepare("train", size, small)
    with pytest.raises(UserError, match=r"split 'tset' is not known.*did you mean 'test'"):
        prepare("tset", 8, small)


def test_a_given_folder_is_the_only_source_and_is_checked(small, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder. Give a folder with the four files"):
        prepare("train", 16, tmp_path / "nowhere", tmp_path / "cache")
    name = FILES[3].name
    content = (small / name).read_bytes()
    (small / name).write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=rf"{name} is not the published file \({len(content)} bytes, sha256"):
        prepare("train", 16, small)
    (small / name).unlink()
    with pytest.raises(UserError, match=rf"{name} cannot be read \(No such file"):
        prepare("train", 16, small)
    assert not (tmp_path / "cache").exists()


def test_every_source_that_failed_is_listed(small, tmp_path):
    with pytest.raises(UserError) as error:
        prepare("train", 16, None, tmp_path / "cache")
    lines = str(error.value).splitlines()
    assert lines[0] == "Fashion-MNIST was not found. Tried:" and len(lines) == 6
    for line, said in zip(lines[1:5], ["usr/share/datasets/fashion-mnist: no such", "cache/fashion-mnist: train-images",
                                       "apt-get download dataset-fashion-mnist: there is no apt-get",
                                       "127.0.0.1:9: train-images-idx3-ubyte.gz: <urlopen error"], strict=True):  # fmt: skip
        assert line.startswith("  - ") and said in line
    assert "Install the Debian package dataset-fashion-mnist" in lines[5]
    with pytest.raises(UserError, match="downloads: no cache folder was given"):
        prepare("train", 16)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/fashion-mnist: cannot be written \("):
        prepare("train", 16, None, tmp_path / "file")


def test_the_installed_package_comes_first(small, tmp_path):
    shutil.copytree(small, fashion_mnist_files.INSTALLED)
    assert len(prepare("test", 16, None, tmp_path / "cache")) == 28
    assert not (tmp_path / "cache").exists()


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport shutil, sys, pathlib\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def pretend_apt(small: Path, tmp_path: Path, spoil: str = "") -> None:
    program(tmp_path / "bin/apt-get", "pathlib.Path('dataset-fashion-mnist_1_all.deb').write_text('deb')")
    program(
        tmp_path / "bin/dpkg",
        "assert sys.argv[1] == '-x' and pathlib.Path(sys.argv[2]).read_text() == 'deb'\n"
        f"there = pathlib.Path(sys.argv[3] + {str(fashion_mnist_files.INSTALLED)!r})\n"
        f"shutil.copytree({str(small)!r}, there)\n{spoil}",
    )


def test_the_package_is_fetched_unpacked_and_kept(small, tmp_path):
    pretend_apt(small, tmp_path)
    cache = tmp_path / "cache"
    assert len(prepare("test", 16, None, cache)) == 28
    assert sorted(file.name for file in (cache / "fashion-mnist").iterdir()) == sorted(f.name for f in FILES)
    assert sorted(file.name for file in cache.iterdir()) == ["fashion-mnist", "fashion-mnist.lock"]
    shutil.rmtree(tmp_path / "bin")
    assert len(prepare("test", 16, None, cache)) == 28  # from the cache
    (cache / "fashion-mnist" / FILES[0].name).write_bytes(b"spoilt")
    with pytest.raises(
        UserError, match=r"cache/fashion-mnist: train-images-idx3-ubyte.gz is not the published file"
    ):
        prepare("test", 16, None, cache)
    pretend_apt(small, tmp_path)
    assert len(prepare("test", 16, None, cache)) == 28  # repaired automatically


def test_a_package_that_fails_leaves_nothing(small, tmp_path):
    cache = tmp_path / "cache"
    pretend_apt(small, tmp_path, f"(there / {FILES[1].name!r}).write_text('other')")
    with pytest.raises(UserError, match=r"apt-get download .*: train-labels.* is not the published file"):
        prepare("test", 16, None, cache)
    pretend_apt(small, tmp_path, "sys.exit('dpkg: no space')")
    with pytest.raises(UserError, match=r"apt-get download .*: dpkg cannot unpack it: dpkg: no space"):
        prepare("test", 16, None, cache)
    program(tmp_path / "bin/apt-get", "sys.exit('E: Unable to locate package')")
    with pytest.raises(UserError, match=r"apt-get download .*: failed \(E: Unable to locate package\)"):
        prepare("test", 16, None, cache)
    program(tmp_path / "bin/apt-get", "")
    with pytest.raises(UserError, match=r"apt-get download .*: left 0 packages, wanted one"):
        prepare("test", 16, None, cache)
    program(tmp_path / "bin/apt-get", "import time; time.sleep(60)")
    fashion_mnist_files_limit = fashion_mnist_files._PACKAGE_S
    try:
        fashion_mnist_files._PACKAGE_S = 0
        with pytest.raises(UserError, match=r"not finished after 0 minutes"):
            prepare("test", 16, None, cache)
    finally:
        fashion_mnist_files._PACKAGE_S = fashion_mnist_files_limit
    assert not any((cache / "fashion-mnist").iterdir())


@pytest.fixture
def server(small, monkeypatch):
    """The authors' address, on this machine; counts requests."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(small))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(fashion_mnist_files, "UPSTREAM", f"http://127.0.0.1:{made.server_port}")
    yield asked
    made.shutdown()
    made.server_close()


def test_upstream_is_the_last_resort(server, small, tmp_path):
    cache = tmp_path / "cache"
    assert len(prepare("holdout", 16, None, cache)) == 33
    assert server == [f"/{file.name}" for file in FILES]
    assert len(prepare("holdout", 16, None, cache)) == 33 and len(server) == 4


def test_two_jobs_at_once_fetch_once(server, small, tmp_path):
    results, cache = [], tmp_path / "cache"
    threads = [threading.Thread(target=lambda: results.append(find(None, cache))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6 and len(server) == 4 and all(r == results[0] for r in results)


def test_a_lock_held_too_long_is_reported(small, tmp_path, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(fashion_mnist_files, "_LOCK_S", 0.1)
    with (
        FileLock(tmp_path / "fashion-mnist.lock"),
        pytest.raises(UserError, match="another process has held its lock"),
    ):
        prepare("test", 16, None, tmp_path)


def test_downloads_are_checked_and_bounded(server, small, tmp_path, monkeypatch):
    url, file = fashion_mnist_files.UPSTREAM, fashion_mnist_files.FILES[0]
    for size, digest, said in [
        (file.size, "0" * 64, f"given {file.size} bytes"),
        (file.size - 5, file.sha256, f"given more than {file.size - 5} bytes"),
        (file.size + 5, file.sha256, f"given {file.size} bytes"),
    ]:
        with pytest.raises(ValueError, match=said):
            download(f"{url}/{file.name}", tmp_path / "x.gz", size, digest)
    with pytest.raises(OSError, match="404"):
        download(f"{url}/none.gz", tmp_path / "x.gz", 5, "0" * 64)
    assert not [p for p in tmp_path.iterdir() if "x.gz" in p.name]
    download(f"{url}/{file.name}", tmp_path / "x.gz", file.size, file.sha256)
    assert (tmp_path / "x.gz").read_bytes() == (small / file.name).read_bytes()


RAW = struct.pack(">BBBB2I", 0, 0, 8, 2, 2, 3) + bytes(range(6))


def test_idx_files_are_parsed_by_their_headers(monkeypatch):
    assert parse_idx(gzip.compress(RAW), "x").tolist() == [[0, 1, 2], [3, 4, 5]]
    for raw, said in [
        (RAW[:-1], r"holds 5 values, its header says \(2, 3\)"),
        (RAW + b"\0", "holds 7 values"),
        (b"\0\0\x0d" + RAW[3:], "begins with 00000d02"),
        (b"\0\1" + RAW[2:], "begins with 00010802"),
        (RAW[:9], "begins with 00000802"),
        (b"\0\0\x08\0", "holds 0 values"),
        (b"", "begins with "),
        (b"\0\0\x08\x03" + b"\xff" * 12, "holds 0 values"),
    ]:
        with pytest.raises(UserError, match=f"x: {said}"):
            parse_idx(gzip.compress(raw), "x")
    packed = gzip.compress(RAW)
    for content in (b"", b"text", packed[:-9], packed[:-8] + bytes(8)):
        with pytest.raises(UserError, match=r"x: (is no readable gzip|begins with)"):
            parse_idx(content, "x")
    monkeypatch.setattr(fashion_mnist, "_LARGEST", 10)
    with pytest.raises(UserError, match="more than 10 bytes unpacked"):
        parse_idx(packed, "x")


def test_images_and_labels_must_fit(small):
    contents = find(small, None)
    contents[FILES[1].name] = idx(np.zeros(239, np.uint8))
    with pytest.raises(UserError, match=r"hold \(240, 28, 28\) images and \(239,\) labels"):
        fashion_mnist._training(contents, "train")


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory):
    """A folder that holds the real files, or a skip with the reason."""
    if fashion_mnist_files.INSTALLED.is_dir():
        return None
    kept = Path(os.environ.get("GUIDELAB_CACHE") or "~/.cache/guidelab").expanduser()
    cache = kept if (kept / "fashion-mnist" / FILES[0].name).is_file() else tmp_path_factory.mktemp("cache")
    if cache != kept:
        try:
            fashion_mnist_files._fetch_package(_made(cache / "fashion-mnist"))
        except fashion_mnist_files._UnavailableError as error:
            pytest.skip(f"the real Fashion-MNIST is not installed and apt-get download {error}")
    return cache


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("split", "count", "per_class", "first", "digest"),
    [
        (
            "train",
            49952,
            [5024, 4965, 4993, 5027, 4959, 4962, 5023, 5012, 5003, 4984],
            ("train/00000", 9),
            "1af0e3507b6cb4fa",
        ),
        (
            "holdout",
            10048,
            [976, 1035, 1007, 973, 1041, 1038, 977, 988, 997, 1016],
            ("train/00003", 3),
            "4edce739ce4956b0",
        ),
        ("test", 10000, [1000] * 10, ("test/00000", 9), "99ffbd01b8b1236c"),
    ],
)
def test_the_real_folds_are_pinned(real_cache, split, count, per_class, first, digest):
    made = prepare(split, 16, None, real_cache)
    assert len(made) == count and torch.bincount(made.labels).tolist() == per_class
    assert (made.names[0], int(made.labels[0])) == first
    assert hashlib.sha256(made.images.numpy().tobytes()).hexdigest()[:16] == digest


def test_nothing_is_written_by_a_subprocess_on_its_own_output(small, tmp_path):
    """apt's words go to no screen: a job's output is its own."""
    pretend_apt(small, tmp_path)
    code = f"""
import pathlib
from guidelab.data import fashion_mnist_files as files
files.INSTALLED = pathlib.Path({str(fashion_mnist_files.INSTALLED)!r})
files.FILES = tuple(files.Published(*f) for f in {[(f.name, f.size, f.sha256) for f in fashion_mnist_files.FILES]!r})
print(len(files.find(None, {str(tmp_path / "cache")!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"
