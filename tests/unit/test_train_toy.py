import signal
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guidelab.core.ema import beta, std_to_gamma
from guidelab.data.toy2d import fractal
from guidelab.errors import UserError
from guidelab.jobs import point_learner
from guidelab.nets.toy import ToyDenoiser
from guidelab.train import exact_score, points
from guidelab.train.denoisers import train_denoiser
from guidelab.train.distributed import TrainingGroup
from guidelab.train.exact_score import KernelTrainer
from guidelab.train.points import Points
from guidelab.train.step import Trainer
from guidelab.train.stop import Stopped
from guidelab.train.streams import stream

CONFIG: dict[str, Any] = {
    "net": {"name": "toy", "width": 8, "layers": 2},
    "classes": "A",
    "nimg": 12 * 64,
    "batch": 64,
    "lr": 1e-2,
    "decay_nimg": 4 * 64,
    "p_mean": -2.3,
    "p_std": 1.5,
    "ema_stds": [0.010, 0.100],
    "snapshot_nimg": 4 * 64,
}


def train(
    config: dict[str, Any], seeds: list[int], folder: Path, make: Any = ToyDenoiser, **more: Any
) -> Any:
    learner = Points(config, fractal("A"), make, len(seeds), **more)
    return train_denoiser(learner, seeds, folder, progress=False)


class Perceptron(nn.Module):
    """A net of a user's own, without any of the toy net's methods."""

    def __init__(self, width: int, dropout: float = 0.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3, width), nn.Linear(width, 2)
        self.drop = nn.Dropout(dropout)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        level = sigma[:, None]
        scaled = x / (level**2 + 0.25).sqrt()
        found = self.out(self.drop(torch.tanh(self.into(torch.cat([scaled, level.log() / 4], dim=1)))))
        return 0.25 / (level**2 + 0.25) * x + level / (level**2 + 0.25).sqrt() * found


OWN: dict[str, Any] = CONFIG | {"net": {"name": "plugins.own:Perceptron", "width": 8}}


def test_names_description_and_curve(tmp_path: Path) -> None:
    tensors, meta, curve = train(CONFIG, [0, 3], tmp_path)
    assert set(tensors) == {
        f"seed{s}/ema{e}/nimg{n}/{p}"
        for s in (0, 3)
        for e in ("0.010", "0.100")
        for n in (256, 512, 768)
        for p in ("gain", "layers.0.weight", "layers.2.weight", "layers.4.weight")
    }
    assert meta["net"] == CONFIG["net"] and meta["seeds"] == [0, 3] and meta["nimg"] == [256, 512, 768]
    assert [row[:3] for row in curve] == [(0, 12, 768), (3, 12, 768)]
    assert (
        meta["classes"] == "A"
        and "nonfinite_gradients" not in meta
        and set(meta["train"]).isdisjoint({"net", "classes"})
    )
    net = ToyDenoiser(8, 2)
    net.load_state_dict({p: tensors[f"seed3/ema0.010/nimg768/{p}"] for p in net.state_dict()})


def test_seeds_together_equal_seeds_alone_bit_for_bit(tmp_path: Path) -> None:
    together, _, curve = train(CONFIG, [0, 3], tmp_path / "both")
    for seed in (0, 3):
        alone, _, own = train(CONFIG, [seed], tmp_path / str(seed))
        assert all(torch.equal(together[name], value) for name, value in alone.items())
        assert own == [row for row in curve if row[0] == seed]
    assert not torch.equal(together["seed0/ema0.010/nimg768/gain"], together["seed3/ema0.010/nimg768/gain"])


