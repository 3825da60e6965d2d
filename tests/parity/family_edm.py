"""EDM's networks of 2022 through the converter of released weights: denoised output, rounding, sampler."""

from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT32, Output
from torch import Tensor

from guidelab.checkpoints.from_edm import convert
from guidelab.core.denoiser import cast
from guidelab.core.samplers import heun
from guidelab.core.schedules import edm_sigmas
from guidelab.nets.edm import Edm

_ROUNDED = (0.01, 0.5, 3.0, 70.0)  # the noise levels behind `out/round_sigma`, where the file has no others
_SIGMA_MIN, _SIGMA_MAX, _RHO = 0.002, 80.0, 7.0  # of EDM's sampler; a net may know less


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    net = network(tensors, config)
    cond = _indices(tensors.get("in/class_labels"))
    names = [name for name in tensors if name.startswith("out/")]
    told = [name for name in names if name.endswith("augment") and not name.endswith("no_augment")]
    for name in names:
        if name == "out/round_sigma":
            levels = tensors.get("in/round_sigma", torch.tensor(_ROUNDED))
            yield Output(name, net.round_sigma(levels), FLOAT32)
        elif name.startswith("out/denoised"):
            labels = None if "no_label" in name or "uncond" in name else cond
            # without an output of that name, the plain one was given the augmentation labels
            augmented = name in told or not (told or name.endswith("no_augment"))
            augment = tensors.get("in/augment_labels") if augmented else None
            yield Output(name, net(tensors["in/x"], tensors["in/sigma"], labels, augment), FLOAT32)
        elif name.startswith("out/sample"):
            yield Output(name, _sample(net, tensors["in/noise"], cond, config["num_steps"]), FLOAT32)


def network(tensors: dict[str, Tensor], config: dict[str, Any]) -> Edm:
    """The network of the file, as a released checkpoint would be read."""
    prefix = "param/net."
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    ours, ours_state = convert(state, {**config["net"], "precond": config.get("precond", "EDMPrecond")})
    net = Edm(**{key: value for key, value in ours.items() if key != "name"})
    net.load_state_dict(ours_state)
    return net.requires_grad_(False).eval()


def _indices(labels: Tensor | None) -> Tensor | None:
    """Class indices of one-hot rows; the rows themselves where they are not one-hot; None of nothing."""
    if labels is None or labels.shape[-1] == 0:
        return None
    one_hot = torch.equal(labels, torch.nn.functional.one_hot(labels.argmax(1), labels.shape[1]).to(labels))
    return labels.argmax(1) if one_hot else labels


def _sample(net: Edm, noise: Tensor, cond: Tensor | None, steps: int) -> Tensor:
    """Heun in float64 from the noise levels that both the sampler and the net know."""
    low, high = net.sigma_range
    sigmas = edm_sigmas(steps, max(_SIGMA_MIN, low), min(_SIGMA_MAX, high), _RHO)
    sigmas = torch.cat([net.round_sigma(sigmas[:-1]), sigmas[-1:]])
    start = noise.double() * sigmas[0]
    samples: Tensor = heun(cast(net, torch.float32), start, sigmas, cond)
    return samples
