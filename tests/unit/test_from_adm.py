"""Released ADM networks, classifiers and discriminators: what is read from their parameters, and what is refused."""

import pytest
import torch

from guidelab.checkpoints.from_adm import convert_classifier, convert_discriminator, convert_unet
from guidelab.errors import UserError
from guidelab.nets.adm import Adm
from guidelab.nets.adm_encoder import AdmEncoder
from guidelab.nets.adm_unet import AdmUnet
from guidelab.nets.image_discriminator import AdmClassifier, AdmDiscriminator

TINY = {
    "resolution_px": 16, "image_channels": 3, "classes": 4, "channels": 32, "channel_mult": [1, 2], "blocks": 1,
    "attention_px": [8], "head_channels": 32,
}  # fmt: skip


def awake(net, seed=1):
    """Every parameter random, so that what starts at zero takes part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval().requires_grad_(False)


def build(make, config, seed=0):
    arguments = {key: value for key, value in config.items() if key != "name"}
    return make(**arguments, generator=torch.Generator().manual_seed(seed))


def meta(make, **arguments):
    with torch.device("meta"):
        return make(**arguments)


def parameters(net):
    return sum(p.numel() for p in net.parameters())


RELEASED = {"channel_mult": [1, 1, 2, 2, 4, 4], "attention_px": [32, 16, 8]}


@pytest.mark.parametrize(("classes", "count"), [(1000, 553_838_086), (0, 552_814_086)])
def test_released_256_px_networks_are_recognised(classes, count):
    net = meta(Adm, resolution_px=256, image_channels=3, classes=classes)
    assert parameters(net) == count
    config, _ = convert_unet(net.unet.state_dict())
    wanted = {
        "name": "adm", "resolution_px": 256, "image_channels": 3, "classes": classes, "channels": 256, "blocks": 2,
        "head_channels": 64, "scale_shift": True, "resblock_updown": True, "learn_sigma": True, "schedule": "linear",
        "split_first": False, "learned_resampling": True, **RELEASED,
    }  # fmt: skip
    assert config == wanted


def test_other_released_networks_are_recognised():
    common = {"image_channels": 3, "labels": 1000, "outputs": 6, "attention_px": [32, 16, 8]}
    small = meta(AdmUnet, resolution_px=64, channels=192, channel_mult=[1, 2, 3, 4], blocks=3, **common)
    found = convert_unet(small.state_dict())[0]
    assert (found["schedule"], found["split_first"], found["head_channels"]) == ("cosine", True, 64)
    assert (found["resolution_px"], found["blocks"], found["attention_px"]) == (64, 3, [32, 16, 8])
    middle = meta(AdmUnet, resolution_px=128, channels=256, channel_mult=[1, 1, 2, 3, 4], blocks=2, **common)
    found = convert_unet(middle.state_dict())[0]
    assert (found["resolution_px"], found["head_channels"], found["heads"]) == (128, None, 4)
    large = meta(
        AdmUnet, resolution_px=512, channels=256, channel_mult=[0.5, 1, 1, 2, 2, 4, 4], blocks=2, **common
    )
    found = convert_unet(large.state_dict())[0]
    assert (found["resolution_px"], found["channel_mult"][0]) == (512, 0.5)


CLASSIFIERS = [  # resolution, levels, blocks, image channels, parameters of the whole (discriminator-guidance's: known)
    (256, [1, 1, 2, 2, 4, 4], 2, 3, None, "discrete"),
    (64, [1, 2, 3, 4], 4, 3, 65_438_568, "discrete_cosine"),
    (32, [1, 2, 4], 4, 3, 47_771_112, "discrete"),
    (32, [1, 2, 3], 2, 4, 20_832_488, "discrete"),
]


@pytest.mark.parametrize(("side", "mult", "blocks", "channels", "count", "schedule"), CLASSIFIERS)
def test_released_classifiers_are_recognised(side, mult, blocks, channels, count, schedule):
    sized = {"resolution_px": side, "image_channels": channels, "channel_mult": mult, "blocks": blocks}
    net = meta(AdmEncoder, outputs=1000, attention_px=[32, 16, 8], **sized)
    assert count is None or parameters(net) == count
    config, tensors = convert_classifier(net.state_dict())
    assert {k: config[k] for k in sized} == sized and config["schedule"] == schedule
    assert config["attention_px"] == [32, 16, 8] and config["classes"] == 1000
    assert set(meta(AdmClassifier, **{k: v for k, v in config.items() if k != "name"}).state_dict()) == set(
        tensors
    )


@pytest.mark.parametrize(
    ("case", "classes", "count", "schedule"),
    [(1, 0, 2_883_841, "cosine"), (2, 0, 2_883_841, "linear"), (2, 1000, 3_395_841, "linear"),
     (3, 1000, 3_248_385, "discrete")],
)  # fmt: skip
def test_released_discriminators_are_recognised(case, classes, count, schedule):
    side, mult, blocks, channels, _, _ = CLASSIFIERS[case]
    sized = {"resolution_px": side, "image_channels": channels, "channel_mult": mult, "blocks": blocks}
    net = meta(AdmDiscriminator, resolution_px=side, image_channels=channels, classes=classes,
               extractor={**sized, "classes": 1000})  # fmt: skip
    assert parameters(net.head) == count
    config, tensors = convert_discriminator(net.extractor.encoder.state_dict(), net.head.state_dict())
    assert config["extractor"]["schedule"] == schedule and config["classes"] == classes
    assert set(tensors) == set(net.state_dict())


def test_imported_discriminator_gives_the_same_logits():
    extractor = {"resolution_px": 16, "image_channels": 4, "classes": 5, "channels": 32, "channel_mult": [1, 2],
                 "blocks": 1, "attention_px": [8], "head_channels": 32}  # fmt: skip
    net = awake(build(AdmDiscriminator, {
        "resolution_px": 16, "image_channels": 4, "classes": 4, "extractor": {**extractor, "schedule": "discrete"},
        "channels": 32, "blocks": 1, "head_channels": 32,
    }))  # fmt: skip
    config, tensors = convert_discriminator(
        net.extractor.encoder.state_dict(), net.head.state_dict(), {"head_channels": 32, "resolution_px": 16}
    )
    again = AdmDiscriminator(**{k: v for k, v in config.items() if k != "name"})
    again.load_state_dict(tensors)
    x = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    sigma, cond = torch.tensor([0.1, 2.0, 40.0]), torch.tensor([0, 3, 1])
    assert torch.equal(again.eval()(x, sigma, cond), net(x, sigma, cond))


def test_what_does_not_fit_is_refused_with_a_reason():
    unet = build(Adm, TINY).unet.state_dict()
    classifier = build(AdmEncoder, {
        "resolution_px": 16, "image_channels": 3, "outputs": 4, "channels": 32, "channel_mult": [1, 2], "blocks": 1,
        "attention_px": [8],
    }).state_dict()  # fmt: skip
    short = {key: value for key, value in unet.items() if key != "output_blocks.1.0.in_layers.2.bias"}
    wide = {**unet, "out.2.weight": torch.zeros(9, 32, 3, 3)}
    odd = {**unet, "label_emb.weight": torch.zeros(4, 99)}
    conditional = {**classifier, "label_emb.weight": torch.zeros(4, 128)}
    for given, hints, words in (
        (short, None, "output_blocks.1.0.in_layers.2.bias"),
        (wide, None, "9 output"),
        (odd, None, "label_emb.weight"),
        ({"a": torch.zeros(1)}, None, "time_embed"),
        (classifier, None, r"out\.2\.weight"),
        (unet, {"colour": 3}, "colour"),
        (unet, {"blocks": 3}, "input blocks"),
        (unet, {"head_channels": 48}, "heads of 48"),
    ):
        with pytest.raises(UserError, match=words):
            convert_unet(given, hints)
    for given, hints, words in (
        (conditional, None, "discriminator's head"),
        (classifier, {"resolution_px": 24}, "8 px"),
        (classifier, {"resolution_px": 32}, "input blocks"),
        (unet, None, "c_proj|out.3"),
    ):
        with pytest.raises(UserError, match=words):
            convert_classifier(given, hints)
    with pytest.raises(UserError, match="another classifier"):
        convert_discriminator(classifier, classifier)
    alike = build(AdmEncoder, {
        "resolution_px": 16, "image_channels": 3, "outputs": 4, "channels": 32, "channel_mult": [1, 1], "blocks": 1,
        "attention_px": [], "pool": "adaptive",
    }).state_dict()  # fmt: skip
    with pytest.raises(UserError, match=r"1, 3 blocks in a level alike.*`blocks`"):
        convert_classifier(alike)
    assert convert_classifier(alike, {"blocks": 1})[0]["channel_mult"] == [1, 1]
