"""The 2D example: ground truth, networks and trajectories, all in float32 as the reference computed them."""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from compared import FLOAT32, Output
from torch import Tensor

from guidelab.core.degrade import hashed_normal
from guidelab.core.denoiser import Denoiser
from guidelab.core.guidance import Guided, Reference
from guidelab.core.samplers import heun
from guidelab.core.schedules import edm_sigmas
from guidelab.data.toy2d import Toy2d, fractal
from guidelab.nets.toy import ToyDenoiser

_ROUNDING = 3e-7  # relative rounding of one float32 network evaluation; measured, net_score above
_DRAWS = 4
_MOST_UNDERFLOW = 3.0  # nats: the smallest float32 number is a few lost components away from 0, not more


def outputs(tensors: dict[str, Tensor], config: dict[str, Any]) -> Iterator[Output]:
    trees = {classes: fractal(classes) for classes in ("A", "B", "AB")}
    for classes, tree in trees.items():
        yield from _ground_truth(tensors, classes, tree)
    yield from _networks(tensors)
    yield from _trajectories(tensors, config, trees["A"])


def _ground_truth(tensors: dict[str, Tensor], classes: str, tree: Toy2d) -> Iterator[Output]:
    for name, ours in (("phi", tree.weights), ("mu", tree.means), ("Sigma", tree.covs)):
        if f"out/{name}_{classes}" in tensors:
            yield Output(f"out/{name}_{classes}", ours, FLOAT32)
    for name in tensors:
        match = re.fullmatch(rf"out/(logp|score)_{classes}(?:_sigma([\d.e-]+))?", name)
        if match is None:
            continue
        x = tensors["in/x"]
        sigma = tensors["in/sigma"] if match[2] is None else torch.full((len(x),), float(match[2]))
        log_p = tree.log_density(x, sigma)
        unit = _underflow(tree, log_p, sigma)
        if match[1] == "logp":
            yield Output(name, log_p, FLOAT32, unit)
        else:
            score = tree.score(x, sigma)
            yield Output(name, score, FLOAT32, unit[:, None] * score.abs().max())


def _underflow(tree: Toy2d, log_p: Tensor, sigma: Tensor) -> Tensor:
    """Rounding of the reference's log-density [B] where its densities underflow.

    The reference sums densities in float32, so the last bit of the smallest number, 2^-149, times the largest
    normalisation of a component, is what it cannot resolve: nothing for log p above -70, everything below -100.
    """
    variance = torch.linalg.eigvalsh(tree.covs).amin(0)  # [2]: the thinnest component of all
    peak = 1 / (2 * math.pi * (variance + sigma.double()[:, None] ** 2).prod(1).sqrt())
    return (4 * 2.0**-149 * peak.clamp_min(1.0) * (-log_p.double()).exp()).clamp_max(_MOST_UNDERFLOW)


def _networks(tensors: dict[str, Tensor]) -> Iterator[Output]:
    x, sigma = tensors["in/x"], tensors["in/sigma"]
    for name in sorted({key.split("/")[1].split(".")[0] for key in tensors if key.startswith("param/")}):
        net = network(tensors, name)
        for output, ours in (("logp", net.log_density(x, sigma)), ("score", net.score(x, sigma))):
            if f"out/{name}_{output}" in tensors:
                yield Output(f"out/{name}_{output}", ours, FLOAT32)


def network(tensors: dict[str, Tensor], name: str) -> ToyDenoiser:
    """The network `name` of the file: its width and depth are those of its weights."""
    prefix = f"param/{name}."
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    width = state["layers.0.weight"].shape[0]
    hidden = sum(key.endswith(".weight") for key in state) - 1
    net = ToyDenoiser(width, layers=hidden)
    net.load_state_dict(state)
    return net.requires_grad_(False).eval()


def _trajectories(tensors: dict[str, Tensor], config: dict[str, Any], truth: Toy2d) -> Iterator[Output]:
    sigmas = edm_sigmas(
        config["num_steps"],
        config.get("sigma_min", 0.002),
        config.get("sigma_max", 5.0),
        config.get("rho", 7.0),
    )
    for name in tensors:
        match = re.fullmatch(r"out/trajectory_(?:(gt)|w([\d.]+))", name)
        if match is None:
            continue
        predict: Denoiser = truth
        if match[2] is not None:
            guide = Reference(network(tensors, "gnet"), float(match[2]))
            predict = Guided(network(tensors, "net"), [guide])
        start = tensors["in/x_init"]  # already at noise level sigma_max
        ours = _trajectory(predict, start, sigmas)
        yield Output(name, ours, FLOAT32, _conditioning(predict, start, sigmas), samples=1)


def _trajectory(predict: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """All states `[steps + 1, B, 2]` of the sampler, the start first."""
    states: list[Tensor] = []
    heun(predict, x, sigmas, None, callback=lambda step, sigma, x: states.append(x))
    return torch.stack(states)


def _conditioning(predict: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor:
    """How far float32 rounding moves each trajectory, `[1, B, 1]`.

    A strongly guided random network is chaotic: for a few starts, rounding alone moves the end by 1e-4 of the
    largest magnitude, in the reference as in ours, and no implementation agrees with another there. Measured by
    adding noise as large as the rounding to every evaluation, in float64; the tolerance proper covers the others.
    """
    exact = _trajectory(predict, x.double(), sigmas)
    worst = torch.zeros(len(x), dtype=torch.float64)
    for draw in range(_DRAWS):

        def rounded(x: Tensor, sigma: Tensor, cond: Tensor | None, salt: int = draw) -> Tensor:
            denoised = predict(x, sigma, cond)
            noise = hashed_normal(torch.arange(len(x)), sigma, (2,), salt).double()
            return denoised + _ROUNDING * noise * denoised.norm(dim=1, keepdim=True)

        worst = torch.maximum(worst, (_trajectory(rounded, x.double(), sigmas) - exact).abs().amax((0, 2)))
    return 4 * worst[None, :, None]
