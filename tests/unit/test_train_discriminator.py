"""A discriminator of points: what it learns, its parts, what it leaves out, and a training that is stopped and resumed."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.jobs import discriminate
from guidelab.nets.toy_discriminator import ToyDiscriminator
from guidelab.train.discriminators import train_discriminator
from guidelab.train.draws import InSequence
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.sides import Side
from guidelab.train.stop import Stopped

CONFIG: dict[str, Any] = {
    "lr": 3e-3,
    "batch": 256,
    "iterations": 400,
    "evaluate_every": 25,
    "patience": 4,
    "sigma_min": 0.05,
    "sigma_max": 1.0,
    "validation": 0.1,
    "test": 0.2,
    "seed": 0,
}


def gaussian(n: int, mean: float, seed: int) -> Tensor:
    return 0.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + torch.tensor([mean, 0.0])


def test_untrained_it_guides_nowhere_and_its_gradient_is_in_the_points_own_units() -> None:
    net = ToyDiscriminator(16, 2, torch.Generator().manual_seed(0))
    x, sigma = gaussian(5, 0.0, 1), torch.tensor([0.002, 0.1, 1.0, 5.0, 80.0])
    assert torch.equal(net(x, sigma, None), torch.zeros(5))
    torch.nn.init.normal_(net.out.weight, generator=torch.Generator().manual_seed(2))
    net.double()
    x64 = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: net(y, sigma.double(), None), (x64,))
    # far more noise than detail: the logit must not depend on details of the position
    near = net(torch.tensor([[1.0, 0.0], [1.01, 0.0]]).double(), torch.tensor([80.0, 80.0]).double(), None)
    assert (near[0] - near[1]).abs() < 1e-3


def test_the_noise_level_is_seen_as_a_quarter_of_its_logarithm() -> None:
    net, seen = ToyDiscriminator(8, 1), []
    net.hidden[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    net(torch.zeros(1, 2), torch.tensor([math.exp(2.0)]), None)
    torch.testing.assert_close(seen[0][0, -3:], torch.tensor([0.5, 0.25, math.tanh(0.5)]))


NET = {"name": "toy_discriminator", "width": 32, "layers": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / "states"))


def made(real: Tensor, generated: dict[int, Tensor], **changes: Any) -> dict[str, Any]:
    """A job with its files."""
    save_arrays("real.safetensors", {"x": real}, {})
    held = {f"seed{seed}/generated/x": x for seed, x in generated.items()}
    save_arrays("generated.safetensors", held, {"blocks": {"generated": [0, 1]}})
    inputs = {"real": ["real.safetensors"], "generated": ["generated.safetensors"]}
    train = CONFIG | changes
    return {
        "disc": "guide",
        "examples": "points",
        "net": NET,
        "train": train,
        "train_seeds": list(generated),
        "inputs": inputs,
        "code": "c",
    }


def trained(
    job: dict[str, Any], output: str = "guide.safetensors"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    discriminate.run(job, [Path(output)])
    return load_arrays(output)


def test_finds_the_log_ratio_of_two_gaussians() -> None:
    tensors, meta = trained(made(gaussian(4000, 0.3, 3), {0: gaussian(4000, -0.3, 4)}))
    report = meta["reports"]["0"]
    net = ToyDiscriminator(32, 2)
    net.load_state_dict({name.removeprefix("seed0/"): value for name, value in tensors.items()})
    x = torch.tensor([[0.3, 0.0], [-0.3, 0.1], [0.0, 0.2]])
    for sigma in (0.05, 0.5):
        exact = 2 * 0.3 * x[:, 0] / (0.25 + sigma**2)  # log N(x; .3, v) - log N(x; -.3, v)
        found = net(x, torch.full((3,), sigma), None)
        assert (found - exact).abs().max() < 0.35
    assert 0.6 < report["accuracy"] < 0.8
    assert report["js_bound"] == pytest.approx(math.log(2) - report["bce"])
    assert 0 < report["js_bound"] < 0.15 and 0 < report["kl_dv"] < 1
    assert report["mean_ratio"] == pytest.approx(1, abs=0.2)
    assert not list(Path("states").iterdir())


def test_the_loss_of_a_batch_is_the_mean_of_both_sides() -> None:
    sides = [Side.all(gaussian(200, mean, 3), None) for mean in (0.3, -0.3)]
    net = ToyDiscriminator(8, 1, torch.Generator().manual_seed(0))  # answers 0: log 2
    config = CONFIG | {"iterations": 2, "evaluate_every": 1, "lr": 1e-9}
    draws, where = InSequence(0, (200, 200)), Precision(torch.device("cpu"))
    outcome = train_discriminator(config, net, *sides, draws, "kept", where, apart=True, progress=False)[2]
    assert outcome.history[0][1] == pytest.approx(math.log(2), abs=1e-5)


def test_each_training_seed_has_a_net_of_its_own_and_the_same_one_again() -> None:
    job = made(gaussian(500, 0.3, 5), {0: gaussian(700, -0.3, 6), 1: gaussian(700, -0.3, 6)}, iterations=30)
    tensors, meta = trained(job)
    assert not torch.equal(tensors["seed0/out.weight"], tensors["seed1/out.weight"])
    alone, _ = trained(job | {"train_seeds": [1]}, "alone.safetensors")
    assert all(torch.equal(value, tensors[name]) for name, value in alone.items())
    report = meta["reports"]["0"]
    assert (report["n_train"], report["n_validation"], report["n_test"]) == (350, 50, 100)


def test_stopped_and_resumed_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One generator draws everything: after a stop the training resumes at its position in the sequence."""
    real, generated = gaussian(500, 0.3, 5), {0: gaussian(700, -0.3, 6), 3: gaussian(600, 0.1, 7)}
    job = made(real, generated, iterations=75)
    trained(job)
    plain, calls = NetInTraining.step, []

    def interrupted(self: NetInTraining, state: Any, loss: Any, factor: float = 1.0) -> Any:
        calls.append(1)
        if len(calls) in (7, 40, 110):
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, loss, factor)

    monkeypatch.setattr(NetInTraining, "step", interrupted)
    for _ in range(3):
        with pytest.raises(Stopped):
            trained(job, "again.safetensors")
    trained(job, "again.safetensors")
    assert len(calls) > 110
    assert Path("guide.safetensors").read_bytes() == Path("again.safetensors").read_bytes()


