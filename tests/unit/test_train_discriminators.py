"""The job `discriminate` from files: sides on disk, latents, frozen classifiers, stops and resumes, held-out noise."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guidelab import registry
from guidelab.assemble import load_net, snapshot
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.data.zip_writer import ZipWriter
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.jobs import discriminate
from guidelab.jobs.examples import ShardImages
from guidelab.train import sides
from guidelab.train.draws import Streams
from guidelab.train.noisy import levels
from guidelab.train.precision import NetInTraining
from guidelab.train.sides import Side
from guidelab.train.stop import Stopped
from guidelab.train.streams import stream

TRAIN: dict[str, Any] = {
    "lr": 3e-3,
    "batch": 32,
    "iterations": 60,
    "evaluate_every": 20,
    "patience": 3,
    "sigma_min": 0.05,
    "sigma_max": 2.0,
    "validation": 0.2,
    "test": 0.2,
    "seed": 1,
}
LATENT = {"encoding": "ldm", "side_px": 8, "channels": 2}
SMALL = {"name": "small_discriminator", "channels": 8, "channel_mult": [1], "blocks": 1}


def pictures(n: int, bright: bool, seed: int) -> Tensor:
    """Gray images `[n, 1, 8, 8]`; those of one side are brighter above, those of the other below."""
    noise = torch.randint(0, 120, (n, 1, 8, 8), generator=torch.Generator().manual_seed(seed))
    noise[:, :, slice(0, 4) if bright else slice(4, 8)] += 120
    return noise.to(torch.uint8)


def zipped(path: Path, images: Tensor, labels: Tensor | None) -> str:
    write_zip(path, ImageSet(images, labels, tuple(f"{i}.png" for i in range(len(images)))))
    return str(path)


def encoded(path: Path, mean: Tensor, labels: Tensor, about: dict[str, Any]) -> str:
    with ZipWriter(path, {"encoding": "ldm", **about}) as writer:
        for moments, label in zip(torch.cat([mean, 0 * mean + 0.1], 1).numpy(), labels.tolist(), strict=True):
            writer.add_latent(moments, label)
    return str(path)


def manifest(path: Path, images: dict[int, Tensor], labels: Tensor | None) -> str:
    shards = [s for seed in images for s in split(seed, "generated", [0, len(images[seed]) - 1], 16)]
    for shard in shards:
        mine = images[shard.train_seed]

        def make(first: int, last: int, mine: Tensor = mine) -> tuple[Tensor, Tensor | None]:
            rows = slice(first, last + 1)
            return mine[rows], None if labels is None else labels[rows]

        write_shard(folder_of(path), shard, {"net": "x"}, make)
    write_manifest(path, shards, {"blocks": {"generated": [0, 1]}})
    return str(path)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "states"))
    labels = torch.arange(60) % 3
    generated = manifest(tmp_path / "dg.json", {0: pictures(60, False, 2), 5: pictures(60, True, 3)}, labels)
    return {
        "disc": "dg",
        "examples": "images",
        "role": "guide",
        "net": SMALL,
        "train": TRAIN,
        "train_seeds": [0, 5],
        "classes": 3,
        "latent": None,
        "inputs": {
            "real": [zipped(tmp_path / "real.zip", pictures(60, True, 1), labels)],
            "generated": [generated],
        },
        "code": "abc",
    }


OUTPUT = Path("dg.safetensors")


def test_a_discriminator_separates_sides_that_differ(job: dict[str, Any]) -> None:
    discriminate.run(job, [OUTPUT])
    tensors, meta = load_arrays(OUTPUT)
    assert meta["kind"] == "discriminator" and meta["role"] == "guide" and meta["code"] == "abc"
    first, second = meta["reports"]["0"], meta["reports"]["5"]
    assert first["accuracy"] > 0.9 and first["bce"] < 0.4 < 0.55 < second["bce"]
    assert first["n_train"] == 36 and first["n_test"] == 12 and first["iterations"] == 60
    assert math.isclose(first["js_bound"], math.log(2) - first["bce"])
    assert first["accuracy_bin0"] >= 0.9 and first["sigma_lo_bin0"] == pytest.approx(0.05)
    net: Any = load_net(OUTPUT, 0)
    x, sigma = pictures(8, True, 9).float() / 127.5 - 1, torch.full((8,), 0.2)
    assert bool((net(x, sigma) > 0).all())
    assert meta["iterations"] == [20, 40, 60]
    net.load_state_dict(snapshot(str(OUTPUT), 0, 20))
    assert not list(Path("states").iterdir())
    assert len(meta["history"]["0"]) == 3 and any(name.startswith("seed5/") for name in tensors)


def test_stopped_and_resumed_is_the_same(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    discriminate.run(job, [OUTPUT])
    plain = NetInTraining.step
    calls = []

    def interrupted(self: NetInTraining, state: Any, loss: Any, factor: float = 1.0) -> Any:
        calls.append(1)
        if len(calls) in (7, 90):
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, loss, factor)

    monkeypatch.setattr(NetInTraining, "step", interrupted)
    for _ in range(2):
        with pytest.raises(Stopped):
            discriminate.run(job, [Path("again.safetensors")])
    discriminate.run(job, [Path("again.safetensors")])
    assert OUTPUT.read_bytes() == Path("again.safetensors").read_bytes()


def test_on_latents_with_a_frozen_classifier(job: dict[str, Any], tmp_path: Path) -> None:
    generator, labels = torch.Generator().manual_seed(0), torch.arange(60) % 3
    pattern = 5 * torch.randn(3, 2, 8, 8, generator=generator)
    mean = pattern[labels] + torch.randn(60, 2, 8, 8, generator=generator)
    real = encoded(tmp_path / "latents.zip", mean, labels, {})
    net = {"name": "small_classifier", "channels": 8, "channel_mult": [1], "blocks": 1}
    shared = {"latent": LATENT, "disc": "noisy", "train_seeds": [1]}
    classifier = job | shared | {"role": "classifier", "net": net, "inputs": {"real": [real]}}
    discriminate.run(classifier, [Path("noisy.safetensors")])
    meta = load_arrays("noisy.safetensors")[1]
    assert meta["reports"]["1"]["accuracy"] > 0.8 and meta["net"]["image_channels"] == 2
    assert meta["reports"]["1"]["n_validation"] == 12 and "accuracy_bin3" in meta["reports"]["1"]

    both = torch.cat([mean, mean + 4])
    parts = {"parts": {"0": [0, 59], "5": [60, 119]}}
    fake = encoded(tmp_path / "fake.zip", both, labels.repeat(2), parts)
    conditional = SMALL | {"conditional": True}
    inputs = {"real": [real], "generated": [fake], "extractor": ["noisy.safetensors"]}
    for cached in (None, 2):
        guide = job | {
            "latent": LATENT,
            "net": conditional,
            "inputs": inputs,
            "train": TRAIN | {"cached_draws": cached},
        }
        discriminate.run(guide, [OUTPUT])
        meta = load_arrays(OUTPUT)[1]
        reports = meta["reports"]
        assert reports["0"]["bce"] > 0.6 and reports["5"]["bce"] < 0.5, (cached, reports)
    assert meta["net"]["extractor"]["name"] == "small_classifier" and meta["net"]["classes"] == 3
    assert load_net(OUTPUT, 5)(torch.zeros(1, 2, 8, 8), torch.ones(1), torch.tensor([1])).shape == (1,)


def test_on_a_released_classifier(job: dict[str, Any], tmp_path: Path) -> None:
    """A file of a classifier that came from elsewhere: a model, whose seed is not a discriminator's."""
    config = {
        "resolution_px": 8,
        "image_channels": 1,
        "classes": 5,
        "channels": 32,
        "channel_mult": [1],
        "blocks": 1,
    }
    found = registry.load("net", "adm_classifier")(**config, generator=torch.Generator().manual_seed(0))
    meta = {"kind": "model", "net": {"name": "adm_classifier", **config}, "seeds": [0], "released": {}}
    weights = {f"seed0/{name}": value for name, value in found.state_dict().items()}
    save_arrays(tmp_path / "released.safetensors", weights, meta)
    inputs = job["inputs"] | {"extractor": [str(tmp_path / "released.safetensors")]}
    net = {"name": "adm_discriminator", "channels": 32, "blocks": 1, "conditional": True}
    train = TRAIN | {"iterations": 30, "evaluate_every": 15, "lr": 1e-2}
    discriminate.run(job | {"net": net, "inputs": inputs, "train": train, "train_seeds": [0]}, [OUTPUT])
    tensors, about = load_arrays(OUTPUT)
    kept = {
        k.removeprefix("seed0/extractor."): v for k, v in tensors.items() if k.startswith("seed0/extractor.")
    }
    assert kept.keys() == found.state_dict().keys()
    assert all(torch.equal(value, kept[name]) for name, value in found.state_dict().items())
    assert about["reports"]["0"]["bce"] < 0.65 and about["net"]["classes"] == 3
    with pytest.raises(
        UserError, match="images are 8 px with 1 channels, its extractor was trained on 16 px"
    ):
        save_arrays(
            tmp_path / "released.safetensors", weights, meta | {"net": meta["net"] | {"resolution_px": 16}}
        )
        discriminate.run(job | {"net": net, "inputs": inputs, "train": train}, [OUTPUT])


