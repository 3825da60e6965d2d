"""Images at many noise levels, and what nets say of them: denoised images, logits, gradients of logits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guidelab.assemble import Nets, assemble
from guidelab.core.denoiser import at_step, per_sample
from guidelab.metrics.units import stratified_sigmas
from guidelab.train.noisy import Images

CHUNK = 250  # images evaluated at once: small nets' activations stay in cache
Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Noised:
    """Images at noise levels: rows are independent, the R columns of a row share their clean image."""

    clean: Tensor  # [N, C, H, W] float32 in [-1, 1]
    labels: Tensor | None  # [N] int64
    sigma: Tensor  # [N, R] float64
    x: Tensor  # [N, R, C, H, W] float32

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Flat chunks: noisy images `[B, C, H, W]`, their noise levels `[B]` float32, their labels."""
        x, sigma = self.x.flatten(0, 1), self.sigma.flatten().to(torch.float32)
        labels = None if self.labels is None else self.labels.repeat_interleave(self.sigma.shape[1])
        for a in range(0, len(x), CHUNK):
            b = a + CHUNK
            yield x[a:b], sigma[a:b], None if labels is None else labels[a:b]


def noised(images: Images, low: float, high: float, draws: int, generator: torch.Generator) -> Noised:
    """`draws` log-uniform noise levels an image, one in each stratum of all of them, with both signs of the noise.

    Args:
        images: N images.
        low, high: ends of the range; equal for images at one noise level.
        draws: noise levels an image; R = 2 draws.
        generator: of levels and noise.
    """
    n, clean = len(images), images.clean()
    if low == high:
        levels = torch.full((n, draws), low, dtype=torch.float64)
    else:
        uniform = torch.rand(n * draws, generator=generator, dtype=torch.float64).numpy()
        place = torch.randperm(n * draws, generator=generator)
        levels = torch.from_numpy(stratified_sigmas(uniform, low, high))[place].view(n, draws)
    half = torch.randn(n, draws, *clean.shape[1:], generator=generator)
    eps = torch.stack([half, -half], dim=2).flatten(1, 2)
    sigma = levels.repeat_interleave(2, dim=1)
    x = clean[:, None] + sigma[:, :, None, None, None].to(torch.float32) * eps
    return Noised(clean, images.labels, sigma, x)


def denoisers(job: Mapping[str, Any], nets: Nets) -> tuple[Denoise, Denoise]:
    """The main net's denoiser and the sampler's, each with every noise level as a step of its own.

    Guidance of first evaluations only counts at half its weight, as in the sampler's flow; guidance in an interval of
    noise levels is on for the levels inside.
    """
    edges = sorted({t[key] for t in job["terms"] for key in ("sigma_lo", "sigma_hi") if t[key]})
    asked: list[list[Any]] = [[], job["terms"]]
    built = [assemble({**job, "terms": terms}, nets, None, flow=True).predict for terms in asked]
    classes = getattr(nets.models[job["main"]], "classes", 0)

    def stepped(predict: Any) -> Denoise:
        def at(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
            result = torch.empty_like(x)
            group = torch.from_numpy(np.digitize(sigma.to(torch.float64).numpy(), edges, right=True))
            cond = labels if classes else None
            for one in sorted(set(group.tolist())):
                here = group == one
                now = at_step(predict, float(sigma[here][0]))
                result[here] = now(x[here], sigma[here], None if cond is None else cond[here])
            return result

        return at

    return stepped(built[0]), stepped(built[1])


def denoised(predict: Denoise, at: Noised) -> Tensor:
    """`D(x, sigma)` of every noisy image, `[N, R, C, H, W]` float32."""
    with torch.no_grad():
        parts = [predict(*chunk) for chunk in at]
    return torch.cat(parts).view(at.x.shape)


def logits(net: nn.Module, at: Noised) -> Tensor:
    """The grader's logits `[N, R]`, float64."""
    with torch.no_grad():
        parts = [net(x, sigma, labels if net.classes else None) for x, sigma, labels in at]
    return torch.cat(parts).to(torch.float64).view(at.sigma.shape)


def logits_and_shifts(net: nn.Module, at: Noised) -> tuple[Tensor, Tensor]:
    """The grader's logits `[N, R]` float64 and `sigma^2` times their gradient, `[N, R, C, H, W]` float32.

    The second is what the grader would add to a denoiser: its guidance at weight 1.
    """
    values, shifts = [], []
    for x, sigma, labels in at:
        point = x.detach().requires_grad_(True)
        value = net(point, sigma, labels if net.classes else None)
        (slope,) = torch.autograd.grad(value.sum(), point)  # images are independent
        values.append(value.detach())
        shifts.append(per_sample(sigma, x) ** 2 * slope)
    return torch.cat(values).to(torch.float64).view(at.sigma.shape), torch.cat(shifts).view(at.x.shape)
