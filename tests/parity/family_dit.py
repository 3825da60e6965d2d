"""DiT: network with and without a class, classifier-free guidance of three channels, DDIM samples."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from compared import FLOAT32, FLOAT64, Output
from torch import Tensor

from guidelab.checkpoints.from_dit import convert
from guidelab.core.chain import respaced
from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance import Guided, Reference
from guidelab.core.samplers.chain import ddim
from guidelab.nets.dit import Dit

CHANNELS = 3  # that the released code guides


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    net = network(tensors, config)
    chain = respaced(net.schedule, config.get("timestep_respacing", ""))
    x, steps, labels = tensors.get("in/x"), tensors.get("in/t"), tensors.get("in/y")
    weight = config.get("cfg_scale", 1.0)

    def guided_outputs() -> Tensor:
        """The released order: guided conditional outputs, then the others, which share the guided channels only."""
        forth = Guided(net.raw, [Reference(_unlabelled(net.raw), weight, CHANNELS)])
        back = Guided(_unlabelled(net.raw), [Reference(net.raw, 1 - weight, CHANNELS)])
        return torch.cat([forth(x, steps, labels), back(x, steps, labels)])  # type: ignore[arg-type]

    def samples() -> Tensor:
        guided = Guided(net, [Reference(_unlabelled(net), weight, CHANNELS)])
        return ddim(guided, tensors["in/noise"], chain, labels)

    computed: dict[str, tuple[Callable[[], Tensor], float]] = {
        "timestep_map": (lambda: torch.tensor(chain.steps_original), 0.0),
        "alphas_cumprod": (lambda: chain.alphas_cumprod, FLOAT64),
        "model_out": (lambda: net.raw(x, steps, labels), FLOAT32),  # type: ignore[arg-type]
        "model_out_null": (lambda: net.raw(x, steps, None), FLOAT32),  # type: ignore[arg-type]
        "cfg_out": (guided_outputs, FLOAT32),
        "ddim_cfg": (samples, FLOAT32),
    }
    for name, (compute, tolerance) in computed.items():
        if f"out/{name}" in tensors:
            yield Output(f"out/{name}", compute(), tolerance)


def network(tensors: dict[str, Tensor], config: dict[str, Any]) -> Dit:
    """The denoiser of the file, as the product imports it."""
    prefix = "param/net."
    state = {k.removeprefix(prefix): value for k, value in tensors.items() if k.startswith(prefix)}
    hints = {
        "heads": config["net"]["num_heads"],
        "schedule": config.get("noise_schedule", "linear"),
        "steps": config.get("diffusion_steps", 1000),
    }
    found, ours = convert(state, hints)
    del found["name"]
    net = Dit(**found)
    net.load_state_dict(ours)
    return net.eval().requires_grad_(False)


def _unlabelled(predict: Denoiser) -> Denoiser:
    return lambda x, sigma, cond: predict(x, sigma, None)