def test_samples_are_read_by_index_and_checked(job: dict[str, Any], tmp_path: Path) -> None:
    path = job["inputs"]["generated"][0]
    found = ShardImages(path, 5, "generated")
    index = torch.tensor([59, 0, 17, 16, 0])
    assert len(found) == 60 and torch.equal(found[index], pictures(60, True, 3)[index])
    assert found.labels is not None and torch.equal(found.labels, torch.arange(60) % 3)
    with pytest.raises(UserError, match="no block 'other' of training seed 5; it has"):
        ShardImages(path, 5, "other")
    shard = tmp_path / "dg" / "seed5" / "generated" / "16-31.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"16-31\.safetensors: is not the file its manifest lists"):
        ShardImages(path, 5, "generated")
    shard.unlink()
    with pytest.raises(UserError, match="is missing"):
        ShardImages(path, 5, "generated")


def test_what_does_not_fit_is_named(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, (made,) = pictures(60, True, 1), job["inputs"]["generated"]
    bare = zipped(tmp_path / "bare.zip", real, None)
    labels = torch.arange(60) % 3
    latents = encoded(tmp_path / "latents.zip", torch.zeros(60, 2, 8, 8), labels, {})
    wide = zipped(tmp_path / "wide.zip", torch.zeros(60, 1, 16, 16, dtype=torch.uint8), labels)
    conditional = {"net": SMALL | {"conditional": True}}
    whole = {**job["inputs"]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"inputs": whole | {"real": [bare]}, **conditional}, r"bare\.zip: has no labels, and dg needs"),
        ({"classes": 2, **conditional}, "has a label 2, wanted 0 to 1"),
        ({"inputs": whole | {"real": [wide]}}, r"dg\.json: holds \(1, 8, 8\), but .*wide\.zip holds"),
        ({"inputs": whole | {"real": [latents]}}, r"latents\.zip: holds latents, wanted images"),
        ({"latent": LATENT}, r"real\.zip: holds images, wanted latents"),
        ({"latent": LATENT | {"side_px": 4}, "inputs": whole | {"real": [latents]}}, "wanted means and deviations"),
        ({"latent": LATENT, "inputs": whole | {"real": [latents]}}, r"dg\.json: is no ZIP; wanted latents"),
        ({"train_seeds": [3]}, "holds no block 'generated' of training seed 3"),
        ({"train": TRAIN | {"cached_draws": 2}}, "this net trains its features too"),
        ({"train": TRAIN | {"validation": 0.01}}, "1 to validate"),
        ({"inputs": whole | {"extractor": [made.replace(".json", "/seed0/generated/0-15.safetensors")]}}, "holds no classifier"),
        ({"net": {"name": "adm_classifier", "channels": 8}}, "net adm_classifier"),
    ]  # fmt: skip
    for change, words in cases:
        with pytest.raises(UserError, match=words):
            discriminate.run(job | change, [OUTPUT])
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match="trained by one process"):
        discriminate.run(job, [OUTPUT])