def test_equal_distributions_stop_early_and_show_no_divergence_on_the_test_part() -> None:
    job = made(gaussian(600, 0.0, 7), {0: gaussian(600, 0.0, 8)}, lr=1e-2, iterations=3000)
    report = trained(job)[1]["reports"]["0"]
    assert report["iterations"] < 3000
    assert report["best_at"] <= report["iterations"] - 4 * 25
    assert report["js_bound"] < 0.01  # on its training part the same net claims more
    assert (report["n_train"], report["n_validation"], report["n_test"]) == (420, 60, 120)


def test_the_null_has_real_points_on_both_sides_and_a_seed_of_its_own() -> None:
    job = made(gaussian(600, 0.0, 7), {0: gaussian(600, 0.0, 8)}, iterations=50)
    save_arrays("other.safetensors", {"x": gaussian(600, 0.0, 8)}, {})
    graded, _ = trained(job)
    null = job | {"inputs": {"real": ["real.safetensors"], "other": ["other.safetensors"]}}
    tensors, meta = trained(null, "null.safetensors")
    assert abs(meta["reports"]["0"]["js_bound"]) < 0.02 and meta["seeds"] == [0]
    assert tensors.keys() == graded.keys()
    assert not torch.equal(tensors["seed0/out.weight"], graded["seed0/out.weight"])


def test_points_that_are_not_finite_are_counted_and_too_few_are_refused() -> None:
    generated = gaussian(300, 0.0, 9)
    generated[:7, 0] = float("nan")
    short = {"iterations": 5, "evaluate_every": 5}
    tensors, meta = trained(made(gaussian(300, 0.0, 1), {0: generated}, **short))
    assert meta["reports"]["0"]["not_finite"] == 7
    assert all(torch.isfinite(value).all() for value in tensors.values())
    with pytest.raises(UserError, match="more seeds of samples"):
        trained(made(gaussian(300, 0.0, 1), {0: generated[:50]}, **short))
