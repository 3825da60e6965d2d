"""Which tensors of a training checkpoint are read: averages first, names without wrappers, never a guess."""

import struct

import numpy as np
import pytest
import torch

from guidelab.checkpoints.released import read_released
from guidelab.checkpoints.tensors import read_tensors
from guidelab.errors import UserError

A, B = {"w.a": torch.zeros(2), "w.b": torch.zeros(2)}, {"w.a": torch.ones(2), "w.b": torch.ones(2)}
AVERAGES = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "ema_model_state_dict", "shadow", "swa",
            "G_ema", "netEMA", "averaged_model", "EMA", "params_ema", "ema.shadow")  # fmt: skip


@pytest.mark.parametrize("key", AVERAGES)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", ["model", "state_dict", "net", "G"])
def test_the_weights_of_a_checkpoint_are_never_taken_instead_of_their_average(tmp_path, key, first, other):
    both = {key: B, other: A} if first else {other: A, key: B}
    torch.save({**both, "epoch": 3, "ema_decay": 0.999, "optimizer": {"state": {0: A}}}, tmp_path / "a.pt")
    assert torch.equal(read_tensors(tmp_path / "a.pt")["w.a"], torch.ones(2))
    torch.save({other: A, "inner": {"x": 1}, key: {"decay": 0.9, "state_dict": B}}, tmp_path / "b.pt")
    assert torch.equal(read_tensors(tmp_path / "b.pt")["w.a"], torch.ones(2))
    torch.save({other: A, key: None}, tmp_path / "c.pt")
    assert torch.equal(read_tensors(tmp_path / "c.pt")["w.a"], torch.zeros(2))


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
def test_moments_of_an_optimizer_are_never_averaged_weights(tmp_path, key):
    torch.save({"model": A, key: B}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=f"holds 2 state dicts .model, {key}"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "keys", [("ema", "model_ema"), ("model", "state_dict"), ("ema_0.999", "ema_0.9999"), ("G", "D")]
)
def test_one_of_several_state_dicts_is_never_guessed(tmp_path, keys):
    torch.save({keys[0]: A, keys[1]: B, "step": 1}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=f"holds 2 state dicts .{keys[0]}, {keys[1]}"):
        read_tensors(tmp_path / "a.pt")


def test_averages_without_names_are_never_passed_over_for_the_weights(tmp_path):
    torch.save({"model": A, "ema": {"decay": 0.9, "shadow_params": list(B.values())}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"without their names .ema.shadow_params"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "model.",
        "ema_model.module.",
        "net._orig_mod.",
        "denoiser.",
    ],
)
def test_prefixes_of_wrappers_never_make_a_net_foreign(tmp_path, prefix):
    state = {f"{prefix}{name}": t for name, t in B.items()} | {"n_averaged": torch.tensor(7)}
    torch.save({"ema": state, "best_fid": np.float64(3.2), "curve": np.arange(3.0)}, tmp_path / "a.pt")
    assert set(read_tensors(tmp_path / "a.pt")) == {"w.a", "w.b"}
    pair = {f"online_model.{prefix}{n}": t for n, t in A.items()} | {
        f"ema_model.{prefix}{n}": t for n, t in B.items()
    }
    torch.save({**pair, "initted": torch.tensor(True), "step": torch.tensor(3)}, tmp_path / "b.pt")
    found = read_tensors(tmp_path / "b.pt")
    assert set(found) == {"w.a", "w.b"} and torch.equal(found["w.a"], torch.ones(2))
    torch.save({f"layer.{prefix}{n}": t for n, t in B.items()} | {"head": torch.zeros(1)}, tmp_path / "c.pt")
    assert "head" in read_tensors(tmp_path / "c.pt")


@pytest.mark.parametrize(
    "value", [np.float64(3.2), np.float32(1), np.int64(5), np.bool_(True), np.array([1.5, 2])]
)
def test_numpy_scalars_next_to_a_state_dict_are_read(tmp_path, value):
    torch.save({"ema": B, "best_fid": value, "args": {"lr": value}}, tmp_path / "a.pt")
    assert torch.equal(read_tensors(tmp_path / "a.pt")["w.a"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        (b"/annex/objects/xx/SHA256E-s1--0", "git annex get"),
        (b"", "is empty"),
    ],
)
@pytest.mark.parametrize(
    ("name", "format"),
    [("a.pt", "dit_pt"), ("a.safetensors", "dit_pt"), ("a.pkl", "edm2_pickle"), ("a.npz", "reference_npz")],
)
def test_a_pointer_or_a_page_is_never_called_damaged_weights(tmp_path, content, says, name, format):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_released(tmp_path / name, format)


def test_averages_under_other_names_are_never_mixed_with_the_weights(tmp_path):
    """Latent diffusion's averages: the names lose their dots."""
    weights = {f"model.{name}": t for name, t in A.items()}
    averages = {f"model_ema.{name.replace('.', '')}": t for name, t in B.items()}
    torch.save({"state_dict": weights | averages}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"mixes averages of the weights \(state_dict.model_ema\)"):
        read_tensors(tmp_path / "a.pt")


def test_one_state_dict_under_two_names_is_never_two(tmp_path):
    torch.save({"model": A, "ema": A, "ema_0.999": A}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt").keys() == A.keys()


def test_the_last_of_two_tensors_of_one_name_is_never_taken(tmp_path):
    entry = '{"dtype": "F32", "shape": [%d, 4], "data_offsets": [0, 64]}'
    header = f'{{"w": {entry % 4}, "w": {entry % 4}}}'.encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(UserError, match="the key 'w' is given twice"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["\x1b[31mw", "\u202ew", "w\x07", "w\x9b2J"])
def test_control_characters_of_a_file_never_reach_a_message(tmp_path, name):
    torch.save({f"a{name}": A, f"b{name}": B}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds 2 state dicts") as error:
        read_tensors(tmp_path / "a.pt")
    assert str(error.value).isprintable()
