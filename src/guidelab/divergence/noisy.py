"""Noisy examples at many noise levels, and outputs of nets on them: denoised examples, logits, gradients of logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.core.denoiser import per_sample
from guidelab.metrics.units import stratified_sigmas

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # x [B, *event], sigma [B], labels [B] or None
CPU = torch.device("cpu")
_ROWS = 8192  # evaluated at once, at most
_NUMBERS = {
    "cpu": 64_000,
    "cuda": 4_096_000,
}  # in the examples evaluated at once: on a CPU they stay in its cache


@dataclass(frozen=True)
class Examples:
    """Clean examples as nets see them: `clean [N, *event]`, and labels `[N]` int64 where there are any.

    The dtype of `clean` is that of all noise added to it.
    """

    clean: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: Any) -> "Examples":
        return Examples(self.clean[index], None if self.labels is None else self.labels[index])

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """Several sets as one; labelled where they are."""
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(torch.cat([part.clean for part in parts]), torch.cat(labels) if labels else None)


@dataclass(frozen=True)
class NoisyBatch:
    """Examples at noise levels: rows are independent, the R columns of a row share their clean example."""

    clean: Tensor  # [N, *event]
    labels: Tensor | None  # [N] int64
    sigma: Tensor  # [N, R] float64
    x: Tensor  # [N, R, *event], dtype of `clean`

    def __getitem__(self, index: Any) -> "NoisyBatch":
        return NoisyBatch(*(None if v is None else v[index] for v in vars(self).values()))  # type: ignore[arg-type]

    @classmethod
    def joined(cls, parts: Sequence["NoisyBatch"]) -> "NoisyBatch":
        """Several batches of the same R as one."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        return cls(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]

    def chunks(self, where: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """As nets are called: `x [B, *event]` and `sigma [B]` in float32, labels `[B]`, on a device."""
        x, sigma = self.x.flatten(0, 1), self.sigma.flatten()
        labels = None if self.labels is None else self.labels.repeat_interleave(self.sigma.shape[1])
        size = max(1, min(_ROWS, _NUMBERS.get(where.type, _NUMBERS["cpu"]) // x[0].numel()))
        for a in range(0, len(x), size):
            rows = slice(a, a + size)
            taken = None if labels is None else labels[rows].to(where)
            yield x[rows].to(where, torch.float32), sigma[rows].to(torch.float32).to(where), taken


def noisy(examples: Examples, low: float, high: float, draws: int, generator: torch.Generator) -> NoisyBatch:
    """`draws` log-uniform noise levels an example, one in each stratum of all of them, with both signs of the noise.

    Args:
        examples: N of them.
        low, high: ends of the range; equal for examples at one noise level.
        draws: noise levels an example; R = 2 draws.
        generator: of levels and noise.
    """
    clean, n = examples.clean, len(examples)
    if low == high:
        levels = torch.full((n, draws), low, dtype=torch.float64)
    else:
        uniform = torch.rand(n * draws, generator=generator, dtype=torch.float64).numpy()
        place = torch.randperm(n * draws, generator=generator)
        levels = torch.from_numpy(stratified_sigmas(uniform, low, high))[place].view(n, draws)
    half = torch.randn(n, draws, *clean.shape[1:], generator=generator, dtype=clean.dtype)
    eps = torch.stack([half, -half], dim=2).flatten(1, 2)
    sigma = levels.repeat_interleave(2, dim=1)
    return NoisyBatch(clean, examples.labels, sigma, clean[:, None] + _scale(sigma, eps) * eps)


def denoised(predict: Denoise, at: NoisyBatch, where: torch.device = CPU) -> Tensor:
    """`D(x, sigma)` of every noisy example, shape and dtype of `at.x`; nets compute in float32."""
    with torch.no_grad():
        parts = [predict(*chunk).to(CPU, at.x.dtype) for chunk in at.chunks(where)]
    return torch.cat(parts).view(at.x.shape)


def logits(net: nn.Module, at: NoisyBatch, where: torch.device = CPU) -> Tensor:
    """The grader's logits `[N, R]`, float64."""
    with torch.no_grad():
        parts = [
            net(x, sigma, _labels_if_conditional(net, labels)).to(CPU)
            for x, sigma, labels in at.chunks(where)
        ]
    return torch.cat(parts).to(torch.float64).view(at.sigma.shape)


def logits_and_shifts(net: nn.Module, at: NoisyBatch, where: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The grader's logits `[N, R]` float64 and `sigma^2` times their gradient, shape and dtype of `at.x`.

    The second is what the grader would add to a denoiser: its guidance at weight 1.
    """
    values, slopes = [], []
    for x, sigma, labels in at.chunks(where):
        point = x.detach().requires_grad_(True)
        value = net(point, sigma, _labels_if_conditional(net, labels))
        (slope,) = torch.autograd.grad(value.sum(), point)  # examples are independent
        values.append(value.detach().to(CPU, torch.float64))
        slopes.append(slope.to(CPU, at.x.dtype))
    slope = torch.cat(slopes).view(at.x.shape)
    return torch.cat(values).view(at.sigma.shape), _scale(at.sigma, at.x) ** 2 * slope


def true_scores(data: Any, at: NoisyBatch) -> Tensor:
    """The exact score of the data's density at each noisy example, shape of `at.x`, float64."""
    found: Tensor = data.score(at.x.flatten(0, 1), at.sigma.flatten())
    return found.view(at.x.shape)


def level2(at: NoisyBatch) -> Tensor:
    """`sigma^2`, of a shape that broadcasts against `at.x`."""
    return _scale(at.sigma, at.x) ** 2


def _scale(sigma: Tensor, like: Tensor) -> Tensor:
    """Noise levels `[N, R]` as factors of `[N, R, *event]`, in its dtype."""
    return per_sample(sigma.to(like.dtype).flatten(), like.flatten(0, 1)).view(
        *sigma.shape, *([1] * (like.ndim - 2))
    )


def _labels_if_conditional(net: nn.Module, labels: Tensor | None) -> Tensor | None:
    return labels if getattr(net, "classes", 0) else None
