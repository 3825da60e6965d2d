"""The training step of the 2D example's own net: gradient and update, each one compiled kernel on a CPU.

The same training as by `guidelab.train.step`, to rounding, and faster (docs/benchmarks.md).

Source: Karras et al. 2024, arXiv:2406.02507, appendix C.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guidelab.core.ema import beta, std_to_gamma
from guidelab.core.line_mixture import line_sums
from guidelab.core.losses import lognormal_sigma
from guidelab.data.toy2d import Toy2d
from guidelab.nets.toy import ToyDenoiser
from guidelab.train.loop import State
from guidelab.train.rate import learning_rate
from guidelab.train.recipe import Recipe
from guidelab.train.streams import stream

_BETAS = Recipe("exact_score").betas  # of Adam
_EPS = 1e-8
_CELLS = (
    1 << 15
)  # activations of one layer worked on at a time: they stay in cache, and the heap is not returned


def fresh(seed: int, iteration: int, batch: int) -> Tensor:
    """Standard normals `[batch, 4]` of an iteration: the first determines the noise level, the rest the point."""
    return torch.randn(batch, 4, generator=stream("toy data", seed, iteration))


class KernelTrainer:
    """One seed's training by kernels: the step of `guidelab.train.loop`.

    The state holds weights, moments and averages, each one vector `[N]`.
    """

    def __init__(self, kernels: "Kernels", net: ToyDenoiser, config: Mapping[str, Any], seed: int) -> None:
        self._kernels, self._config, self._seed = kernels, config, seed
        self._averages = [f"ema{std:.3f}" for std in config["ema_stds"]]
        self._gammas = std_to_gamma(config["ema_stds"])
        flat = kernels.layout.join(net.constrained({n: p.detach() for n, p in net.named_parameters()}))
        self.live: State = {"flat": flat, "first": torch.zeros_like(flat), "second": torch.zeros_like(flat)}
        self.live |= {name: flat.clone() for name in self._averages}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state."""
        self.live = dict(state)

    def close(self) -> None:
        """Nothing is held."""

    def step(self, state: State, iteration: int) -> tuple[State, Tensor]:
        """One iteration: `(next state, loss [1])`, the loss per point and coordinate; iterations count from 0."""
        kernels, batch = self._kernels, self._config["batch"]
        flat, first, second = (state[name] for name in ("flat", "first", "second"))
        normals = fresh(self._seed, iteration, batch)
        pieces = [kernels.gradient(flat, part) for part in torch.split(normals, kernels.rows)]
        slope = torch.stack([piece[0] for piece in pieces]).sum(0)
        loss = torch.stack([piece[1] for piece in pieces]).sum()
        averages = torch.stack([state[name] for name in self._averages])
        rates = self._rates(iteration)
        flat, first, second, averages = kernels.update(flat, slope, first, second, averages, rates)
        following = {"flat": flat, "first": first, "second": second}
        following |= dict(zip(self._averages, averages.unbind(0), strict=True))
        return following, loss[None]

    def _rates(self, iteration: int) -> Tensor:
        """Learning rate, both bias corrections and the decay of each average."""
        batch = self._config["batch"]
        lr = learning_rate(
            iteration * batch,
            self._config["lr"],
            self._config["decay_nimg"],
            self._config.get("rampup_nimg") or 0,
        )
        decays = beta((iteration + 1) * batch, batch, self._gammas).tolist()
        corrections = (1 - b ** (iteration + 1) for b in _BETAS)
        return torch.tensor([lr, *corrections, *decays], dtype=torch.float32)


@dataclass(frozen=True)
class Flat:
    """Offsets of the parameters in one long vector: optimiser and averages then handle one tensor."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Parameters by name, as views of `flat [N]`."""
        sizes = [shape.numel() for shape in self.shapes]
        parts = torch.split(flat, sizes)
        return {name: p.view(shape) for name, p, shape in zip(self.names, parts, self.shapes, strict=True)}

    def join(self, params: Mapping[str, Tensor]) -> Tensor:
        """One vector `[N]` of all parameters."""
        return torch.cat([params[name].reshape(-1) for name in self.names])


Gradient = Callable[
    [Tensor, Tensor], tuple[Tensor, Tensor]
]  # (flat [N], normals [C, 4]) -> (gradient [N], loss)
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Kernels:
    """The two functions a training iteration consists of, and how many points the first takes at a time."""

    layout: Flat
    rows: int
    gradient: Gradient
    update: Update

    @classmethod
    def build(cls, net: ToyDenoiser, tree: Toy2d, config: Mapping[str, Any]) -> "Kernels":
        """Uncompiled kernels of one network and one target."""
        layout = Flat(*zip(*((name, value.shape) for name, value in net.named_parameters()), strict=True))
        mixture, lines = tree.mixture, tree.lines[torch.float32]
        p_mean, p_std, batch = config["p_mean"], config["p_std"], config["batch"]

        def gradient(flat: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
            sigma = lognormal_sigma(normals[:, 0], p_mean, p_std)
            x = mixture.sample(normals[:, 1:], sigma)
            target = line_sums(x, sigma, lines)[1]

            def loss(weights: Tensor) -> Tensor:
                error = target - net.functional(layout.split(weights), x, sigma)
                value: Tensor = ((sigma * sigma)[:, None] * error * error).sum() / (2 * batch)
                return value

            slope, value = torch.func.grad_and_value(loss)(flat)
            return slope, value

        def update(
            flat: Tensor, slope: Tensor, first: Tensor, second: Tensor, averages: Tensor, rates: Tensor
        ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Adam, averages, forced normalisation; `rates`: lr, both bias corrections, one decay per average."""
            first = _BETAS[0] * first + (1 - _BETAS[0]) * slope
            second = _BETAS[1] * second + (1 - _BETAS[1]) * slope * slope
            raw = flat - rates[0] / rates[1] * first / (second.sqrt() / rates[2].sqrt() + _EPS)
            averages = torch.lerp(raw.expand_as(averages), averages, rates[3:, None])
            return layout.join(net.constrained(layout.split(raw))), first, second, averages

        return cls(layout, _rows(batch, max(1, _CELLS // net.width)), gradient, update)

    def compiled(self) -> "Kernels":
        """The same through `torch.compile`, one graph each; themselves, with a warning, where that fails."""
        gradient: Gradient = torch.compile(self.gradient, dynamic=False, fullgraph=True)
        update: Update = torch.compile(self.update, dynamic=False, fullgraph=True)
        length = sum(shape.numel() for shape in self.layout.shapes)
        try:
            gradient(torch.ones(length), torch.zeros(self.rows, 4))
        except Exception as error:  # no C++ compiler, no Python headers, a read-only cache folder, ...
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"training uncompiled, about three times slower: {reason}", stacklevel=2)
            return self
        return Kernels(self.layout, self.rows, gradient, update)


def _rows(batch: int, most: int) -> int:
    """Largest divisor of `batch` that is at most `most`: every piece has the same shape, so one kernel does."""
    return next(rows for rows in range(min(batch, most), 0, -1) if batch % rows == 0)
