"""Low precision and other devices: as far as a CPU can show it, and on a GPU where there is one."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_cases import NETS, same, train

from guidelab import registry
from guidelab.train.discriminators import train_discriminator
from guidelab.train.distributed import TrainingGroup
from guidelab.train.draws import Streams
from guidelab.train.early import Outcome
from guidelab.train.objectives import Objective, Recipe
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.sides import Side
from guidelab.train.step import Trainer
from guidelab.train.stop import Stopped

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def near(one: list[Any], two: list[Any], rel: float) -> None:
    assert [row[3] for row in one] == pytest.approx([row[3] for row in two], rel=rel)


@pytest.mark.parametrize("half", list(HALVES))
@pytest.mark.parametrize("net", list(NETS))
def test_nets_train_in_halves(net: str, half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train(tmp_path / "plain", net, nimg=32, snapshot_nimg=32)[2]
    monkeypatch.setattr(Objective, "_autocast", lambda *_: torch.autocast("cpu", HALVES[half]))
    tensors, meta, found = train(tmp_path / "half", net, nimg=32, snapshot_nimg=32)
    near(found, plain, 0.02)
    assert meta["nonfinite_gradients"] == {"0": 0} and found != plain
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float32}


def test_scaled_gradients_train_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _, curve = train(tmp_path / "plain", "edm2")
    monkeypatch.setattr(Recipe, "scale", lambda *_: 128.0)
    scaled, _, found = train(tmp_path / "scaled", "edm2")
    near(found, curve, 1e-6)
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value, rtol=1e-4, atol=1e-6)
    assert Recipe("vp", "float16", 0).loss == "vp"


def test_only_half_precision_on_a_gpu_is_scaled() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert Recipe("edm", "float16", 0).scale(cuda) == 128 and Recipe("edm", "float16", 0).scale(cpu) == 1
    assert Recipe("edm", "bfloat16", 0).scale(cuda) == 1
    assert Precision(cuda, "float16").half == torch.float16 and Precision(cpu, "float16").half is None
    assert isinstance(Precision(cpu, "bfloat16").arithmetic(), contextlib.nullcontext)


def test_a_discriminators_scaled_gradients_are_its_gradients() -> None:
    class Pretended(Precision):
        half = torch.float16  # type: ignore[assignment]

    def trained(precision: Precision) -> Any:
        net = nn.Linear(3, 1)
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]])), net.bias.zero_()
        found = NetInTraining(net, precision, 0.1, 0.0)
        state, loss = found.step(found.adam.initial(), lambda: (net(torch.ones(4, 3)) ** 2).mean())
        return net.weight.grad, state["param/weight"], loss

    plain, scaled = (trained(kind(torch.device("cpu"), "float16")) for kind in (Precision, Pretended))
    for one, two in zip(plain, scaled, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize("precision", ["float32", *HALVES])
@pytest.mark.parametrize("net", list(NETS))
def test_a_gpu_trains_as_a_cpu(
    net: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = TrainingGroup(device=torch.device("cuda", 0))
    options: dict[str, Any] = {"lr": 1e-3, "precision": precision, "microbatch": 4}
    cpu = train(tmp_path / "cpu", net, **options)[2]
    straight, about, found = train(tmp_path / "gpu", net, group=group, **options)
    near(found, cpu, 1e-3 if precision == "float32" else 0.03)
    assert about["nonfinite_gradients"] == {"0": 0}
    plain = Trainer.step

    def interrupted(self: Trainer, state: Any, iteration: int) -> Any:
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(Stopped):
        train(tmp_path / "again", net, group=group, **options)
    monkeypatch.setattr(Trainer, "step", plain)
    resumed, _, rest = train(tmp_path / "again", net, group=group, **options)
    near(rest, found, 1e-4 if precision == "float32" else 0.01)
    assert resumed.keys() == straight.keys() and not same(resumed, {})


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize("precision", ["float32", *HALVES])
@pytest.mark.parametrize("cached", [None, 2])
def test_a_discriminator_on_a_gpu_separates_sides(precision: str, cached: int | None, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "lr": 3e-3, "batch": 32, "iterations": 60, "evaluate_every": 20, "patience": 3, "sigma_min": 0.05,
        "sigma_max": 2.0, "validation": 0.2, "test": 0.2, "cached_draws": cached,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 120, (60, 1, 8, 8), generator=generator, dtype=torch.uint8)
    fake = real.clone()
    real[:, :, :4] += 120
    fake[:, :, 4:] += 120
    encoder = {
        "resolution_px": 8,
        "image_channels": 1,
        "classes": 5,
        "channels": 32,
        "channel_mult": [1],
        "blocks": 1,
    }
    net = registry.load("net", "adm_discriminator")(8, 1, encoder, channels=32, blocks=1, generator=generator)
    where = Precision(torch.device("cuda", 0), precision)
    sides = [Side.all(images, None) for images in (real, fake)]
    found: tuple[Any, Any, Outcome] = train_discriminator(
        config, net, *sides, Streams(0), tmp_path, where, progress=False
    )
    assert found[1]["accuracy"] > 0.8 and all(value.device.type == "cpu" for value in found[0].values())