def test_interrupted_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, curve = train(CONFIG, [1, 3], tmp_path / "whole")
    plain_step = KernelTrainer.step

    def stop(self: KernelTrainer, state: Any, iteration: int) -> Any:
        if iteration == 7 and self._seed == 3:
            signal.raise_signal(signal.SIGTERM)
        return plain_step(self, state, iteration)

    monkeypatch.setattr(KernelTrainer, "step", stop)
    with pytest.raises(Stopped, match="seed 3: stopped after 8 of 12"):
        train(CONFIG, [1, 3], tmp_path / "parts")
    monkeypatch.setattr(KernelTrainer, "step", plain_step)
    resumed, _, again = train(CONFIG, [1, 3], tmp_path / "parts")
    assert curve == again and all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_follows_the_recipe_written_with_torch_optim(tmp_path: Path) -> None:
    """Twelve iterations against autograd, `torch.optim.Adam` and plain averages, in double precision."""
    found, _, curve = train(CONFIG, [5], tmp_path)
    net = ToyDenoiser(8, 2, generator=stream("toy weights", 5)).double()
    tree = fractal("A")
    optimiser = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99), eps=1e-8)
    averages = {std: [p.detach().clone() for p in net.parameters()] for std in CONFIG["ema_stds"]}
    losses = []
    for iteration in range(12):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 / max(iteration / 4, 1) ** 0.5
        net.load_state_dict(net.constrained(net.state_dict()))
        z = torch.randn(64, 4, generator=stream("toy data", 5, iteration))
        sigma = torch.exp(-2.3 + 1.5 * z[:, 0])
        x, sigma = tree.sample(z[:, 1:], sigma).double(), sigma.double()
        y = x.clone().requires_grad_()
        (score,) = torch.autograd.grad(net.log_density(y, sigma).sum(), y, create_graph=True)
        loss = (sigma**2 * (tree.score(x, sigma) - score).square().mean(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        for std, mean in averages.items():
            decay = float(beta((iteration + 1) * 64, 64, std_to_gamma(std)))
            for a, p in zip(mean, net.parameters(), strict=True):
                a.mul_(decay).add_(p.detach(), alpha=1 - decay)
    assert curve[-1][3] == pytest.approx(sum(losses) / 12, rel=1e-4)
    for std, mean in averages.items():
        for (name, _), value in zip(net.named_parameters(), mean, strict=True):
            ours = found[f"seed5/ema{std:.3f}/nimg768/{name}"].double()
            assert (ours - value).norm() <= 1e-4 * value.norm(), name


def test_learns(tmp_path: Path) -> None:
    longer = {**CONFIG, "nimg": 128 * 128, "batch": 128, "snapshot_nimg": 128 * 128, "decay_nimg": 128 * 128}
    _, _, curve = train(longer, [0], tmp_path)
    assert [row[1] for row in curve] == [32, 64, 96, 128]
    assert curve[-1][3] < 0.85 * curve[0][3]


def test_pieces_of_a_batch_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, _ = train(CONFIG, [0], tmp_path / "whole")
    monkeypatch.setattr(exact_score, "_CELLS", 8 * 20)  # 20 points at most: pieces of 16
    pieces, _, _ = train(CONFIG, [0], tmp_path / "pieces")
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-4, atol=1e-5)


def test_a_failing_compiler_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function, **options):
        def call(*args):
            raise RuntimeError("no C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, _, _ = train(CONFIG, [0], tmp_path / "quiet")
    monkeypatch.setattr(points, "_WORTH_COMPILING", 0)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler found"):
        compiled, _, _ = train(CONFIG, [0], tmp_path / "warned")
    assert all(torch.equal(compiled[name], value) for name, value in plain.items())


@pytest.mark.slow
def test_compiled_equals_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to 1e-5 of each parameter's norm after 12 iterations. Builds kernels: half a minute of compiling."""
    plain, _, _ = train(CONFIG, [0], tmp_path / "plain")
    monkeypatch.setattr(points, "_WORTH_COMPILING", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compiled, _, _ = train(CONFIG, [0], tmp_path / "compiled")
    for name, value in plain.items():
        assert (compiled[name] - value).norm() <= 1e-5 * value.norm(), name


def test_broken_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="whole number of batches of 64"):
        train({**CONFIG, "snapshot_nimg": 100}, [0], tmp_path)


def test_the_general_step_is_the_kernels_to_rounding(tmp_path: Path) -> None:
    """The same points, loss, Adam, averages and forced normalisation; also in parts of a batch."""
    fast, _, curve = train(CONFIG, [0], tmp_path / "fast")
    for name, more in (("whole", {}), ("parts", {"microbatch": 16})):
        slow, meta, other = train(CONFIG | more, [0], tmp_path / name, kernels=False)
        assert slow.keys() == fast.keys() and meta["net"] == CONFIG["net"]
        assert other[-1][3] == pytest.approx(curve[-1][3], rel=1e-4)
        for key, value in fast.items():
            assert (slow[key] - value).norm() <= 1e-3 * value.norm(), (name, key)
    unlike, _, _ = train(CONFIG, [1], tmp_path / "unlike", kernels=False)
    assert (
        unlike["seed1/ema0.010/nimg768/layers.2.weight"] - fast["seed0/ema0.010/nimg768/layers.2.weight"]
    ).norm() > 1


def test_a_ramp_of_the_rate_acts_in_both_steps(tmp_path: Path) -> None:
    ramp = CONFIG | {"rampup_nimg": 12 * 64}
    plain, _, _ = train(CONFIG, [0], tmp_path / "plain")
    fast, _, _ = train(ramp, [0], tmp_path / "fast")
    slow, _, _ = train(ramp, [0], tmp_path / "slow", kernels=False)
    name = "seed0/ema0.010/nimg768/layers.2.weight"
    assert (fast[name] - slow[name]).norm() <= 1e-3 * fast[name].norm()
    assert (fast[name] - plain[name]).norm() > 1e-2 * plain[name].norm()


def test_a_net_of_a_users_own_learns_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = OWN | {"nimg": 128 * 128, "batch": 128, "snapshot_nimg": 64 * 128, "decay_nimg": 128 * 128}
    longer["net"] = longer["net"] | {"dropout": 0.1}
    whole, meta, curve = train(longer, [0, 2], tmp_path / "whole", Perceptron)
    assert meta["net"] == longer["net"] and meta["classes"] == "A"
    assert [row[:2] for row in curve[-2:]] == [(0, 128), (2, 128)] and curve[-2][3] < 0.7 * curve[0][3]
    net = Perceptron(8)
    net.load_state_dict({p: whole[f"seed2/ema0.010/nimg16384/{p}"] for p in net.state_dict()})

    plain = Trainer.step

    def stop(self: Trainer, state: Any, iteration: int) -> Any:
        if iteration == 70 and self.loader.seed == 2:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(Trainer, "step", stop)
    with pytest.raises(Stopped, match="seed 2: stopped after 71 of 128"):
        train(longer, [0, 2], tmp_path / "parts", Perceptron)
    monkeypatch.setattr(Trainer, "step", plain)
    resumed, _, again = train(longer, [0, 2], tmp_path / "parts", Perceptron)
    assert again == curve and all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_the_loss_of_the_exact_denoiser_is_zero() -> None:
    tree = fractal("A")

    class Exact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
            return tree.posterior_mean(x, sigma) + sigma[:, None] * self.shift

    net = Exact()
    x, sigma = points.FreshPoints(tree, CONFIG, 0).examples(3, range(8, 40))
    loss = points.ExactScore(net, tree.lines[torch.float32])
    assert x.shape == (32, 2) and loss(x, sigma).max() < 1e-4
    net.shift.data.fill_(0.5)  # sigma^2 (0.5 / sigma)^2 in both coordinates
    torch.testing.assert_close(loss(x, sigma), torch.full((32,), 0.25), rtol=1e-2, atol=1e-2)


def test_arguments_that_do_not_fit_a_net_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"net plugins.own:Perceptron: .*depth.*params.yaml"):
        train(OWN | {"net": OWN["net"] | {"depth": 3}}, [0], tmp_path, Perceptron)


