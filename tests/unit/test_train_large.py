"""Denoisers trained from images or latents on disk: what they learn, and on what alone the result depends."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from large_training import NETS, images_data, latents_data, moments, train
from test_train_images import CONFIG, pictures, same
from test_train_images import train as train_in_memory
from torch import Tensor

from guidelab.assemble import load_net
from guidelab.cli import reconstruct
from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.train.large.ahead import Ahead
from guidelab.train.large.denoisers import Data
from guidelab.train.large.loader import Draws, Kept, LargeLoader
from guidelab.train.large.step import LargeTrainer
from guidelab.train.large.store import save_large
from guidelab.train.large.together import save_every_s
from guidelab.train.stop import Stopped


@pytest.mark.parametrize("net", list(NETS))
def test_every_net_learns(net: str, tmp_path: Path) -> None:
    ends = {"edm2": 0.85, "edm": 0.95, "adm": 0.6, "dit": 0.6}
    _, meta, curve = train(tmp_path, net, nimg=96 * 8, snapshot_nimg=96 * 8, lr=3e-3)
    losses = [row[3] for row in curve]
    assert len(losses) == 3 and losses[-1] < ends[net] * losses[0], losses
    assert meta["nonfinite_gradients"] == {"0": 0} and meta["nimg"] == [768]


def test_edm2_on_images_is_the_training_in_memory(tmp_path: Path) -> None:
    large, _, curve = train(tmp_path / "large", "edm2", [0, 3], dropout=0.0)
    small, _, other = train_in_memory(tmp_path / "small", [0, 3])
    assert same(large, small) and curve == other


@pytest.mark.parametrize("net", ["edm", "dit", "adm"])
def test_interrupted_is_uninterrupted_whatever_the_threads(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"microbatch": 4, "nimg": 64, "snapshot_nimg": 32}
    more |= {"label_dropout": 0.3} if net != "adm" else {"flip": True}
    if net != "dit":
        more["net"] = NETS[net] | {"dropout": 0.2}
    straight, about, curve = train(tmp_path / "straight", net, workers=1, **more)
    plain = LargeTrainer.step

    def interrupted(self: LargeTrainer, state: Any, iteration: int) -> Any:
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    monkeypatch.setattr(LargeTrainer, "step", interrupted)
    with pytest.raises(Stopped, match="stopped after 6 of 8"):
        train(tmp_path / "again", net, workers=3, **more)
    monkeypatch.setattr(LargeTrainer, "step", plain)
    resumed, other, rest = train(tmp_path / "again", net, workers=2, **more)
    assert same(straight, resumed) and about == other and curve == rest


def test_microbatches_change_rounding_only(tmp_path: Path) -> None:
    whole, micro = (train(tmp_path / str(m), "edm2", data=latents_data(), microbatch=m) for m in (64, 2))
    for name, value in whole[0].items():
        assert (micro[0][name] - value).norm() <= 1e-4 * value.norm() + 1e-5, name
    whole, micro = (train(tmp_path / f"adm{m}", "adm", microbatch=m) for m in (None, 2))
    assert micro[2][0][3] == pytest.approx(whole[2][0][3], rel=1e-3)


def test_a_state_of_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def loader(data: Data, workers: Any = None, **draws: Any) -> LargeLoader:
    how = latents if data.encoding else None
    return LargeLoader(data.source, data.shape, data.labels, 7, 40, Draws(-0.4, 1.0, **draws), how)


def latents(raw: Tensor) -> Tensor:
    return 2 * raw + 1


def test_a_place_has_its_own_example() -> None:
    flags: dict[str, Any] = {"label_dropout": 0.5, "null": 9, "flip": True, "steps": 100}
    data = images_data()
    whole = loader(data, **flags).examples(3, range(40))
    late = loader(data, **flags)
    parts = [late.examples(3, range(a, b)) for a, b in ((37, 40), (0, 5), (5, 37))]
    for name in ("x0", "noise", "level", "cond"):
        joined = torch.cat([getattr(parts[i], name) for i in (1, 2, 0)])
        assert torch.equal(joined, getattr(whole, name)), name
    assert whole.cond is not None and 8 < int((whole.cond == 9).sum()) < 32
    assert whole.level.dtype == torch.int64 and int(whole.level.max()) < 100
    index = loader(data)._order.indices(3, range(40))
    clean = pictures()[0][index].float() / 127.5 - 1
    flipped = (whole.x0 == clean.flip(3)).all((1, 2, 3))
    assert ((whole.x0 == clean).all((1, 2, 3)) | flipped).all() and 8 < int(flipped.sum()) < 32
    assert not torch.equal(whole.noise, late.examples(4, range(40)).noise)


def test_latents_are_mirrored_like_images() -> None:
    plain, flipped = (loader(latents_data(), flip=flip).examples(2, range(40)).x0 for flip in (False, True))
    same_as = [(flipped == plain.flip(3)).all((1, 2, 3)), (flipped == plain).all((1, 2, 3))]
    assert (same_as[0] | same_as[1]).all() and 8 < int(same_as[0].sum()) < 32


def test_latents_are_drawn_anew_and_standardised() -> None:
    data = latents_data()
    found = loader(data)
    first, second = found.examples(0, range(20)), found.examples(1, range(20))  # one epoch, half of the next
    index = found._order.indices(0, range(20))
    mean, std = (part[index] for part in data.source[torch.arange(20)].chunk(2, dim=1))
    z = ((first.x0 - 1) / 2 - mean) / std
    assert abs(float(z.mean())) < 0.1 and 0.9 < float(z.std()) < 1.1
    same_image = (index[:, None] == found._order.indices(1, range(20))[None]).nonzero()
    i, j = same_image[0].tolist()
    assert not torch.equal(first.x0[i], second.x0[j])
    assert float((first.x0 * first.noise).mean().abs()) < 1  # not the noise that is added to them


def test_augmentation_belongs_to_the_place() -> None:
    whole = loader(images_data(), augment=True).examples(0, range(40))
    part = loader(images_data(), augment=True).examples(0, range(30, 40))
    assert whole.augment is not None and part.augment is not None and whole.augment.shape == (40, 9)
    assert torch.equal(whole.augment[30:], part.augment)
    torch.testing.assert_close(whole.x0[30:], part.x0)


def test_images_that_fit_are_decoded_once() -> None:
    asked: list[int] = []

    class Counted:
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: Tensor) -> Tensor:
            asked.extend(index.tolist())
            return pictures()[0][index]

    kept = Kept(Counted(), (1, 8, 8))
    for index in (torch.tensor([3, 3, 5]), torch.tensor([5, 0])):
        assert torch.equal(kept[index], pictures()[0][index])
    assert sorted(asked) == [0, 3, 5]


def test_what_is_made_ahead_comes_in_order_and_errors_come_out() -> None:
    def make(place: int) -> int:
        if place == 9:
            raise UserError("nine")
        return place * place

    ahead = Ahead(make, lambda place: place + 1, 3)
    assert [ahead(place) for place in (0, 1, 2, 7, 8, 3)] == [0, 1, 4, 49, 64, 9]
    with pytest.raises(UserError, match="nine"):
        ahead(9)
    ahead.close()


@pytest.mark.parametrize(
    ("net", "change", "words"),
    [
        ("edm2", {"loss": "vp"}, "loss vp does not fit net edm2, which wants edm2 or edm"),
        ("dit", {"loss": "edm"}, "wants vp"),
        ("edm", {"net": NETS["edm"] | {"precond": "vp"}}, "used as released only"),
        ("adm", {"label_dropout": 0.1}, "cannot be told that there is no class"),
        ("dit", {"label_dropout": 0.1, "conditional": False}, "cannot be told that there is no class"),
        ("edm", {"net": NETS["edm"] | {"augment_dim": 4}}, "has augment_dim 4, wanted 9"),
        ("edm", {"data": latents_data()}, "a turned latent is not the latent"),
        ("edm2", {"classes": 2}, "labels up to 2, wanted labels below 2"),
        ("edm2", {"snapshot_nimg": 12}, "a whole number of batches of 8"),
        ("adm", {"net": NETS["adm"] | {"channels": 8}}, "net adm: .*wanted a multiple of 32"),
        ("edm", {"net": NETS["edm"] | {"colour": 1}}, "net edm: .*colour"),
        ("edm2", {"net": {"name": "toy"}}, "net toy is not trained here"),
    ],
)
def test_what_does_not_fit_is_named(net: str, change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        train(tmp_path, net, **change)


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


def test_many_arrays_are_written_one_by_one(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "b": torch.randn(3, 2, generator=generator).t(),
        "a": torch.tensor(True),
        "c": torch.arange(5),
        "d": torch.randn(3, generator=generator).half(),
        "e": torch.zeros(0, 4),
        "f": torch.tensor(7, dtype=torch.uint8),
    }
    for path in (tmp_path / "one", tmp_path / "two"):
        save_large(path, tensors, {"kind": "x", "at": [1, 2]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    save_arrays(tmp_path / "small", tensors, {"kind": "x", "at": [1, 2]})
    (found, about), (wanted, also) = load_arrays(tmp_path / "one"), load_arrays(tmp_path / "small")
    assert same(found, wanted) and about == also and [v.dtype for v in found.values()]
    assert all(found[name].dtype == value.dtype for name, value in tensors.items())
    with pytest.raises(ValueError, match="complex64"):
        save_large(tmp_path / "no", {"z": torch.zeros(1, dtype=torch.complex64)}, {})


def test_large_states_are_saved_less_often() -> None:
    assert save_every_s({"a": torch.zeros(10)}) == 60
    assert save_every_s({"a": torch.zeros(1, device="meta").expand(5, 10**9)}) == pytest.approx(2000)
