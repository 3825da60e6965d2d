"""EDM2's network, log-variance head, per-sample seeds and sampler, from the configuration the file carries."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT32, Output
from torch import Tensor

from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance import Guided, Reference
from guidelab.core.noise import SeededNoise
from guidelab.core.samplers import Churn, heun
from guidelab.core.schedules import edm_sigmas
from guidelab.nets.edm2 import Edm2

_CHURN = {"S_churn": 2.5, "S_min": 0.1, "S_max": 20.0, "S_noise": 1.003}  # of outputs named `_churn`
_NAMES = {
    "img_resolution": "resolution_px",
    "img_channels": "image_channels",
    "label_dim": "classes",
    "model_channels": "channels",
    "channel_mult": "channel_mult",
    "num_blocks": "blocks",
    "attn_resolutions": "attention_px",
    "sigma_data": "sigma_data",
    "channels_per_head": "head_channels",
}


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    net = network(tensors, config, "net")
    sigma = tensors["in/sigma"]
    labels = tensors.get("in/class_labels")
    for name in [name for name in tensors if name.startswith("out/")]:
        sample = re.fullmatch(r"out/sample_w([\d.e-]+)(_churn)?", name)
        if sample is not None:
            predict: Denoiser = net
            if float(sample[1]) != 1:
                predict = Guided(net, [Reference(network(tensors, config, "gnet"), float(sample[1]))])
            yield Output(name, _sample(predict, tensors, config, churned=sample[2] is not None), FLOAT32)
        elif name == "out/denoised":
            yield Output(name, net(tensors["in/x"], sigma, _indices(labels)), FLOAT32)
        elif name == "out/denoised_no_label":
            yield Output(name, net(tensors["in/x"], sigma, None), FLOAT32)
        elif name == "out/logvar":
            yield Output(name, net.logvar(sigma).reshape(-1, 1, 1, 1), FLOAT32)


def network(tensors: dict[str, Tensor], config: dict[str, Any], name: str) -> Edm2:
    """The network `name` of the file, with its weights; a configuration entry we do not know is an error."""
    net = Edm2(**{_NAMES[key]: value for key, value in config[name].items()})
    prefix = f"param/{name}."
    net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return net.requires_grad_(False).eval()


def _indices(labels: Tensor | None) -> Tensor | None:
    """Class indices of one-hot rows; None of nothing (or of no classes)."""
    return labels.argmax(1) if labels is not None and labels.shape[1] else None


def _sample(
    predict: Denoiser, tensors: dict[str, Tensor], config: dict[str, Any], *, churned: bool
) -> Tensor:
    """Sampler output from seeds alone; what the seeds give must be the reference's noise and labels."""
    shape = config["net"]["img_channels"], *[config["net"]["img_resolution"]] * 2
    noise = SeededNoise(tensors["in/seeds"].tolist())
    start = noise.randn(shape)
    assert torch.equal(start, tensors["in/noise"]), "in/noise: our generators give other numbers"
    cond = noise.randint(config["net"]["label_dim"]) if config["net"]["label_dim"] else None
    if cond is not None and "in/sample_labels" in tensors:
        assert torch.equal(cond, tensors["in/sample_labels"].argmax(1)), "in/sample_labels: other labels"
    churn = None
    if churned:
        churn = Churn(
            noise=lambda step: noise.randn(shape), **{k: config.get(k, v) for k, v in _CHURN.items()}
        )
    low, high, rho = (config.get(k, v) for k, v in (("sigma_min", 0.002), ("sigma_max", 80.0), ("rho", 7.0)))
    sigmas = edm_sigmas(config["num_steps"], low, high, rho)
    samples: Tensor = heun(predict, start * high, sigmas, cond, churn=churn)
    return samples