def test_in_double_precision_the_hand_written_step_is_autograd_and_adam() -> None:
    """Forty iterations: what float32 blurs by rounding (training amplifies it) is equal to 1e-9 here."""
    tree, batch, std = fractal("A"), 64, 0.010
    lines = {torch.float32: tree.lines[torch.float64]}
    exact = SimpleNamespace(mixture=tree.mixture.to(torch.float64), lines=lines)
    net = ToyDenoiser(8, 2, generator=stream("toy weights", 5)).double()
    net.load_state_dict(net.constrained(net.state_dict()))
    kernels = exact_score.Kernels.build(net, exact, CONFIG)  # type: ignore[arg-type]
    flat = kernels.layout.join({name: value.detach() for name, value in net.named_parameters()})
    first, second, average = torch.zeros_like(flat), torch.zeros_like(flat), flat[None].clone()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-8)
    mean = flat.clone()
    for iteration in range(40):
        z = torch.randn(batch, 4, generator=stream("toy data", 5, iteration), dtype=torch.float64)
        decay = float(beta((iteration + 1) * batch, batch, std_to_gamma(std)))
        rates = torch.tensor(
            [1e-2, 1 - 0.9 ** (iteration + 1), 1 - 0.99 ** (iteration + 1), decay], dtype=torch.float64
        )
        slope, value = kernels.gradient(flat, z)
        flat, first, second, average = kernels.update(flat, slope, first, second, average, rates)

        sigma = torch.exp(-2.3 + 1.5 * z[:, 0])
        x = exact.mixture.sample(z[:, 1:], sigma).requires_grad_()
        (score,) = torch.autograd.grad(net.log_density(x, sigma).sum(), x, create_graph=True)
        loss = (sigma**2 * (exact.mixture.score(x.detach(), sigma) - score).square().mean(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        mean.lerp_(kernels.layout.join(dict(net.named_parameters())).detach(), 1 - decay)
        net.load_state_dict(net.constrained(net.state_dict()))
        assert value.item() == pytest.approx(loss.item(), rel=1e-9)
    assert (average[0] - mean).norm() <= 1e-9 * mean.norm()


def test_a_training_draws_the_classes_it_is_given():
    job = {"net": CONFIG["net"], "train": CONFIG, "seeds": [0], "dataset": {"name": "toy2d", "classes": "B"}}
    found = point_learner.learner(job, TrainingGroup(), Path())
    assert torch.equal(found._tree.means, fractal("B").means)
