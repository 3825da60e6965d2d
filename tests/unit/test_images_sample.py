"""Sampling of images: what a sample depends on, which nets are taken, and boosting."""

import pytest
import torch

from guidelab.cli.images import sample
from guidelab.cli.images.sample import image_nets, maker, run, to_uint8
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.nets.edm2 import Edm2
from guidelab.nets.small_discriminator import SmallDiscriminator
from guidelab.shards import Shard, load_manifest, read_block

NET = {
    "resolution_px": 8,
    "image_channels": 1,
    "channels": 16,
    "channel_mult": [1.0],
    "blocks": 1,
    "attention_px": [],
}
DISC = {"channels": 8, "resolution_px": 8, "image_channels": 1}
SAMPLER = {"name": "heun", "steps": 6, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "dtype": "float32"}


def net_file(path, seed, classes):
    net = Edm2(classes=classes, **NET, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():  # a fresh EDM2 net answers nothing: its output gain is 0
        net.unet.out_gain.fill_(0.5)
    config = {"name": "edm2", "classes": classes, **NET}
    tensors = {f"seed0/{k}": v for k, v in net.state_dict().items()}
    save_arrays(path, tensors, {"kind": "model", "net": config, "seeds": [0]})


@pytest.fixture
def files(tmp_path):
    net_file(tmp_path / "main.safetensors", 0, 10)
    net_file(tmp_path / "ref.safetensors", 1, 0)
    state = {}
    for kept, seed in (("", 0), ("it20/", 1)):
        torch_generator = torch.Generator().manual_seed(seed)
        disc = SmallDiscriminator(**DISC)
        values = {
            k: torch.randn(v.shape, generator=torch_generator) * 0.3
            for k, v in disc.state_dict().items()
            if v.is_floating_point()
        }
        state |= {f"{kept}seed0/{k}": values.get(k, v) for k, v in disc.state_dict().items()}
    about = {"net": {"name": "small_discriminator", **DISC}, "seeds": [0], "iterations": [20]}
    save_arrays(tmp_path / "disc.safetensors", state, about)
    return tmp_path


def term(method, weight, **more):
    base = {
        "method": method,
        "ref": None,
        "disc": None,
        "weight": weight,
        "sigma_lo": 0.0,
        "sigma_hi": None,
        "stages": "both",
    }
    return base | more


def job(files, terms, labels="random", **more):
    degrade = {name: {"dropout": 0.0, "input_noise": 0.0} for name in ("main", "ref")}
    inputs = {"model:main": [str(files / "main.safetensors")], "model:ref": [str(files / "ref.safetensors")]}
    inputs["disc:guide"] = [str(files / "disc.safetensors")]
    discs = {"guide": {"role": "guide", "seed": None, "iterations": None}}
    return {
        "variant": "x", "main": "main", "terms": terms, "degrade": degrade, "labels": labels, "sampler": SAMPLER,
        "inputs": inputs, "discs": discs, "train_seeds": [0], "blocks": {"a": [0, 9], "b": [100, 104]}, "shard": 4, "code": "c",
    } | more  # fmt: skip


def drawn(found, first, last):
    return maker(found, image_nets(found, 0), Shard(0, "a", first, last))(first, last)


CFG = [term("reference", 2.0, ref="ref")]
DG = term("discriminator", 2.0, disc="guide", sigma_lo=0.01, sigma_hi=10.0)


@pytest.mark.parametrize(
    "terms",
    [[], CFG, [DG], [DG | {"stages": "first", "boost": True}, *CFG]],
    ids=["none", "cfg", "dg", "boost"],
)
def test_a_sample_depends_on_its_seed_alone(files, terms, monkeypatch):
    """Whatever the batch and whoever is drawn beside it: equal to rounding, labels equal."""
    found = job(files, terms)
    whole, labels = drawn(found, 0, 9)
    monkeypatch.setattr(sample, "BATCH", 3)
    parts = [drawn(found, a, b) for a, b in ((0, 4), (5, 9))]
    assert torch.equal(torch.cat([p[1] for p in parts]), labels) and labels.unique().numel() > 2
    difference = (torch.cat([p[0] for p in parts]).int() - whole.int()).abs()
    assert int(difference.max()) <= 1 and whole.float().std() > 5


def test_all_methods_start_from_the_same_noise_and_labels(files):
    (plain, labels), (guided, again) = drawn(job(files, []), 0, 9), drawn(job(files, CFG), 0, 9)
    assert torch.equal(labels, again) and not torch.equal(plain, guided)
    neutral, _ = drawn(job(files, [term("reference", 1.0, ref="ref")]), 0, 9)
    assert torch.equal(neutral, plain)


def test_boosting_changes_samples_and_keeps_labels(files):
    first = DG | {"stages": "first"}
    (plain, labels), (boosted, again) = (
        drawn(job(files, [first]), 0, 9),
        drawn(job(files, [first | {"boost": True}]), 0, 9),
    )
    assert torch.equal(labels, again) and not torch.equal(plain, boosted)


def test_a_guide_may_be_taken_after_fewer_iterations(files):
    best = job(files, [DG])
    early = job(files, [DG], discs={"guide": {"role": "guide", "seed": None, "iterations": 20}})
    assert not torch.equal(drawn(best, 0, 4)[0], drawn(early, 0, 4)[0])
    absent = job(files, [DG], discs={"guide": {"role": "guide", "seed": None, "iterations": 30}})
    with pytest.raises(UserError, match=r"keeps nothing after 30 iterations .*\[20\]"):
        image_nets(absent, 0)


def test_an_unconditional_sampler_has_no_labels(files):
    found = job(files, [], labels=None, main="ref")
    images, labels = drawn(found, 0, 4)
    assert labels is None and images.shape == (5, 1, 8, 8)


def test_a_job_writes_its_manifest_and_goes_on_where_it_was(files, monkeypatch):
    found, path = job(files, CFG), files / "seed0.json"
    run(found, [path])
    before = path.read_bytes()
    about = load_manifest(path)
    assert [s["n"] for s in about["shards"]] == [4, 4, 2, 4, 1] and about["terms"][0]["weight"] == 2.0
    (files / "seed0/seed0/b/100-103.safetensors").unlink()
    path.unlink()
    made = []
    real = sample.write_shard
    monkeypatch.setattr(sample, "write_shard", lambda *given: made.append(real(*given)))
    run(found, [path])
    assert made == [False, False, False, True, False] and path.read_bytes() == before
    assert torch.equal(read_block(path, 0, "b")[0], drawn(found, 100, 104)[0])


def test_bytes_are_rounded_as_edm_does():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.5, 1.0, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 191, 255, 255]
