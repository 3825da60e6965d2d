"""Every option of EDM2's class: a net made with it is read and computes what the formulas say."""

import edm2_cases as cases
import pytest
import torch
from edm2_plain import Plain

from guidelab.checkpoints.from_edm2 import convert
from guidelab.checkpoints.released import read_released
from guidelab.errors import UserError
from guidelab.nets.edm2 import Edm2
from guidelab.synthetic import pickles
from guidelab.synthetic.pickles import Easy

BASE = {
    "img_resolution": 16, "img_channels": 2, "label_dim": 5, "model_channels": 16, "channel_mult": [1, 2, 2], "num_blocks": 1,
    "attn_resolutions": [8], "channels_per_head": 16,
}  # fmt: skip
OPTIONS = [
    {"channel_mult_noise": 2}, {"channel_mult_noise": 1}, {"channel_mult_emb": 3}, {"channel_mult_noise": 3, "channel_mult_emb": 1},
    {"logvar_channels": 64}, {"label_balance": 0.3}, {"concat_balance": 0.7}, {"concat_balance": 0.2, "label_dim": 0},
    {"res_balance": 0.5}, {"attn_balance": 0.6}, {"clip_act": 0.5}, {"clip_act": None}, {"resample_filter": [1, 3, 3, 1]},
    {"resample_filter": [1, 2]}, {"sigma_data": 0.25}, {"channels_per_head": 8}, {"use_fp16": False}, {"dropout": 0.1},
    {"attn_resolutions": []}, {"num_blocks": 2, "channel_mult": [1, 2]}, {"channel_mult": [1, 1]},
    {"res_balance": 0.45, "attn_balance": 0.2, "label_balance": 0.6, "concat_balance": 0.4, "clip_act": 1.5,
     "resample_filter": [1, 3, 3, 1], "channel_mult_noise": 2, "channel_mult_emb": 2, "logvar_channels": 32, "sigma_data": 1.0},
]  # fmt: skip
EXTRA = ["noise_mult", "emb_mult", "logvar_channels", "clip_act", "resample_filter"]


def made(kwargs):
    """A net with random gains, by the converter alone, and its weights by released names."""
    config, _ = convert_config(kwargs)
    net = Edm2(**config, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("_gain"):
                parameter.fill_(0.7)
    return net.eval(), net.state_dict()


def convert_config(kwargs):
    """What the converter makes of a class's arguments, tried on weights of the net it names."""
    from guidelab.checkpoints import from_edm2

    names = {from_edm2._NAMES[key]: value for key, value in kwargs.items() if key in from_edm2._NAMES}
    state = Edm2(**names).state_dict()
    config, tensors = convert(state, kwargs)
    return {key: value for key, value in config.items() if key != "name"}, tensors


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_an_option_of_the_class_never_changes_the_net_that_is_computed(option):
    kwargs = {**BASE, **option}
    net, state = made(kwargs)
    x, sigma, cond = cases.inputs(net)
    labels = torch.nn.functional.one_hot(cond, kwargs["label_dim"]).float() if kwargs["label_dim"] else None
    plain = Plain(state, kwargs)
    with torch.no_grad():
        given = cond if kwargs["label_dim"] else None
        expected = plain.denoised(x, sigma, labels)
        for sample in range(len(x)):  # each by itself: a large one hides no small one
            assert cases.relative(net(x, sigma, given)[sample], expected[sample]) < 2e-5
        assert cases.relative(net.logvar(sigma), plain.logvar(sigma)) < 2e-5
    loss = net(x, sigma, given).square().mean()  # the differentiable path
    assert cases.relative(loss, expected.square().mean()) < 2e-5


def test_an_argument_that_a_file_leaves_out_never_has_another_value_than_in_the_class():
    kwargs = {"img_resolution": 16, "img_channels": 2, "channel_mult": [1], "num_blocks": 1}
    whole = {"img_resolution": 16, "img_channels": 2, "channel_mult": [1], "num_blocks": 1, "label_dim": 0,
             "model_channels": 192, "attn_resolutions": [16, 8]}  # fmt: skip
    config, state = convert_config(whole)
    assert convert(state, kwargs) == ({"name": "edm2", **config}, state)


@pytest.mark.parametrize("option", OPTIONS[:17], ids=str)
def test_an_option_matters(option):
    """Otherwise the comparison above shows nothing: another value of the option gives another net."""
    if option in ({"channel_mult_noise": 1}, {"use_fp16": False}, {"clip_act": None}):
        pytest.skip("equal to the class's own default, or beyond the activations of so small a net")
    kwargs = {**BASE, **option}
    net, state = made(kwargs)
    ours = {key: tuple(value.shape) for key, value in state.items()}
    other, state_other = made(
        {key: value for key, value in kwargs.items() if key not in option} | _base(option)
    )
    if ours == {key: tuple(value.shape) for key, value in state_other.items()}:
        x, sigma, cond = cases.inputs(net)
        x, cond = 30 * x, cond if kwargs["label_dim"] else None
        with torch.no_grad():
            assert cases.relative(net(x, sigma, cond), other(x, sigma, cond)) > 1e-4


def _base(option):
    return {key: BASE[key] for key in option if key in BASE}


def test_a_pickle_of_a_net_with_all_options_is_read(tmp_path):
    kwargs = {**BASE, **OPTIONS[-1]}
    net, state = made(kwargs)
    buffers = {name for name, _ in net.named_buffers()}
    parts = {"unet": "UNet", "unet.enc": "ModuleDict", "unet.dec": "ModuleDict"}
    half = {name: tensor.half() for name, tensor in state.items()}
    pickles.write(tmp_path / "a.pkl", Easy(ema=pickles.network(half, buffers, "Precond", kwargs, parts)))
    config, tensors = read_released(tmp_path / "a.pkl", "edm2_pickle")
    assert config.pop("name") == "edm2" and set(EXTRA) <= set(config)
    Edm2(**config).load_state_dict(tensors)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip_act": -1}, {"res_balance": 1.5}, {"resample_filter": [1, 2, 1]}, {"resample_filter": []}, {"chanel_mult_noise": 2},
        {"channel_mult_noise": "x"}, {"model_channels": 1 << 40}, {"num_blocks": 1 << 30}, {"img_resolution": 0}, {"channel_mult": []},
        {"channel_mult": [1] * 100}, {"logvar_channels": -1}, {"channels_per_head": 0}, {"clip_act": "a"}, {"label_dim": -3},
        {"sigma_data": 0}, {"sigma_data": -1}, {"sigma_data": float("nan")}, {"sigma_data": "x"}, {"sigma_data": 1e308}, {"sigma_data": True},
        {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": float("nan")}, {"attn_resolutions": "8"}, {"attn_resolutions": None},
        {"attn_resolutions": [8.0]}, {"resample_filter": [float("nan"), 1]}, {"resample_filter": [1] * 1000}, {"num_blocks": 1.0},
        {"img_resolution": 16.0}, {"num_blocks": True}, {"label_dim": True}, {"clip_act": float("nan")}, {"res_balance": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_net_are_refused(wrong):
    state = Edm2(16, 2, 5, 16, [1, 2, 2], 1, [8], head_channels=16).state_dict()
    with pytest.raises(UserError):
        convert(state, {**BASE, **wrong})
