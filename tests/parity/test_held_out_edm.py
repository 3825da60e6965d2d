"""The EDM comparison with files of other configurations, made here by the plain implementation."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import test_parity
import torch
from edm_plain import Plain, labels_of, sample
from families import FAMILIES, Reference, family_of
from safetensors.torch import save_file
from torch import Tensor

from guidelab.checkpoints.from_edm import config_of
from guidelab.nets.edm import Edm

_STEPS = 7  # with fewer, Heun's last slope multiplies rounding errors of D by the ratio of two noise levels
_SONG: dict[str, Any] = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": 4,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}
_NCSNPP = {
    **_SONG,
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
    "channel_mult_noise": 2,
}
_ADM: dict[str, Any] = {
    **{key: value for key, value in _SONG.items() if key != "model_type"},
    "model_type": "DhariwalUNet",
    "model_channels": 32,
    "channel_mult": [1, 2, 4],
    "attn_resolutions": [8, 4],
}
_OTHER = {"channel_mult": [2, 1, 1], "num_blocks": 2, "img_channels": 1, "channel_mult_emb": 2}
CASES = {
    "ddpmpp": ("EDMPrecond", {**_SONG, "augment_dim": 5}),
    "ddpmpp_vp_uncond": ("VPPrecond", {**_SONG, **_OTHER, "label_dim": 0, "attn_resolutions": [8]}),
    "ncsnpp": ("EDMPrecond", {**_NCSNPP, "augment_dim": 9, "sigma_data": 0.7}),
    "ncsnpp_ve": ("VEPrecond", {**_NCSNPP, **_OTHER}),
    "skip": ("EDMPrecond", {**_NCSNPP, "encoder_type": "skip", "decoder_type": "skip", "label_dropout": 0.1}),
    "skip_box": (
        "VPPrecond",
        {**_SONG, **_OTHER, "encoder_type": "residual", "decoder_type": "skip", "img_resolution": 16},
    ),
    "adm": ("EDMPrecond", {**_ADM, "augment_dim": 3}),
    "adm_iddpm": ("iDDPMPrecond", {**_ADM, "num_blocks": 2}),
    "adm_uncond": ("EDMPrecond", {**_ADM, **_OTHER, "label_dim": 0, "model_channels": 64}),
}


def parameters(precond: str, config: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
    """Random float16 weights under released names, none of them zero."""
    ours = config_of({**config, "precond": precond})
    state = Edm(**{key: value for key, value in ours.items() if key != "name"}).state_dict()
    weights = {}
    for name, value in state.items():
        if name == "precond.u":
            weights["u"] = value
            continue
        fan = math.sqrt(value[0].numel()) if value.ndim > 1 else 8
        drawn = torch.randn(value.shape, generator=generator) / fan
        if "norm" in name and name.endswith("weight"):
            drawn += 1
        weights["model." + name.removeprefix("unet.")] = (value if "freqs" in name else drawn).half()
    return weights


def reference_file(path: Path, precond: str, config: dict[str, Any]) -> Reference:
    generator = torch.Generator().manual_seed(1)
    weights = parameters(precond, config, generator)
    side, classes = config["img_resolution"], config["label_dim"]
    plain = Plain({name: value.float() for name, value in weights.items()}, config, precond)
    low, high = {
        "VEPrecond": (0.02, 80.0),
        "iDDPMPrecond": (float(weights.get("u", torch.ones(2))[-2]), 80.0),
    }.get(precond, (0.002, 80.0))
    times = [
        (high ** (1 / 7) + i / (_STEPS - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(_STEPS)
    ]
    if precond == "iDDPMPrecond":
        times = [float(weights["u"][(weights["u"] - t).abs().argmin()]) for t in times]
    shape = (3, config["img_channels"], side, side)
    labels = labels_of(classes, [1, 0, 3])
    tensors = {f"param/net.{name}": value for name, value in weights.items()}
    tensors["in/x"] = torch.randn(shape, generator=generator)
    tensors["in/noise"] = torch.randn(shape, generator=generator)
    tensors["in/sigma"] = torch.tensor([0.05, 0.8, 12.0])
    if labels is not None:
        tensors["in/class_labels"] = labels
    x, sigma = tensors["in/x"], tensors["in/sigma"]
    tensors["out/denoised"] = plain(x, sigma, labels).float()
    tensors["out/denoised_no_label"] = plain(x, sigma, None).float()
    if config.get("augment_dim"):
        tensors["in/augment_labels"] = augment = torch.randn(3, config["augment_dim"], generator=generator)
        tensors["out/denoised_augment"] = plain(x, sigma, labels, augment).float()
    tensors["out/sample_7"] = sample(plain, tensors["in/noise"], labels, [*times, 0.0])
    header = {"config": json.dumps({"precond": precond, "net": config, "num_steps": _STEPS})}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, header)
    return Reference.load(path)


@pytest.mark.parametrize("name", CASES)
def test_other_configurations_agree(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"edm_{name}.safetensors"
    reference = reference_file(path, *CASES[name])
    with torch.no_grad():
        outputs = list(family_of(path)(reference.tensors, reference.config))
    assert test_parity.failures(outputs, reference.pinned()) == []
    distinct = [value for key, value in reference.pinned().items() if "denoised" in key]
    for first in range(len(distinct)):  # labels and augmentation labels do something
        for second in range(first):
            same = torch.equal(distinct[first], distinct[second])
            assert same == ("uncond" in name)


def test_iddpm_rounds_to_the_table_in_the_file() -> None:
    precond, config = CASES["adm_iddpm"]
    weights = parameters(precond, config, torch.Generator().manual_seed(1))
    weights["u"] = u = weights["u"] * 1.1  # not the table that follows from the configuration
    wanted = torch.stack([u[(u - s).abs().argmin()] for s in (0.01, 0.5, 3.0, 70.0)])
    tensors = {f"param/net.{name}": value.float() for name, value in weights.items()}
    tensors["out/round_sigma"] = wanted
    outputs = FAMILIES["edm_"](tensors, {"precond": precond, "net": config})
    assert test_parity.failures(outputs, {"out/round_sigma": wanted}) == []
    assert wanted[1] != 0.5