def test_parts_share_nothing_and_held_out_noise_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 6, 6)
    parts = sides.split(Side.all(images, None), TRAIN, Streams(0).order(0, 60), "real")
    ids = [set(part.index.tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert [len(part) for part in ids] == [36, 12, 12] and set.union(*ids) == set(range(60))

    def held_out(chunk: int, **changes: Any) -> Any:
        monkeypatch.setattr(sides, "CHUNK", chunk)
        found = list(parts.train.held_out(TRAIN | changes, (stream("p", 0, 1), stream("q", 0, 1)), 3))
        return [torch.cat([getattr(part, name) for part in found]) for name in ("x", "sigma")], len(found)

    (x, sigma), one = held_out(512)
    (again, same), four = held_out(32)
    assert (one, four) == (1, 4) and x.shape == (108, 1, 6, 6)
    assert torch.equal(x, again) and torch.equal(sigma, same)  # for any chunk size
    whole = stream("p", 0, 1)  # all levels first, then all noise, as if drawn at once
    assert torch.equal(sigma, levels(108, TRAIN, whole))
    noise = torch.randn(108, 1, 6, 6, generator=whole)
    once = (parts.train.index / 127.5 - 1).repeat(3)[:, None, None, None]
    assert torch.equal(x, once + sigma[:, None, None, None] * noise)
    assert len(sigma.unique()) == 108 and float(sigma.min()) >= 0.05 and float(sigma.max()) <= 2
    clean = parts.train.index / 127.5 - 1
    assert torch.equal(held_out(32, sigma_max=0)[0][0][:, 0, 0, 0], clean.repeat(3))
    once = parts.train.noisy(TRAIN | {"sigma_max": 0}, torch.Generator())
    assert torch.equal(once.x[:, 0, 0, 0], clean)


def test_large_examples_come_in_smaller_chunks() -> None:
    blank = torch.zeros(1, dtype=torch.uint8).expand(40, 3, 512, 512)
    assert sides._chunk(blank) == 16 and sides._chunk(blank[:, :1, :64, :64]) == 512
