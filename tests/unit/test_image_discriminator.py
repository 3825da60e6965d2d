"""ADM's half U-Net and the small nets: released shapes and values, gradients, states rebuilt from their arguments."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from guidelab import registry
from guidelab.core.guidance import Potential
from guidelab.core.guidance.classifier import classifier
from guidelab.nets import vp_time
from guidelab.nets.adm_blocks import AttentionBlock, AttentionPool
from guidelab.nets.adm_encoder import AdmEncoder
from guidelab.nets.image_discriminator import AdmClassifier, AdmDiscriminator, variance_preserving
from guidelab.nets.small_discriminator import scaled

REFERENCE = Path(__file__).parent / "data" / "adm_classifier.safetensors"
SMALL = {"name": "small_classifier", "resolution_px": 8, "image_channels": 1, "classes": 3, "channels": 8}
ADM = {
    "name": "adm_classifier", "resolution_px": 8, "image_channels": 1, "classes": 3, "channels": 32,
    "channel_mult": [1, 2], "blocks": 1, "attention_px": [4], "head_channels": 32,
}  # fmt: skip
NETS = [
    SMALL,
    ADM,
    {"name": "small_discriminator", "resolution_px": 8, "image_channels": 1, "classes": 3, "channels": 8},
    {**SMALL, "name": "small_discriminator", "classes": 0, "extractor": SMALL},
    {"name": "adm_discriminator", "resolution_px": 8, "image_channels": 1, "classes": 3, "extractor": ADM,
     "channels": 32, "blocks": 1, "head_channels": 32},
]  # fmt: skip


def build(config, seed=0):
    arguments = {key: value for key, value in config.items() if key != "name"}
    generator = torch.Generator().manual_seed(seed)
    return registry.load("net", config["name"])(**arguments, generator=generator)


def awake(net, seed=1):
    """Every parameter random, so that what starts at zero takes part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


def images(n=4, seed=2):
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.tensor([0.01, 0.3, 2.0, 40.0])[:n]
    x = torch.randn(n, 1, 8, 8, generator=generator) * (0.25 + sigma[:, None, None, None] ** 2).sqrt()
    return x, sigma, torch.tensor([0, 2, 1, 1])[:n]


def test_released_classifier_values_are_reproduced():
    with safe_open(REFERENCE, framework="pt") as file:
        c, size = (json.loads(file.metadata()["config"])[key] for key in ("classifier", "resolution"))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    net = AdmEncoder(
        resolution_px=size, image_channels=3, outputs=10, channels=c["model_channels"],
        channel_mult=c["channel_mult"], blocks=c["num_res_blocks"], head_channels=c["num_head_channels"],
        attention_px=[size // factor for factor in c["attention_resolutions"]],
    )  # fmt: skip
    state = {
        k.removeprefix("param/classifier."): v.float() for k, v in tensors.items() if k.startswith("param/")
    }
    net.load_state_dict(state)
    wanted = tensors["out/classifier_logits"]
    found = net(tensors["in/x"], tensors["in/timesteps"])
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    noisy_classifier = AdmClassifier(size, 3, 10, channels=32, channel_mult=[1, 2], blocks=1, attention_px=[8],
                                     head_channels=32)  # fmt: skip
    noisy_classifier.encoder.load_state_dict(state)
    time = tensors["in/timesteps"] / vp_time.STEPS
    sigma = vp_time.sigma_of_time(time)
    log_p = noisy_classifier(tensors["in/x"] * (1 + sigma**2).sqrt()[:, None, None, None], sigma)
    torch.testing.assert_close(log_p, wanted.log_softmax(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"resolution_px": 32, "image_channels": 3, "outputs": 1000}, 47_771_112),
        ({"resolution_px": 64, "image_channels": 3, "outputs": 1000, "channel_mult": [1, 2, 3, 4],
          "attention_px": [32, 16, 8]}, 65_438_568),
        ({"resolution_px": 32, "image_channels": 4, "outputs": 1000, "blocks": 2, "channel_mult": [1, 2, 3]},
         20_832_488),
    ],
)  # fmt: skip
def test_released_extractors_have_as_many_parameters(arguments, count):
    with torch.device("meta"):
        net = AdmEncoder(**arguments)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(("classes", "count"), [(0, 2_883_841), (1000, 3_395_841)])
