"""Real points and samples at many noise levels, and all that nets and the exact density say of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guidelab.assemble import Nets, assemble
from guidelab.core.denoiser import at_step
from guidelab.metrics.units import stratified_sigmas

CHUNK = 8192  # rows evaluated at once
Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Noisy:
    """Points `[N, R, 2]` at noise levels `[N, R]`: rows are independent, columns share their clean point."""

    clean: Tensor  # [N, 2]
    sigma: Tensor  # [N, R] float64
    eps: Tensor  # [N, R, 2] float64
    x: Tensor  # [N, R, 2] float64


def noisy(clean: Tensor, low: float, high: float, draws: int, generator: torch.Generator) -> Noisy:
    """`draws` log-uniform noise levels a point, one in each stratum of all of them, with both signs of the noise.

    Args:
        clean: `[N, 2]`.
        low, high: ends of the range; equal for points at one noise level.
        draws: noise levels a point; R = 2 draws.
        generator: of levels and noise.
    """
    n = len(clean)
    if low == high:
        levels = torch.full((n, draws), low, dtype=torch.float64)
    else:
        uniform = torch.rand(n * draws, generator=generator, dtype=torch.float64).numpy()
        place = torch.randperm(n * draws, generator=generator)
        levels = torch.from_numpy(stratified_sigmas(uniform, low, high))[place].view(n, draws)
    half = torch.randn(n, draws, 2, generator=generator, dtype=torch.float64)
    eps = torch.stack([half, -half], dim=2).view(n, 2 * draws, 2)
    sigma = levels.repeat_interleave(2, dim=1)
    points = clean.to(torch.float64)
    return Noisy(points, sigma, eps, points[:, None] + sigma[..., None] * eps)


def denoisers(job: Mapping[str, Any], nets: Nets) -> tuple[Denoise, Denoise]:
    """The main net's denoiser and the sampler's, each with every noise level as a step of its own.

    Guidance of first evaluations only counts at half its weight, as in the sampler's flow; guidance in an interval of
    noise levels is on for the levels inside.
    """
    edges = sorted({t[key] for t in job["terms"] for key in ("sigma_lo", "sigma_hi") if t[key]})
    asked: list[list[Any]] = [[], job["terms"]]
    built = [assemble({**job, "terms": terms}, nets, None, flow=True).predict for terms in asked]

    def stepped(predict: Any) -> Denoise:
        def at(x: Tensor, sigma: Tensor) -> Tensor:
            result = torch.empty_like(x)
            group = torch.from_numpy(np.digitize(sigma.numpy(), edges, right=True))
            for one in sorted(set(group.tolist())):
                here = group == one
                result[here] = at_step(predict, float(sigma[here][0]))(x[here], sigma[here], None)
            return result

        return at

    return stepped(built[0]), stepped(built[1])


def denoised(predict: Denoise, points: Noisy) -> Tensor:
    """`D(x, sigma)` `[N, R, 2]` in float64; the net itself computes in float32."""
    with torch.no_grad():
        parts = [
            predict(x.to(torch.float32), sigma.to(torch.float32)).to(torch.float64)
            for x, sigma in zip(
                points.x.reshape(-1, 2).split(CHUNK),  # type: ignore[no-untyped-call]
                points.sigma.reshape(-1).split(CHUNK),  # type: ignore[no-untyped-call]
                strict=True,
            )
        ]
    return torch.cat(parts).view(points.x.shape)


def logits(net: nn.Module, points: Noisy) -> Tensor:
    """The grader's logits `[N, R]`, float64."""
    return _logits(net, points, gradients=False)[0]


def logits_and_gradients(net: nn.Module, points: Noisy) -> tuple[Tensor, Tensor]:
    """The grader's logits `[N, R]` and their gradients with respect to the points `[N, R, 2]`, float64."""
    return _logits(net, points, gradients=True)


def _logits(net: nn.Module, points: Noisy, gradients: bool) -> tuple[Tensor, Tensor]:
    values, slopes = [], []
    for x, sigma in zip(
        points.x.reshape(-1, 2).split(CHUNK),  # type: ignore[no-untyped-call]
        points.sigma.reshape(-1).split(CHUNK),  # type: ignore[no-untyped-call]
        strict=True,
    ):
        with torch.set_grad_enabled(gradients):
            point = x.to(torch.float32).requires_grad_(gradients)
            value = net(point, sigma.to(torch.float32), None)
            slope = torch.autograd.grad(value.sum(), point)[0] if gradients else torch.zeros_like(point)
        values.append(value.detach().to(torch.float64))
        slopes.append(slope.to(torch.float64))
    return torch.cat(values).view(points.sigma.shape), torch.cat(slopes).view(points.x.shape)


def true_scores(data: Any, points: Noisy) -> Tensor:
    """The exact score of the data's density at each point's noise level, `[N, R, 2]` float64."""
    found: Tensor = data.score(points.x.reshape(-1, 2), points.sigma.reshape(-1))
    return found.view(points.x.shape)
