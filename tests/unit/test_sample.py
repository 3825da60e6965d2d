"""Sampling of images: what a sample depends on, restarts, processes that share shards, latents, both uint8 rules.

What must never happen: a sample that depends on its batch, shard or process; methods that start from different noise or
labels; a discriminator other than the one named; bytes by another rule; a shard kept from another sampler.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from sampling_jobs import (
    CFG,
    DDIM,
    DDPM,
    DEGRADED,
    DG,
    DIT_CFG,
    HEUN,
    dit_job,
    job,
    save_net,
    term,
)

from guidelab.assemble import load_nets
from guidelab.compute import workers
from guidelab.compute.processes import ProcessGroup
from guidelab.core.chain import respaced, schedule_of
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers.chain import ddpm
from guidelab.core.schedules import edm_sigmas
from guidelab.data.image_set import ImageSet
from guidelab.data.image_zip import write_zip
from guidelab.errors import UserError
from guidelab.io.shards import load_manifest, read_block, split
from guidelab.jobs.sample import run
from guidelab.nets.dit import Dit
from guidelab.sampling import draw, latents
from guidelab.sampling.pixels import Pixels, rounded, truncated

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GUIDELAB_DEVICE", "GUIDELAB_COMPILE"):
        monkeypatch.delenv(name, raising=False)


class Floats:
    """Samples before they become bytes."""

    finite = False

    def decode(self, x):
        return x.double()


def loaded(found):
    return load_nets(found["inputs"], 0, found["discs"])


def drawing(found, codec=None):
    return draw.drawing(found, loaded(found), CPU, codec or Pixels(found, CPU))


def floats(found, first, last):
    return drawing(found, Floats())(first, last)


CASES = {
    "none": lambda f: job(f, []),
    "heun": lambda f: job(f, CFG),
    "dg": lambda f: job(f, [*CFG, *DG]),
    "boost": lambda f: job(f, [DG[0] | {"boost": True}]),
    "degraded": lambda f: job(f, CFG, degrade=DEGRADED),
    "ddpm": lambda f: dit_job(f),
    "ddim": lambda f: dit_job(f, sampler=DDIM),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_sample_depends_on_its_seed_alone(small_nets, case):
    """For any batch and shard: equal to rounding (1 of 255 where a byte's edge is crossed), labels equal."""
    found = CASES[case](small_nets)
    whole, labels = floats(found | {"batch": 10}, 0, 9)
    parts = [floats(found | {"batch": b}, *ends) for b, ends in ((2, (0, 4)), (3, (5, 9)))]
    assert torch.equal(torch.cat([p[1] for p in parts]), labels) and labels.unique().numel() > 2
    again = torch.cat([p[0] for p in parts])
    assert torch.allclose(again, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 10


def test_all_methods_start_from_the_same_noise_and_labels(small_nets):
    (plain, labels), (guided, again) = (drawing(job(small_nets, terms))(0, 9) for terms in ([], CFG))
    assert torch.equal(labels, again) and not torch.equal(plain, guided)


def test_an_unconditional_sampler_has_no_labels(small_nets):
    images, labels = drawing(job(small_nets, [], labels=None, main="blind"))(0, 4)
    assert labels is None and images.shape == (5, 3, 8, 8)


def test_a_guide_may_be_taken_after_fewer_iterations(small_nets):
    early = {"guide": {"role": "guide", "seed": None, "iterations": 20}}
    both = [drawing(job(small_nets, DG, **more))(0, 4)[0] for more in ({}, {"discs": early})]
    assert not torch.equal(*both)
    absent = job(small_nets, DG, discs={"guide": {"role": "guide", "seed": None, "iterations": 30}})
    with pytest.raises(UserError, match=r"keeps nothing after 30 iterations .*\[20\]"):
        loaded(absent)


def test_the_guide_that_is_called_without_a_class_is_the_null_class(small_nets):
    """Guidance by a net called with None equals guidance written out with the label that means no class."""
    found = dit_job(small_nets, batch=4)
    images, labels = floats(found, 0, 3)
    net = loaded(found).models["dit"]
    noise = SeededNoise(range(4))
    start = noise.randn((4, 8, 8))
    assert torch.equal(noise.randint(4), labels)

    def guided(x, sigma, cond):
        main = net(x, sigma, cond)
        return main + 0.5 * (main - net(x, sigma, torch.full_like(cond, 4)))

    def variance(x, sigma, cond, lo, hi):
        return net.log_variance(x, sigma, cond, lo, hi)

    chain = respaced(schedule_of("linear"), 8)
    expected = ddpm(
        guided, start, chain, labels, variance=variance, noise=lambda step: noise.randn((4, 8, 8))
    )
    assert torch.allclose(images, expected.double(), rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_main_nets_variance_costs_no_second_forward(small_nets, monkeypatch):
    calls = []
    raw = Dit.raw
    monkeypatch.setattr(Dit, "raw", lambda *a: calls.append(1) or raw(*a))
    floats(dit_job(small_nets, batch=4), 0, 3)
    assert len(calls) == 8 * 2  # main and guide, once a step


def test_neutral_guidance_is_no_guidance(small_nets):
    images, _ = drawing(dit_job(small_nets))(0, 4)
    plain, _ = drawing(dit_job(small_nets, []))(0, 4)
    neutral, _ = drawing(dit_job(small_nets, [term("reference", 1.0, ref="null")]))(0, 4)
    assert torch.equal(neutral, plain) and not torch.equal(images, plain)


@pytest.mark.parametrize(("case", "uint8"), [("heun", "edm"), ("heun", "truncate"), ("ddpm", "edm")])
def test_shards_are_made_once_and_again_when_cut(small_nets, tmp_path, case, uint8):
    found, output = CASES[case](small_nets) | {"uint8": uint8}, tmp_path / "part.json"
    run(found, [output])
    content = load_manifest(output)
    assert [s["n"] for s in content["shards"]] == [4, 4, 2, 4, 1] and content["precision"] == "float32"
    assert content["device"] == "cpu"
    images, labels = read_block(output, 0, "a")
    assert images.shape[0] == len(labels) == 10
    paths = sorted((tmp_path / "part").rglob("*.safetensors"))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}
    paths[0].unlink()
    paths[1].write_bytes(before[paths[1]][0][:100])
    run(found, [output])
    for path, (content, when) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == when) == (path not in paths[:2])
    run(found | {"code": "other"}, [output])
    assert all(p.stat().st_mtime_ns != before[p][1] for p in paths)


def test_two_processes_write_the_same_bytes_as_one(small_nets, tmp_path):
    found = job(small_nets, CFG)
    run(found, [tmp_path / "one.json"])
    started = [launched(found, tmp_path / "two.json", rank, 2) for rank in (1, 0)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    one, two = (tmp_path / name for name in ("one", "two"))
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(two)) for p in two.rglob("*") if p.is_file()) and len(names) == 5
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in names)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def launched(found, output, rank, size):
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom guidelab.jobs.sample import run\n"
        "run(json.loads(sys.argv[1]), [Path(sys.argv[2])])"
    )
    environ = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    command = [sys.executable, "-c", code, json.dumps(found), str(output)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_first_process_names_the_failed_one(small_nets, tmp_path, monkeypatch):
    folder, here = tmp_path / "part", ProcessGroup(0, 2, 0)
    with pytest.raises(RuntimeError), workers.present(folder, ProcessGroup(1, 2, 1)):
        raise RuntimeError("disk full")
    shards = split(0, "a", [0, 7], 4)
    with pytest.raises(UserError, match="process 1 of 2 failed: RuntimeError: disk full"):
        workers.wait(folder, shards, {}, here, began=0.0)
    clock = iter(range(1000))
    with pytest.raises(UserError, match=r"2 of 2 shards are missing, those of process \[0, 1\]") as message:
        workers.wait(
            folder, shards, {}, here, began=1e12, now=lambda: float(next(clock)), sleep=lambda s: None,
            patience_s=5.0,
        )  # fmt: skip
    assert "A process ended or hangs" in str(message.value)


def test_shares_cover_every_shard_once():
    shards = split(0, "a", [0, 99], 7)
    parts = [workers.share(shards, ProcessGroup(r, 4, r)) for r in range(4)]
    assert sorted(s.first for part in parts for s in part) == [s.first for s in shards]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_truncation_is_adms_and_differs_from_edms():
    x = torch.tensor([-1.2, -1.0, 0.0, 0.9999, 1.0])
    assert truncated(x).tolist() == [0, 0, 127, 254, 255]
    assert rounded(torch.tensor([-2.0, -0.999, 0.5, 3.0])).tolist() == [0, 0, 191, 255]  # clipped
    assert rounded(x).tolist() == [0, 0, 128, 255, 255]


def test_latents_are_decoded_in_batches(small_nets, tmp_path, monkeypatch):
    asked = []

    class Half:
        def decode(self, x, encoding, batch):
            asked.append((len(x), encoding, batch))
            return torch.full((len(x), 3, 16, 16), 7, dtype=torch.uint8)

    monkeypatch.setattr(latents, "load_autoencoder", lambda path, where: Half())
    (tmp_path / "vae").write_text("x")
    found = dit_job(
        small_nets,
        codec="latents",
        latent={"autoencoder": "vae", "encoding": "ldm", "side_px": 8, "channels": 4},
    )
    found["inputs"]["autoencoder"] = [str(tmp_path / "vae")]
    run(found, [tmp_path / "part.json"])
    images, _ = read_block(tmp_path / "part.json", 0, "a")
    assert images.shape == (10, 3, 16, 16) and asked[:2] == [(3, "ldm", 2), (1, "ldm", 2)]
    assert load_manifest(tmp_path / "part.json")["autoencoder_sha256"]


def test_a_sampler_that_does_not_fit_the_net_is_refused(small_nets, tmp_path):
    with pytest.raises(UserError, match=r"was trained with linear.*schedule: linear"):
        drawing(dit_job(small_nets, sampler=DDPM | {"schedule": "cosine"}))
    with pytest.raises(UserError, match="no whole stride"):
        drawing(dit_job(small_nets, sampler=DDIM | {"steps": 64}))
    with pytest.raises(UserError, match="`boost` needs the sampler heun"):
        drawing(job(small_nets, [DG[0] | {"boost": True}], DDPM))


def test_noise_levels_are_rounded_to_those_of_the_net(small_nets, tmp_path):
    from guidelab.nets.edm import Edm

    config = {"resolution_px": 8, "image_channels": 3, "classes": 0, "architecture": "adm", "precond": "iddpm",
              "channels": 32, "channel_mult": [1], "blocks": 1, "attention_px": []}  # fmt: skip
    net = Edm(**config, generator=torch.Generator().manual_seed(0)).eval()
    save_net(tmp_path / "main.safetensors", net, {"name": "edm", **config})
    try:
        found = drawing(job(tmp_path, [], models=("main",), labels=None))
    except UserError as error:
        if "net 'edm' is not known" in str(error):
            pytest.skip("the net has no entry in the registry yet")
        raise
    known = torch.tensor(found.sampler.sigmas[:-1], dtype=torch.float64)
    assert torch.allclose(net.round_sigma(known).double(), known) and found.sampler.sigmas[-1] == 0
    plain = edm_sigmas(4, net.sigma_range[0], 80.0, 7.0)
    assert not torch.equal(known, plain[:-1]) and torch.allclose(known, plain[:-1], rtol=0.1)


def test_too_little_memory_names_the_setting_to_lower(small_nets, monkeypatch):
    found = drawing(job(small_nets, CFG))

    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(draw.Drawing, "solve", full)
    with pytest.raises(UserError, match=r"out of memory.*Lower `batch` \(now 3\)"):
        found(0, 3)


def test_a_term_may_be_on_in_part_of_a_chain(small_nets):
    inside = term("reference", 3.0, ref="null", sigma_lo=0.5, sigma_hi=5.0)
    images = [drawing(dit_job(small_nets, terms))(0, 2)[0] for terms in ([], [inside], DIT_CFG)]
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])


