"""The step of a training and its recipe: EDM2's, written out again with torch; what a state is; resumed trainings."""

import inspect
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_cases import CONFIG, NET, pictures, same, trainer
from training_cases import train as train_net

from guidelab.core.ema import beta, reconstruct, std_to_gamma
from guidelab.errors import UserError
from guidelab.nets.edm2 import Edm2
from guidelab.train.images import Data
from guidelab.train.masks import dropout_masks
from guidelab.train.rate import learning_rate
from guidelab.train.step import Trainer
from guidelab.train.stop import Stopped
from guidelab.train.streams import stream


def train(folder: Path, seeds=(0,), **changes: Any) -> Any:
    return train_net(folder, "edm2", seeds, **changes)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(tmp_path_factory.mktemp("straight"), [0, 3])


def test_names_description_and_curve(straight: Any) -> None:
    tensors, meta, curve = straight
    assert meta["nimg"] == [32, 64, 96] and meta["seeds"] == [0, 3] and meta["ema_stds"] == [0.05, 0.10]
    assert [row[:3] for row in curve] == [(0, 12, 96), (3, 12, 96)]
    assert meta["nonfinite_gradients"] == {"0": 0, "3": 0}
    config = dict(meta["net"])
    assert config.pop("name") == "edm2" and config["classes"] == 3 and config["image_channels"] == 1
    assert config["resolution_px"] == 8 and config["sigma_data"] == 0.5
    net = Edm2(**config)
    for seed in (0, 3):
        prefix = f"seed{seed}/ema0.100/nimg64/"
        net.load_state_dict({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
    assert len(tensors) == 2 * 2 * 3 * len(net.state_dict())
    assert set(config) | {"generator"} == set(inspect.signature(Edm2).parameters)


def test_seeds_are_apart_and_do_not_touch_one_another(straight: Any, tmp_path: Path) -> None:
    alone, _, curve = train(tmp_path, [3])
    together = {name: value for name, value in straight[0].items() if name.startswith("seed3/")}
    assert same(alone, together) and curve == straight[2][1:]
    name = next(name for name in alone if name.endswith("weight"))
    assert not torch.equal(alone[name], straight[0][name.replace("seed3", "seed0")])


@pytest.mark.parametrize("at", [0, 5, 7, 11])
def test_interrupted_anywhere_equals_uninterrupted(
    straight: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    plain = Trainer.step

    def interrupted(self: Trainer, state: Any, iteration: int) -> Any:
        if iteration == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(Trainer, "step", interrupted)
    if at < 11:  # a request during the last iteration has nothing to stop
        with pytest.raises(Stopped, match=f"stopped after {at + 1} of 12"):
            train(tmp_path)
    monkeypatch.setattr(Trainer, "step", plain)
    resumed, _, curve = train(tmp_path)
    assert same(resumed, {n: v for n, v in straight[0].items() if n.startswith("seed0/")})
    assert curve == straight[2][:1]


def test_the_state_is_everything() -> None:
    """A step depends on the state it is given and the iteration's number, on nothing the trainer did before."""
    one, two = trainer(dropout=0.2), trainer(dropout=0.2)
    for iteration in range(4):
        one.step(one.live, iteration)
    kept = {name: value.clone() for name, value in one.live.items()}
    first = {name: value.clone() for name, value in one.step(one.live, 4)[0].items()}
    one.step(one.live, 5)
    two.step(two.live, 0)  # has done something else before
    assert same(first, two.step(kept, 4)[0]) and same(first, one.step(kept, 4)[0])


def test_follows_the_recipe_written_with_torch_optim(tmp_path: Path) -> None:
    """Six iterations against `torch.optim.Adam`, averages kept one by one, and the loss written out."""
    found, _, curve = train(tmp_path, [2], nimg=48, snapshot_nimg=48)
    images, labels = pictures()
    net = Edm2(8, 1, 3, **{k: v for k, v in NET.items() if k != "name"}, generator=stream("image weights", 2))
    optimiser = torch.optim.Adam(net.train().parameters(), betas=(0.9, 0.99), eps=1e-8)
    averages = {std: [p.detach().clone() for p in net.parameters()] for std in CONFIG["ema_stds"]}
    order = torch.cat([torch.randperm(20, generator=stream("image order", 2, epoch)) for epoch in range(3)])
    losses = []
    for iteration in range(6):
        seen = iteration * 8
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 / math.sqrt(max(seen / 32, 1)) * min(seen / 24, 1)
        index = order[seen : seen + 8]
        y = images[index] / 127.5 - 1
        sigma = torch.exp(-0.4 + 1.0 * torch.randn(8, generator=stream("image sigma", 2, iteration)))
        noise = torch.randn(32, 1, 8, 8, generator=stream("image noise", 2, iteration))[:8]
        s = sigma[:, None, None, None]
        weight, u = (s**2 + 0.25) / (s * 0.5) ** 2, net.logvar(sigma)[:, None, None, None]
        loss = (weight / u.exp() * (net(y + s * noise, sigma, labels[index]) - y) ** 2 + u).sum() / 8
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        for std, mean in averages.items():
            decay = float(beta(seen + 8, 8, std_to_gamma(std)))
            for a, p in zip(mean, net.parameters(), strict=True):
                a.mul_(decay).add_(p.detach(), alpha=1 - decay)
    assert curve[-1][3] == pytest.approx(sum(losses) / 6, rel=1e-4)
    for std, mean in averages.items():
        for (name, _), value in zip(net.named_parameters(), mean, strict=True):
            ours = found[f"seed2/ema{std:.3f}/nimg48/{name}"]
            assert (ours - value).norm() <= 1e-4 * value.norm() + 1e-6, name
    for name, value in net.named_buffers():
        assert torch.equal(found[f"seed2/ema0.050/nimg48/{name}"], value)


def test_every_pass_has_dropout_masks_of_its_own() -> None:
    net, seeds = nn.Module(), []
    net.dropout_generator = None
    for index in (0, 1, 0):
        with dropout_masks(net, torch.device("cpu"), stream("image dropout", 3, index)):
            seeds.append(net.dropout_generator.initial_seed())
    assert seeds[0] == seeds[2] != seeds[1]


def test_microbatches_add_up_to_the_batch() -> None:
    whole, pieces = trainer(), trainer(microbatch=2)
    for iteration in range(4):
        loss, again = whole.step(whole.live, iteration)[1], pieces.step(pieces.live, iteration)[1]
        torch.testing.assert_close(again, loss, rtol=1e-5, atol=0)
    for name in ("flat", "first", "ema0.050"):
        one, two = whole.live[name], pieces.live[name]
        assert (one - two).norm() <= 1e-5 * one.norm(), name
    with pytest.raises(UserError, match="microbatch 3 does not divide the 8 images"):
        trainer(microbatch=3)


def test_learning_rate() -> None:
    assert learning_rate(0, 0.01, 1000, 100) == 0.0
    assert learning_rate(50, 0.01, 1000, 100) == pytest.approx(0.005)
    assert learning_rate(100, 0.01, 1000, 100) == learning_rate(1000, 0.01, 1000, 100) == 0.01
    assert learning_rate(4000, 0.01, 1000, 100) == pytest.approx(0.005)
    assert learning_rate(0, 0.01, 1000, 0) == 0.01


class Broken(nn.Module):
    """A net one of whose gradients is NaN while its output is finite, and another infinite in some batches."""

    dropout = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.good, self.bad = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))

    def logvar(self, sigma: Tensor) -> Tensor:
        return self.good[0] * sigma.log()

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        nothing = (self.bad - self.bad).sqrt().sum()  # 0, with slope infinity minus infinity
        return x * self.good.mean() + nothing


def test_gradients_that_are_not_finite_are_zeroed_and_counted(tmp_path: Path) -> None:
    broken = trainer(Broken(), rampup_nimg=0)
    for iteration in range(3):
        broken.step(broken.live, iteration)
    assert int(broken.live["nonfinite"]) == 6
    assert torch.isfinite(broken.live["flat"]).all() and (broken.live["flat"][3:] == 1).all()
    assert (broken.live["flat"][:3] != 1).all()
    plain = trainer()
    plain.step(plain.live, 0)
    assert int(plain.live["nonfinite"]) == 0


def test_snapshots_combine_to_other_averages(straight: Any) -> None:
    """A tracked average is found again by least squares from the others' snapshots; buffers stay what they are."""
    tensors, meta, _ = straight
    keys = [(nimg, std) for nimg in meta["nimg"] for std in meta["ema_stds"]]
    snapshots = []
    for nimg, std in keys:
        prefix = f"seed0/ema{std:.3f}/nimg{nimg}/"
        snapshots.append({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
    exact = reconstruct(snapshots, [k[0] for k in keys], [k[1] for k in keys], 96, 0.05)
    other = reconstruct(snapshots, [k[0] for k in keys], [k[1] for k in keys], 96, 0.07)
    for name, value in snapshots[keys.index((96, 0.05))].items():
        torch.testing.assert_close(exact[name], value, rtol=1e-5, atol=1e-6)
        if "fourier" in name:
            assert torch.equal(other[name], value)


def test_learns_and_shows_curves_that_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dvclive")
    longer = {"nimg": 192 * 8, "snapshot_nimg": 192 * 8, "decay_nimg": 10_000, "curves": tmp_path / "c"}
    plain = Trainer.step

    def stopped(self: Trainer, state: Any, iteration: int) -> Any:
        if iteration == 100:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(Stopped):
        train(tmp_path / "s", **longer)
    monkeypatch.undo()
    _, _, curve = train(tmp_path / "s", **longer)
    assert [row[1] for row in curve] == [32, 64, 96, 128, 160, 192]
    assert curve[-1][3] < curve[0][3] - 30
    for name in ("loss", "lr", "gradient_norm", "images_per_s", "nonfinite_gradients"):
        rows = (tmp_path / "c/seed0/plots/metrics" / f"{name}.tsv").read_text().splitlines()
        assert [int(row.split("\t")[0]) for row in rows[1:]] == [32, 64, 96, 128, 160, 192]
    train(tmp_path / "t", **{**longer, "nimg": 256, "snapshot_nimg": 256})
    assert len((tmp_path / "c/seed0/plots/metrics/loss.tsv").read_text().splitlines()) == 2  # begun anew


def test_unconditional_training_ignores_labels(tmp_path: Path) -> None:
    images, _ = pictures()
    one, meta, _ = train(tmp_path / "a", conditional=False, nimg=32)
    two, _, _ = train(tmp_path / "b", conditional=False, nimg=32, data=Data(images, None, (1, 8, 8)))
    assert same(one, two) and meta["net"]["classes"] == 0
    assert not [name for name in one if "label" in name]


def test_a_failing_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Any, **options: Any) -> Any:
        def call(*args: Any) -> Any:
            raise RuntimeError("no C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.warns(UserWarning, match="training uncompiled: no C\\+\\+ compiler found"):
        compiled = trainer(compile=True)
    plain = trainer()
    assert same(compiled.step(compiled.live, 0)[0], plain.step(plain.live, 0)[0])


@pytest.mark.slow
def test_compiled_equals_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds kernels: half a minute. Also the weights the compiled net normalises are those of the state."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled, plain = trainer(compile=True), trainer()
    for iteration in range(6):
        loss, again = compiled.step(compiled.live, iteration)[1], plain.step(plain.live, iteration)[1]
        torch.testing.assert_close(loss, again, rtol=1e-6, atol=0)
    for name in ("flat", "first", "ema0.050"):
        assert (compiled.live[name] - plain.live[name]).norm() <= 1e-6 * plain.live[name].norm()
