"""What `import guidelab` refuses in one message, and on which device it computes."""

import numpy as np
import pytest
import torch

import guidelab
from guidelab.api.arguments import device_of
from guidelab.features.extractor import Extracted
from guidelab.study import measured

SIDE = 8
ONE = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)


def pipeline(folder, scheduler):
    """A folder of a pipeline with an empty model."""
    (folder / "unet").mkdir()
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(scheduler)


def zeros(n):
    return torch.zeros(n, dtype=torch.int64)


def trained(**options):
    points = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    return guidelab.train_discriminator(
        guidelab.build_net("toy_discriminator", width=4, layers=1, seed=0), points, points + 1, **options
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda net: guidelab.sample(net, range(2), step=4), "option 'step'.*steps"),
        (lambda net: guidelab.sample(net, range(2), steps=0), "steps: given 0"),
        (lambda net: guidelab.sample(net, [3, 2]), "ascending"),
        (lambda net: guidelab.sample(net, range(2), labels=2), "class from 0 to 1"),
        (lambda net: guidelab.sample(net, range(2), sampler="huen"), "heun"),
        (lambda net: guidelab.evaluate("nowhere", "nowhere", features="tiny"), "nowhere: is not there"),
        (lambda net: guidelab.evaluate("a", "b", metrics=["fdi"]), "fid"),
        (lambda net: guidelab.from_diffusers("nowhere"), "nowhere: is no folder of a diffusers pipeline"),
        (lambda net: guidelab.load_denoiser("nowhere.pkl"), "no such file"),
        (lambda net: guidelab.build_net("emd2"), "edm2"),
        (lambda net: guidelab.results.load("toy2d", "tabel"), "table"),
        (lambda net: guidelab.train_discriminator(net, torch.zeros(9, 2), torch.zeros(9, 3)), "one shape"),
        (lambda net: guidelab.sample(net, range(2), batch=0), "batch 0, wanted a whole number from 1"),
        (lambda net: guidelab.sample(net, [2**63]), "seed 9223372036854775808, wanted .* to 4294967295"),
        (lambda net: guidelab.sample(net, [0.5]), "seed 0.5, wanted a whole number"),
        (lambda net: guidelab.sample(net, range(2), labels=np.int64(2)), "class from 0 to 1"),
        (lambda net: trained(evaluate_every=0), "evaluate_every 0, wanted a whole number from 1"),
        (lambda net: trained(iterations=0), "iterations 0, wanted a whole number from 1"),
        (lambda net: trained(batch=1), "batch 1, wanted a whole number from 2"),
        (lambda net: trained(sigma_min=2.0, sigma_max=1.0), "sigma_min 2.0, sigma_max 1.0; wanted"),
        (lambda net: trained(labels=(zeros(100), zeros(99))), r"int64 \(100,\), torch.int64 \(99,\), wanted"),
        (lambda net: trained(labels=(zeros(100), [0] * 100)), "list, wanted"),
        (lambda net: guidelab.evaluate(torch.zeros(9, 3, 8, 8), "b", features="tiny"), "float32 .* wanted uint8"),
        (lambda net: guidelab.evaluate(ONE, ONE, features="tiny"), "1 images, wanted at least 2"),
        (lambda net: guidelab.results.load("toy2d", ["a"]), "given .'a'., wanted measurements"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(call, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    net = guidelab.denoiser(lambda x, sigma, cond: x, (2,), classes=2)
    with pytest.raises(guidelab.UserError, match=said) as raised:
        call(net)
    assert "\n" not in str(raised.value)


def test_a_class_may_be_of_any_integer_type():
    net = guidelab.denoiser(lambda x, sigma, cond: cond[:, None] + 0 * x, (2,), classes=3)
    given = [guidelab.sample(net, range(3), labels=label, steps=2).x for label in (np.int64(2), 2)]
    assert given[0].equal(given[1]) and given[0].sub(2).abs().max() < 0.01


@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda", "wants GPU 0, but this machine has 0"), ("gpu", "is no device; wanted cpu, cuda or cuda:1")],
)
def test_devices_that_are_not_there_are_refused(monkeypatch, tmp_path, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    pipeline(tmp_path, "{}")
    net = guidelab.denoiser(lambda x, sigma, cond: x, (2,))
    calls = {
        "sample": lambda: guidelab.sample(net, range(2), device=device),
        "train_discriminator": lambda: trained(device=device),
        "load_denoiser": lambda: guidelab.load_denoiser("net.pkl", device=device),
        "from_diffusers": lambda: guidelab.from_diffusers(tmp_path, device=device),
    }
    for where, call in calls.items():
        with pytest.raises(guidelab.UserError, match=f"^{where}: device '{device}': .*{said}"):
            call()


def test_cuda_without_an_index_is_the_first_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(device_of("sample", "cuda")) == "cuda:0" and str(device_of("sample", "cuda:1")) == "cuda:1"


def test_images_of_the_caller_are_moved_to_the_extractor(monkeypatch):
    monkeypatch.setenv("GUIDELAB_DEVICE", "meta")
    images = torch.zeros(70, 3, SIDE, SIDE, dtype=torch.uint8)
    found = guidelab.extractor("tiny")
    assert found(images).features.device.type == "meta"
    assert found.name == "tiny" and found.sha256.startswith("tiny:")
    random = torch.Generator().manual_seed(0)

    class Stub:
        name, sha256 = "stub", "stub:"

        def __call__(self, batch):
            assert batch.device.type == "meta"
            return Extracted(torch.randn(len(batch), 4, generator=random))

    monkeypatch.setattr(measured, "extractor_of", lambda name: (name, Stub()))
    assert guidelab.evaluate(images, images, metrics=["fid"])["fid"].value > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not JSON", "cannot be read .*wanted a JSON object"),
        ("[]", "holds a list, wanted a JSON object"),
        ('{"prediction_type": []}', r"prediction_type \[\], wanted epsilon or v_prediction"),
        ('{"prediction_type": "sample"}', "prediction_type 'sample', wanted epsilon"),
    ],
)
def test_a_broken_scheduler_is_refused(tmp_path, text, said):
    pipeline(tmp_path, text)
    with pytest.raises(guidelab.UserError, match=f"scheduler_config.json: {said}"):
        guidelab.from_diffusers(tmp_path)
