"""Denoisers trained from images or latents on disk: what they learn, and on what alone the result depends."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_cases import CONFIG, NETS, latents_data, moments, pictures, same, train

from guidelab.assemble import load_net
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.jobs import reconstruct
from guidelab.train.distributed import save_every_s
from guidelab.train.images import Data
from guidelab.train.objectives import Objective, recipe_of
from guidelab.train.step import Trainer
from guidelab.train.stop import Stopped


@pytest.mark.parametrize("net", list(NETS))
def test_every_net_learns(net: str, tmp_path: Path) -> None:
    ends = {"edm2": 0.85, "edm": 0.95, "adm": 0.6, "dit": 0.6}
    _, meta, curve = train(tmp_path, net, nimg=96 * 8, snapshot_nimg=96 * 8, lr=3e-3)
    losses = [row[3] for row in curve]
    assert len(losses) == 3 and losses[-1] < ends[net] * losses[0], losses
    assert meta["nonfinite_gradients"] == {"0": 0} and meta["nimg"] == [768]


@pytest.mark.parametrize("net", ["edm", "dit", "adm"])
def test_interrupted_equals_uninterrupted_for_any_number_of_threads(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"microbatch": 4, "nimg": 64, "snapshot_nimg": 32}
    more |= {"label_dropout": 0.3} if net != "adm" else {"flip": True}
    if net != "dit":
        more["net"] = NETS[net] | {"dropout": 0.2}
    straight, about, curve = train(tmp_path / "straight", net, workers=1, **more)
    plain = Trainer.step

    def interrupted(self: Trainer, state: Any, iteration: int) -> Any:
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(Stopped, match="stopped after 6 of 8"):
        train(tmp_path / "again", net, workers=3, **more)
    monkeypatch.setattr(Trainer, "step", plain)
    resumed, other, rest = train(tmp_path / "again", net, workers=2, **more)
    assert same(straight, resumed) and about == other and curve == rest


def test_microbatches_change_rounding_only(tmp_path: Path) -> None:
    whole, micro = (train(tmp_path / str(m), "edm2", data=latents_data(), microbatch=m) for m in (64, 2))
    for name, value in whole[0].items():
        assert (micro[0][name] - value).norm() <= 1e-4 * value.norm() + 1e-5, name
    whole, micro = (train(tmp_path / f"adm{m}", "adm", microbatch=m) for m in (None, 2))
    assert micro[2][0][3] == pytest.approx(whole[2][0][3], rel=1e-3)


def test_a_state_of_other_data_is_refused(tmp_path: Path) -> None:
    images, labels = pictures()
    train(tmp_path / "images", "edm2", nimg=32)
    with pytest.raises(UserError, match="is the state of another training"):
        train(tmp_path / "images", "edm2", nimg=32, data=Data(255 - images, labels, (1, 8, 8)))
    train(tmp_path, "dit")
    mean, labels = moments()
    with pytest.raises(UserError, match="is the state of another training"):
        train(tmp_path, "dit", data=Data(mean + 1e-3, labels, (2, 8, 8), "ldm"))


@pytest.mark.parametrize("net", ["edm", "dit", "adm"])
def test_a_reconstructed_model_denoises(net: str, tmp_path: Path) -> None:
    tensors, meta, _ = train(tmp_path / "state", net, [0, 4])
    kept = tmp_path / "kept.safetensors"
    save_arrays(kept, tensors, {**meta, "kind": "checkpoints", "code": "c"})
    job = {"inputs": {"checkpoints": [str(kept)]}, "model": "main", "nimg": 96, "code": "c"}
    channels = 2 if net == "dit" else 1
    x, sigma, cond = torch.zeros(2, channels, 8, 8), torch.tensor([0.5, 2.0]), torch.tensor([0, 2])
    for ema_std in (0.05, 0.08):
        reconstruct.run({**job, "ema_std": ema_std}, [tmp_path / "model.safetensors"])
        model = load_net(tmp_path / "model.safetensors", 4)
        assert torch.isfinite(model(x, sigma, cond)).all()


@pytest.mark.parametrize(
    ("net", "change", "words"),
    [
        ("edm2", {"loss": "vp"}, "loss vp does not fit net edm2, which wants edm2 or edm"),
        ("dit", {"loss": "edm"}, "wants vp"),
        ("edm", {"net": NETS["edm"] | {"precond": "vp"}}, "used as released only"),
        ("adm", {"label_dropout": 0.1}, "has no null class"),
        ("dit", {"label_dropout": 0.1, "conditional": False}, "has no null class"),
        ("edm", {"net": NETS["edm"] | {"augment_dim": 4}}, "has augment_dim 4, wanted 9"),
        ("edm", {"data": latents_data()}, "a turned latent is not the latent"),
        ("edm2", {"classes": 2}, "labels up to 2, wanted labels below 2"),
        ("edm2", {"snapshot_nimg": 12}, "a whole number of batches of 8"),
        ("edm2", {"nimg": 40}, "a whole number of snapshots"),
        ("edm2", {"data": Data(pictures()[0], None, (1, 8, 8))}, "given none, wanted labels below 3"),
        ("adm", {"net": NETS["adm"] | {"channels": 8}}, "net adm: .*wanted a multiple of 32"),
        ("edm", {"net": NETS["edm"] | {"colour": 1}}, "net edm: .*colour"),
    ],
)
def test_what_does_not_fit_is_named(net: str, change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        train(tmp_path, net, **change)


def test_a_net_of_a_users_own_is_trained_by_the_losses_it_serves() -> None:
    own: dict[str, Any] = {"net": {"name": "plugins.own:Own"}, "conditional": False}
    assert recipe_of(own).loss == "edm"
    for loss, lacking in (("edm2", "`logvar`"), ("vp", "`raw` and `schedule`")):
        with pytest.raises(UserError, match=f"loss {loss} needs {lacking} of the net, which Conv2d has not"):
            Objective(nn.Conv2d(1, 1, 1), recipe_of({**own, "loss": loss}), 0.5)


def test_edm2_by_edms_loss_leaves_its_log_variance(tmp_path: Path) -> None:
    tensors, _, curve = train(tmp_path, "edm2", loss="edm", label_dropout=0.5)
    at = "seed0/ema0.100/nimg{}/logvar_linear.weight"
    assert torch.equal(tensors[at.format(32)], tensors[at.format(96)])
    assert math.isfinite(curve[0][3]) and CONFIG["nimg"] == 96


def test_a_net_without_classes(tmp_path: Path) -> None:
    images, _ = pictures()
    for net in ("adm", "edm2"):
        meta = train(tmp_path / net, net, data=Data(images, None, (1, 8, 8)), conditional=False)[1]
        assert meta["net"]["classes"] == 0


def test_large_states_are_saved_less_often() -> None:
    assert save_every_s({"a": torch.zeros(10)}) == 60
    assert save_every_s({"a": torch.zeros(1, device="meta").expand(5, 10**9)}) == pytest.approx(2000)
