"""Parts of trainers by themselves.

What must never happen: another optimiser than the recipe's; a learning rate that stays; a later net that is no better; classes of
an unconditional net; noise levels or deviations that are dropped on the way; a probe that depends on the unit of its features;
bounds of unequal sides.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from guidelab.divergence import repeats
from guidelab.train import classifiers, images
from guidelab.train.adam import Adam
from guidelab.train.early import run_until_no_better
from guidelab.train.judge import Judge
from guidelab.train.loop import TrainingSpec
from guidelab.train.noisy import NoisyBatch
from guidelab.train.objectives import draws_of, recipe_of
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.probe import train_probe
from guidelab.train.sides import Side

CPU = torch.device("cpu")


def test_adam_is_the_published_one():
    ours = nn.Linear(2, 1, bias=False)
    other = copy.deepcopy(ours)
    adam, wanted = Adam(ours, 0.1), torch.optim.Adam(other.parameters(), lr=0.1, betas=(0.9, 0.999), eps=1e-8)
    state = adam.initial()
    for step in range(4):
        x = torch.tensor([[1.0 + step, -0.1]])
        state, _ = adam.step(state, lambda x=x: ours(x).square().sum())
        wanted.zero_grad()
        other(x).square().sum().backward()
        wanted.step()
    torch.testing.assert_close(state["param/weight"], other.weight)


def test_of_equal_nets_the_earlier_is_kept(tmp_path):
    course = TrainingSpec(
        key={}, initial=lambda: {"w": torch.zeros(1)}, step=lambda state, i: ({"w": state["w"] + 1}, torch.ones(1)),
        snapshot=lambda state: state, iterations=6, snapshot_every=2, log_every=2,
    )  # fmt: skip
    outcome = run_until_no_better(course, tmp_path, lambda snapshot: 1.0, patience=5, progress=False)
    assert outcome.best_at == 2 and float(outcome.best["w"]) == 2 and outcome.iterations == 6


def test_the_learning_rate_of_a_classifier_falls_to_nothing(tmp_path, monkeypatch):
    factors = []

    class Watched(NetInTraining):
        def step(self, state, loss, lr_factor=1.0):
            factors.append(lr_factor)
            return super().step(state, loss, lr_factor)

    class Small(nn.Sequential):
        def forward(self, x, sigma, cond=None):
            return super().forward(x).log_softmax(1)

    monkeypatch.setattr(classifiers, "NetInTraining", Watched)
    side = Side.all(torch.randn(100, 1, 2, 2), torch.arange(100) % 2)
    config = {
        "seed": 0, "lr": 0.01, "batch": 8, "iterations": 4, "evaluate_every": 2, "patience": 2, "validation": 0.2, "test": 0.2,
        "sigma_min": 0.1, "sigma_max": 1.0,
    }  # fmt: skip
    net = Small(nn.Flatten(), nn.Linear(4, 2))
    classifiers.train_classifier(config, net, side, tmp_path, Precision(CPU), progress=False)
    assert factors == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(("conditional", "classes"), [(True, 3), (False, 0)])
def test_an_unconditional_net_has_no_classes(conditional, classes):
    def build(resolution_px, image_channels, classes, generator=None):
        return nn.Linear(1, 1)

    config = {"conditional": conditional, "classes": 3, "net": {"name": "own"}}
    assert images._build(config, (1, 8, 8), 0, build)[1]["classes"] == classes


def test_a_frozen_extractor_sees_the_noise_level():
    seen = []
    disc = SimpleNamespace(extractor=nn.Identity(), extract=lambda x, sigma: seen.append(sigma) or x)
    sigma = torch.tensor([0.5, 2.0])
    Judge(disc, Precision(CPU)).look(NoisyBatch(torch.zeros(2, 1), sigma, None))
    assert torch.equal(seen[0], sigma)


def test_a_probe_does_not_depend_on_the_unit_of_its_features():
    generator = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(100, 3, generator=generator) + shift for shift in (0.0, 1.0))
    config = {
        "validation": 0.2, "test": 0.2, "hidden": 4, "lr": 0.05, "weight_decay": 0.0, "batch": 32, "iterations": 20,
        "evaluate_every": 5, "patience": 3,
    }  # fmt: skip
    plain, changed = (
        train_probe(config, *(50 * k * x + k for x in (real, generated)), seed=0) for k in (0.02, 2.0)
    )
    assert plain.best_at == changed.best_at > 0
    torch.testing.assert_close(plain.at_data, changed.at_data, rtol=1e-3, atol=1e-3)


def test_latents_are_drawn_with_their_own_deviation():
    mean, generator = torch.full((4, 2, 2, 2), 3.0), torch.Generator().manual_seed(0)
    for std, least, most in ((0.0, 0.0, 0.0), (0.5, 0.3, 0.7)):
        side = Side.all(torch.cat([mean, torch.full_like(mean, std)], dim=1), None, lambda raw: raw)
        assert least <= float((side.clean(generator) - 3).std()) <= most


def test_bounds_of_repeats_have_as_many_real_examples_as_samples(monkeypatch):
    seen = []
    monkeypatch.setattr(
        repeats,
        "_bounds",
        lambda subject, exact, real, samples, generator: seen.append((real, samples)) or (),
    )
    monkeypatch.setattr(repeats, "_gains", lambda *_: ())
    data = SimpleNamespace(draw=lambda n, generator: torch.randn(n, 2, generator=generator))
    exact = SimpleNamespace(data=data, draw=lambda first, last: torch.randn(last - first + 1, 2))
    asked = {"seed": 0, "draws": 3, "n_real": 10, "n_samples": 4, "seeds": [0, 11]}
    list(repeats.coverage(asked, None, exact, (0.1, 1.0), torch.tensor([0.1, 1.0]).numpy()))
    real, samples = seen[0]
    assert [len(side) for side in real] == [len(side) for side in samples] == [4, 4, 4]


def test_the_label_dropout_of_a_training_reaches_its_examples():
    config = {"net": {"name": "edm2"}, "label_dropout": 0.1, "conditional": True}
    assert draws_of(config, recipe_of(config), None).label_dropout == 0.1
