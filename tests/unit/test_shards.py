"""Shards: complete or absent, made once, checked on reading."""

import json

import pytest
import torch

from guidelab.errors import UserError
from guidelab.io.shards import Shard, folder_of, load_manifest, read_block, split, write_manifest, write_shard

ABOUT = {"variant": "cfg", "seeds": [0], "blocks": {"select": [0, 9]}, "code": "abc"}


def images(first, last):
    seeds = torch.arange(first, last + 1)
    return (seeds[:, None, None, None] * torch.ones(1, 1, 4, 4)).to(torch.uint8), seeds % 3


def written(tmp_path, size=4, make=images):
    path = tmp_path / "seed0.json"
    shards = split(0, "select", (0, 9), size)
    made = [write_shard(folder_of(path), shard, ABOUT, make) for shard in shards]
    write_manifest(path, shards, ABOUT)
    return path, made


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_a_block_does_not_depend_on_how_it_is_cut(tmp_path, size):
    path, _ = written(tmp_path, size)
    found, labels = read_block(path, 0, "select")
    assert torch.equal(found, images(0, 9)[0]) and torch.equal(labels, images(0, 9)[1])
    assert sum(s["n"] for s in load_manifest(path)["shards"]) == 10


def test_what_is_there_is_not_made_again(tmp_path):
    path, made = written(tmp_path)
    assert made == [True, True, True]
    first = path.read_bytes()
    again, calls = [], []

    def counting(a, b):
        calls.append((a, b))
        return images(a, b)

    (folder_of(path) / "seed0/select/4-7.safetensors").write_bytes(b"cut short")
    again = written(tmp_path, make=counting)[1]
    assert again == [False, True, False] and calls == [(4, 7)]
    assert path.read_bytes() == first


def test_a_shard_of_another_sampler_is_made_again(tmp_path):
    path, _ = written(tmp_path)
    shard = Shard(0, "select", 0, 3)
    assert not write_shard(folder_of(path), shard, ABOUT, images)
    assert write_shard(folder_of(path), shard, {**ABOUT, "code": "other"}, images)


def test_files_the_manifest_does_not_list_are_removed(tmp_path):
    path, _ = written(tmp_path)
    stray = folder_of(path) / "seed0/select/100-103.safetensors"
    stray.write_bytes(b"left over")
    written(tmp_path)
    assert not stray.exists()


@pytest.mark.parametrize("harm", ["absent", "other", "cut"])
def test_a_harmed_shard_is_named(tmp_path, harm):
    path, _ = written(tmp_path)
    shard = folder_of(path) / "seed0/select/4-7.safetensors"
    if harm == "absent":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-3] + (b"" if harm == "cut" else b"abc"))
    with pytest.raises(UserError, match=r"4-7\.safetensors: is .*Delete .*seed0\.json"):
        read_block(path, 0, "select")


def test_an_unknown_block_and_other_files_are_refused(tmp_path):
    path, _ = written(tmp_path)
    with pytest.raises(UserError, match="holds no block 'report'"):
        read_block(path, 0, "report")
    for text, message in (("{", "is not JSON"), (json.dumps({"kind": "other"}), "is no manifest")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_manifest(path)
    with pytest.raises(UserError, match="no such file"):
        load_manifest(tmp_path / "none.json")


def test_the_wrong_number_of_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="wanted 4 uint8"):
        write_shard(tmp_path, Shard(0, "select", 0, 3), ABOUT, lambda a, b: images(a, b - 1))
    assert not list(tmp_path.rglob("*.safetensors"))
