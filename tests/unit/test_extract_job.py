"""Features of streams: what is stored, in which order, on which conditions; the tiny extractor; spatial features."""

import dataclasses
import hashlib
import subprocess
import sys

import pytest
import torch

from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.features.spatial import spatial_features
from guidelab.features.tiny import Tiny
from guidelab.io import load_arrays
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.jobs import extract
from guidelab.released import Row

CPU = torch.device("cpu")


def pictures(n, seed=0, side=8):
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(seed)).byte()


@pytest.fixture
def samples(tmp_path):
    """A manifest of two training seeds and two blocks, in shards of 3."""
    about = {"variant": "x", "seeds": [0, 1], "blocks": {"a": [0, 6], "b": [100, 101]}, "code": "c"}
    path = tmp_path / "samples.json"
    shards = [s for t in (0, 1) for b, ends in about["blocks"].items() for s in split(t, b, ends, 3)]
    for shard in shards:
        images = pictures(shard.n, shard.first + 1000 * shard.train_seed)
        labels = torch.arange(shard.first, shard.last + 1)
        write_shard(folder_of(path), shard, about, lambda a, b, i=images, y=labels: (i, y))
    write_manifest(path, shards, about)
    return path


def job(path, **extractor):
    return {
        "features": "t",
        "extractor": {"name": "tiny"} | extractor,
        "inputs": {"images": [str(path)]},
        "code": "c",
    }


def test_features_of_shards_are_those_of_whole_blocks(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "BATCH", {"cpu": 2})
    extract.run(job(samples), [tmp_path / "out"])
    found, about = load_arrays(tmp_path / "out")
    assert set(found) == {
        f"seed{s}/{b}/{n}"
        for s in (0, 1) for b in "ab" for n in ("features", "logits", "spatial", "labels")
    }  # fmt: skip
    for seed in (0, 1):
        for block, firsts, last in (("a", (0, 3, 6), 6), ("b", (100,), 101)):
            ends = [*(first - 1 for first in firsts[1:]), last]
            parts = zip(firsts, ends, strict=True)
            images = torch.cat([pictures(end - first + 1, first + 1000 * seed) for first, end in parts])
            whole = Tiny()(images)
            for name in ("features", "logits", "spatial"):
                rows = found[f"seed{seed}/{block}/{name}"]
                assert torch.allclose(rows, getattr(whole, name), atol=1e-6)
            assert found[f"seed{seed}/{block}/labels"].tolist() == list(range(firsts[0], last + 1))
    assert about["features_sha256"].startswith("tiny:") and "shards" not in about["source"]
    assert about["source"]["blocks"] == {"a": [0, 6], "b": [100, 101]} and about["code"] == "c"


def test_features_of_a_fold_are_streamed_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "PIECE", 4)
    images, labels = pictures(9), torch.arange(9) % 3  # the last piece holds one image
    write_zip(tmp_path / "fold.zip", ImageSet(images, labels, tuple(map(str, range(9)))))
    extract.run(job(tmp_path / "fold.zip"), [tmp_path / "out"])
    found, about = load_arrays(tmp_path / "out")
    expected = Tiny()(images)
    assert torch.allclose(found["features"], expected.features, atol=1e-6) and torch.equal(
        found["labels"], labels
    )
    assert torch.allclose(found["spatial"], expected.spatial, atol=1e-6)
    assert about["source"] == {"fold": "fold", "n": 9}


def test_a_shard_that_is_not_the_listed_one_is_refused(samples, tmp_path):
    shard = next((tmp_path / "samples").rglob("3-5.safetensors"))
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"3-5.safetensors: is not the file its manifest lists"):
        extract.run(job(samples), [tmp_path / "out"])
    assert not (tmp_path / "out").exists()


def test_a_block_with_too_few_images_is_refused(samples, tmp_path):
    text = samples.read_text().replace('"n": 3', '"n": 2')
    samples.write_text(text)
    with pytest.raises(UserError, match="holds 5 images, wanted 7"):
        extract.run(job(samples), [tmp_path / "out"])


def test_released_weights_are_looked_for_where_files_are_kept(samples, tmp_path, monkeypatch):
    blank = {field.name: "" for field in dataclasses.fields(Row)}
    row = blank | {"name": "inception", "kind": "features", "format": "inception_pt", "file": "weights.pth",
                   "url": "https://example.org/weights.pth"}  # fmt: skip
    monkeypatch.setenv("GUIDELAB_CHECKPOINTS", str(tmp_path / "kept"))
    given = job(samples, name="inception", checkpoint=row, folder=None)
    with pytest.raises(UserError, match=r"kept/weights.pth: no such file.*https://example.org"):
        extract.run(given, [tmp_path / "out"])
    kept = tmp_path / "kept" / "weights.pth"
    kept.parent.mkdir()
    kept.write_bytes(b"weights")
    assert extract.released(given) == {"name": "inception", "path": str(kept)}
    right = hashlib.sha256(b"weights").hexdigest()
    pinned = job(samples, name="inception", checkpoint=row | {"sha256": right}, folder=str(kept.parent))
    assert extract.released(pinned)["sha256"] == right
    kept.write_bytes(b"others")
    with pytest.raises(UserError, match="sha256"):
        extract.run(given, [tmp_path / "out"])


def test_an_error_while_reading_is_raised_where_the_images_are_wanted():
    def broken():
        yield extract.Piece("", 2, pictures(1), None)
        raise UserError("shard 2 is cut")

    pieces = extract.ahead(broken())
    assert len(next(pieces).images) == 1
    with pytest.raises(UserError, match="shard 2 is cut"):
        next(pieces)


def test_other_processes_leave_the_work_to_the_first(samples, tmp_path, monkeypatch):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    extract.run(job(samples), [tmp_path / "out"])
    assert not (tmp_path / "out").exists()


def test_tiny_is_the_same_in_every_process_and_sees_every_image_alone():
    images = pictures(6, side=12)
    whole, alone = Tiny()(images), [Tiny()(image[None]) for image in images]
    assert (
        whole.features.shape == (6, 32) and whole.logits.shape == (6, 10) and whole.spatial.shape == (6, 28)
    )
    for name in ("features", "logits", "spatial"):
        rows = torch.cat([getattr(each, name) for each in alone])
        assert torch.allclose(rows, getattr(whole, name), atol=1e-6) and rows.std(0).min() > 0
    code = "from guidelab.features.tiny import Tiny; print(Tiny().sha256, Tiny(1).sha256)"
    same, other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert same == Tiny().sha256 != other
    gray = Tiny()(images[:, :1])
    assert torch.equal(gray.features, Tiny()(images[:, :1].expand(-1, 3, -1, -1)).features)


def test_the_random_weights_of_tiny_keep_magnitudes():
    for weight in Tiny().weights.values():
        assert float(weight.square().mean() * weight[0].numel()) == pytest.approx(1, abs=0.2)


def test_spatial_features_are_rows_columns_channels():
    layer = torch.arange(2 * 9 * 3 * 4).reshape(2, 9, 3, 4).float()
    found = spatial_features(layer)
    assert found.shape == (2, 3 * 4 * 7)
    for row, column, channel in ((0, 0, 6), (2, 1, 0), (1, 3, 5)):
        assert torch.equal(found[:, (row * 4 + column) * 7 + channel], layer[:, channel, row, column])
