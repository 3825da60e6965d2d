"""Released EDM networks: configurations as their pickles have them, and files that do not fit them."""

import json
from typing import Any

import pytest
import torch
from edm_cases import inputs, relative
from torch import Tensor

from guidelab.checkpoints.from_edm import config_of, convert
from guidelab.errors import UserError
from guidelab.nets.edm import Edm

_NCSNPP: dict[str, Any] = {
    "precond": "EDMPrecond",
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 4,
    "use_fp16": False,
    "model_type": "SongUNet",
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "decoder_type": "standard",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
    "dropout": 0.13,
    "augment_dim": 9,
}


def built(kwargs: dict[str, Any], seed: int = 0) -> Edm:
    config = config_of(kwargs)
    assert config.pop("name") == "edm"
    return Edm(**config, generator=torch.Generator().manual_seed(seed)).eval().requires_grad_(False)


def released(model: Edm) -> dict[str, Tensor]:
    """The net's state under released names, with the buffers that the released classes keep."""
    state = {name.replace("unet.", "model.", 1): value for name, value in model.state_dict().items()}
    if "precond.u" in state:
        state["u"] = state.pop("precond.u")
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for name in list(state):
        if "_down.conv0.weight" in name or "aux_residual.weight" in name or "_up.skip.weight" in name:
            state[name.replace("weight", "resample_filter")] = (taps[:, None] * taps / 64)[None, None]
    return state


def test_a_released_net_comes_back() -> None:
    model = built(_NCSNPP)
    state = released(model)
    assert any(name.endswith("resample_filter") for name in state) and "model.map_noise.freqs" in state
    half = {name: value.double() for name, value in state.items()}
    config, tensors = convert(half, _NCSNPP)
    assert json.loads(json.dumps(config)) == config and config.pop("name") == "edm"
    again = Edm(**config).eval().requires_grad_(False)  # other initial weights, none of which may be left
    again.load_state_dict(tensors)
    assert all(value.dtype == torch.float32 for value in tensors.values())
    x, sigma, cond = inputs(model)
    assert torch.equal(again(x, sigma, cond), model(x, sigma, cond))
    assert config["architecture"] == "ncsnpp" and again.classes == 4 and config["dropout"] == 0.13


def test_released_configurations() -> None:
    cifar = config_of(
        {
            "img_resolution": 32,
            "img_channels": 3,
            "model_type": "SongUNet",
            "channel_mult": (2, 2, 2),
            "augment_dim": 9,
        }
    )
    assert (cifar["architecture"], cifar["precond"], cifar["classes"]) == ("ddpmpp", "edm", 0)
    assert (cifar["channels"], cifar["blocks"], cifar["attention_px"]) == (128, 4, [16])
    assert cifar["channel_mult"] == [2, 2, 2] and cifar["dropout"] == 0.1
    adm = config_of({"img_resolution": 64, "img_channels": 3, "label_dim": 1000, "sigma_max": float("inf")})
    assert (adm["architecture"], adm["channels"], adm["channel_mult"]) == ("adm", 192, [1, 2, 3, 4])
    assert (adm["blocks"], adm["attention_px"]) == (3, [32, 16, 8]) and "precond_options" not in adm
    assert json.loads(json.dumps(adm)) == adm
    vp = config_of(
        {"precond": "training.networks.VPPrecond", "img_resolution": 32, "img_channels": 3, "M": 500}
    )
    assert (vp["architecture"], vp["precond"], vp["precond_options"]) == ("ddpmpp", "vp", {"steps": 500})
    mixed = config_of({**_NCSNPP, "precond": "VEPrecond", "sigma_min": 0.01, "encoder_type": "skip"})
    assert (mixed["precond_options"], mixed["encoder"]) == ({"sigma_min": 0.01}, "skip")
    assert "decoder" not in mixed and "resample_filter" not in mixed


def test_the_table_of_iddpm_is_the_one_in_the_file() -> None:
    kwargs = {
        **{
            key: value
            for key, value in _NCSNPP.items()
            if key in ("img_resolution", "img_channels", "label_dim")
        },
        **{"precond": "iDDPMPrecond", "model_channels": 32, "channel_mult": [1], "num_blocks": 1, "M": 20},
    }
    model = built(kwargs)
    state = released(model)
    config, tensors = convert({**state, "u": state["u"] * 2}, kwargs)
    assert torch.equal(tensors["precond.u"], model.state_dict()["precond.u"] * 2)
    del state["u"]
    assert torch.equal(convert(state, kwargs)[1]["precond.u"], model.state_dict()["precond.u"])
    assert config["precond_options"] == {"steps": 20}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precond": "EDM2Precond"}, "class 'EDM2Precond', wanted one of EDMPrecond"),
        ({"model_type": "Transformer"}, "model_type 'Transformer', wanted one of SongUNet, DhariwalUNet"),
        ({"model_chanels": 8}, "no argument model_chanels; did you mean 'model_channels'"),
        ({"beta_d": 19.9}, "EDMPrecond with SongUNet has no argument beta_d"),
        ({"model_type": "DhariwalUNet"}, "no argument embedding_type, "),
        ({"augment_dim": 0}, "has unexpected model.map_augment.weight"),
        ({"img_resolution": 16}, "lacks model.enc.16x16_conv.weight"),
        ({"label_dim": 5}, r"model.map_label.weight is \(32, 4\), wanted \(32, 5\)"),
        ({"resample_filter": [1, 1]}, r"resample_filter \(1, 1, 4, 4\) is not the filter"),
        ({"resample_filter": [1, 2, 2, 1]}, "is not the filter"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    state = released(built(_NCSNPP))
    with pytest.raises(UserError, match=message):
        convert(state, {**_NCSNPP, **changes})


def test_missing_tensors_and_arguments_are_named() -> None:
    state = released(built(_NCSNPP))
    del state["model.enc.8x8_conv.bias"]
    with pytest.raises(UserError, match=r"lacks model\.enc\.8x8_conv\.bias\. Is it the file"):
        convert(state, _NCSNPP)
    with pytest.raises(UserError, match="lacks img_resolution, img_channels"):
        config_of({})


def test_a_converted_net_is_no_worse_in_the_sampler_s_precision() -> None:
    model = built(_NCSNPP)
    x, sigma, cond = inputs(model)
    assert relative(model(x.double(), sigma.double(), cond), model(x, sigma, cond)) == 0