def test_released_heads_have_as_many_parameters(classes, count):
    with torch.device("meta"):
        net = AdmDiscriminator(
            32, 3, {"resolution_px": 32, "image_channels": 3, "classes": 1000}, classes=classes
        )
    assert sum(p.numel() for p in net.head.parameters()) == count
    assert net.extractor.encoder.feature_shape == (512, 8, 8)


def test_times_and_noise_levels_invert_each_other():
    sigma = torch.tensor([0.001, 0.0447, 1.0, 80.0, 152.17], dtype=torch.float64)
    tau = vp_time.time_of_sigma(sigma)
    torch.testing.assert_close(vp_time.sigma_of_time(tau), sigma, rtol=1e-9, atol=0)
    torch.testing.assert_close(tau[[1, 3]], torch.tensor([0.01, 0.9335]).double(), rtol=2e-3, atol=0)
    torch.testing.assert_close(vp_time.marginal_mean(tau), 1 / (1 + sigma**2).sqrt(), rtol=1e-9, atol=0)
    torch.testing.assert_close(vp_time.log_sigma_squared(tau), 2 * sigma.log(), rtol=1e-6, atol=1e-6)
    assert float(vp_time.log_uniform_length()) == pytest.approx(23.8645, abs=1e-4)
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled, steps = variance_preserving(x, sigma)
    assert torch.equal(steps, tau * 999) and float(scaled.abs().max()) <= float(x.abs().max())
    with pytest.raises(ValueError, match="schedule"):
        variance_preserving(x, sigma, "sigmoid")


def naive_attention(q, k, v):
    return torch.softmax(q.T @ k / q.shape[0] ** 0.5, dim=1) @ v.T  # [T, C]


@pytest.mark.parametrize("split_first", [False, True])
def test_attention_against_one_head_at_a_time(split_first):
    block = awake(AttentionBlock(64, 2, split_first))
    x = torch.randn(1, 64, 3, 3, generator=torch.Generator().manual_seed(4))
    qkv = block.qkv(block.norm(x).flatten(2))[0]  # [192, 9]
    rows = (
        torch.arange(192).reshape(3, 2, 32)
        if split_first
        else torch.arange(192).reshape(2, 3, 32).transpose(0, 1)
    )
    heads = [naive_attention(*(qkv[rows[part, head]] for part in range(3))) for head in range(2)]
    wanted = x + block.proj_out(torch.cat(heads, dim=1).T[None]).reshape(x.shape)
    torch.testing.assert_close(block(x), wanted)
    pool = awake(AttentionPool(3, 64, 2, 5))
    tokens = x.flatten(2)[0]
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + pool.positional_embedding
    qkv = pool.qkv_proj(tokens[None])[0].reshape(3, 2, 32, 10)
    mean = torch.cat([naive_attention(*qkv[:, head])[0] for head in range(2)])
    torch.testing.assert_close(pool(x)[0], pool.c_proj(mean[None, :, None])[0, :, 0])


def test_other_options_of_the_encoder_have_the_released_names():
    common = {"resolution_px": 8, "image_channels": 1, "outputs": 5, "channels": 32, "channel_mult": [1, 2]}
    plain = AdmEncoder(
        **common, blocks=1, attention_px=[], scale_shift=False, resblock_down=False, pool="adaptive"
    )
    state = plain.state_dict()
    assert state["input_blocks.2.0.op.weight"].shape == (32, 32, 3, 3)
    assert state["input_blocks.1.0.emb_layers.1.weight"].shape == (32, 128)
    assert state["out.3.weight"].shape == (5, 64, 1, 1)
    assert awake(plain)(*images()[:2]).shape == (4, 5)
    for wrong, words in (
        ({"pool": "spatial"}, "pool"),
        ({"resolution_px": 7}, "halved"),
        ({"channels": 20}, "32"),
    ):
        with pytest.raises(ValueError, match=words):
            AdmEncoder(**{**common, **wrong})