def test_boosting_changes_images_and_keeps_labels(small_nets):
    images = [
        drawing(job(small_nets, [DG[0] | more], HEUN | {"steps": 12}))(0, 5) for more in ({}, {"boost": True})
    ]
    assert not torch.equal(images[0][0], images[1][0]) and torch.equal(images[0][1], images[1][1])


def test_real_images_can_be_used_as_samples(tmp_path):
    """All of a fold before any twice, in an order that is not the fold's; with labels."""
    images = torch.arange(12)[:, None, None, None].expand(12, 3, 8, 8).to(torch.uint8)
    write_zip(tmp_path / "fold.zip", ImageSet(images, torch.arange(12) % 4, tuple(map(str, range(12)))))
    found = job(tmp_path, [], real="validation", blocks={"a": [5, 12], "b": [100, 103]})
    found["inputs"] = {"images": [str(tmp_path / "fold.zip")]}
    run(found, [tmp_path / "part.json"])
    (a, labels), (b, _) = (read_block(tmp_path / "part.json", 0, name) for name in "ab")
    seen = [*a[:, 0, 0, 0].tolist(), *b[:, 0, 0, 0].tolist()]
    assert sorted(seen) == list(range(12)) and seen != sorted(seen)
    assert torch.equal(labels, a[:, 0, 0, 0].long() % 4)
    assert load_manifest(tmp_path / "part.json")["real"] == "validation"
    with pytest.raises(UserError, match=r"block 'a' wants 13 images, but .*fold.zip holds 12"):
        run(found | {"blocks": {"a": [0, 12]}}, [tmp_path / "more.json"])