@pytest.mark.parametrize("config", NETS, ids=lambda c: f"{c['name']}-{'extractor' in c}")
def test_rebuilt_from_arguments_and_state_it_is_the_same_net(config):
    net = awake(build(config))
    again = build(json.loads(json.dumps(config)), seed=9)
    again.load_state_dict(net.state_dict())
    x, sigma, cond = images()
    assert torch.equal(again.eval()(x, sigma, cond), net(x, sigma, cond))
    one, other = build(config), build(config)
    assert all(torch.equal(one.state_dict()[k], v) for k, v in other.state_dict().items())


@pytest.mark.parametrize("config", NETS, ids=lambda c: f"{c['name']}-{'extractor' in c}")
def test_gradients_are_in_the_images_own_units_and_reach_no_parameter(config):
    net = awake(build(config)).double()
    net.requires_grad_(True)  # even if it was not frozen
    x, sigma, cond = (t.double() if t.is_floating_point() else t for t in images())
    term = Potential(net, 1.0) if "discriminator" in config["name"] else classifier(net, 1.0)
    added = term.delta(x, sigma, cond, x)
    assert all(p.grad is None for p in net.parameters()) and not added.requires_grad
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-5 * sigma[:, None, None, None]
    up, down = (term.log_potential(x + s * step * direction, sigma, cond) for s in (1, -1))
    slope = (up - down).detach() / (2 * step[:, 0, 0, 0])
    wanted = (added * direction).sum((1, 2, 3)) / sigma**2
    torch.testing.assert_close(slope, wanted, rtol=2e-4, atol=1e-7)


def test_discriminators_are_conditional_or_not_and_fit_their_extractor():
    x, sigma, cond = images()
    conditional = awake(build(NETS[2]))
    assert not torch.equal(conditional(x, sigma, cond), conditional(x, sigma, (cond + 1) % 3))
    with pytest.raises(ValueError, match="no class"):
        conditional(x, sigma, None)
    untold = awake(build(NETS[3]))
    assert torch.equal(untold(x, sigma, cond), untold(x, sigma, None))
    for wrong, words in ((ADM, "wanted small_classifier"), ({**SMALL, "resolution_px": 16}, "16 px")):
        with pytest.raises(ValueError, match=words):
            build({**NETS[3], "extractor": wrong})
    with pytest.raises(ValueError, match="halved"):
        build({**SMALL, "resolution_px": 6})
    assert not any(p.requires_grad for p in build(NETS[4]).extractor.parameters())


def test_small_nets_start_with_constant_logits_and_take_clean_images():
    x, sigma, cond = images()
    for config in NETS[2:4]:
        assert torch.equal(build(config)(x, sigma, cond), torch.zeros(4))
    net = build(SMALL).eval()
    features, logits = net.features(x.clamp(-1, 1))
    assert features.shape == (4, 64) and logits.shape == (4, 3)
    clean = net(x.clamp(-1, 1), torch.zeros(4))
    torch.testing.assert_close(logits.log_softmax(1), clean)
    torch.testing.assert_close(clean.exp().sum(1), torch.ones(4))
    assert (
        sum(p.numel() for p in build({**SMALL, "resolution_px": 16, "channels": 32}).parameters()) < 300_000
    )


def test_a_sample_does_not_depend_on_its_batch():
    x, sigma, cond = images()
    for config in NETS:
        net: nn.Module = awake(build(config))
        torch.testing.assert_close(net(x, sigma, cond)[2:3], net(x[2:3], sigma[2:3], cond[2:3]))


@pytest.mark.parametrize("sigma", [0.01, 0.5, 80.0])
def test_a_small_nets_input_has_unit_deviation_at_every_noise_level(sigma):
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(4, 1, 32, 32, generator=generator) for _ in range(2))
    found = scaled(0.5 * images + sigma * noise, torch.full((4,), sigma))
    assert float(found.std()) == pytest.approx(1, abs=0.05)
