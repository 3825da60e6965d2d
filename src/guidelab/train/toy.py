"""Training of the 2D example's denoisers: exact score matching, several training seeds in one run.

Source: Karras et al. 2024, arXiv:2406.02507, appendix C.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidelab.core.ema import beta, std_to_gamma
from guidelab.core.line_mixture import line_sums
from guidelab.core.losses import lognormal_sigma
from guidelab.data.toy2d import Toy2d, fractal
from guidelab.nets.toy import ToyDenoiser
from guidelab.train.loop import Course, State, run
from guidelab.train.streams import stream

_BETAS = (0.9, 0.99)  # of Adam; arXiv:2312.02696, appendix B
_EPS = 1e-8
_CELLS = (
    1 << 15
)  # activations of one layer worked on at a time: they stay in cache, and the heap is not returned
_WORTH_COMPILING = (
    4 << 20
)  # training points above which compiled kernels repay the half minute they take to build
_LOG_EVERY = 32  # iterations

Snapshots = dict[str, Tensor]
Curve = list[tuple[int, int, int, float]]  # train_seed, iteration, nimg, loss


def train_toy(
    config: Mapping[str, Any],
    seeds: Sequence[int],
    state_dir: str | Path,
    progress: bool = True,
    compile: bool = True,
) -> tuple[Snapshots, dict[str, Any], Curve]:
    """Train one denoiser for every seed, all in this process, sharing compiled kernels.

    The seeds take turns, so a seed's result does not depend on the others, bit for bit. (Stacking them in batched
    matrix products was measured to be no faster on a CPU: one network's products already fill it.)

    Args:
        config: `net` (name, width, layers), `classes`, `nimg`, `batch`, `lr`, `decay_nimg`, `p_mean`, `p_std`,
            `ema_stds`, `snapshot_nimg`; counts are integers.
        seeds: training seeds; each has its own initial weights and its own data.
        state_dir: folder of the resumable state.
        progress: show a bar on standard error.
        compile: compile where it pays and a C++ compiler is at hand; otherwise the same arithmetic runs uncompiled
            (equal to rounding).
    Returns:
        Averaged weights `seed{S}/ema{std:.3f}/nimg{N}/{parameter}`, their description, and the loss curve.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`.
        ValueError: `nimg` or `snapshot_nimg` is no whole number of batches.
    """
    batch, nimg, every = config["batch"], config["nimg"], config["snapshot_nimg"]
    if nimg % batch or every % batch:
        raise ValueError(
            f"train_toy: nimg {nimg} and snapshot_nimg {every} must be whole numbers of batches of {batch}"
        )
    width, layers = config["net"]["width"], config["net"]["layers"]
    kernels = Kernels.build(ToyDenoiser(width, layers), fractal(config["classes"]), config)
    if compile and nimg * len(seeds) >= _WORTH_COMPILING:
        kernels = kernels.compiled()
    key = {**config, "seeds": list(seeds)}
    course = Course(
        key=key,
        initial=lambda: first_state(width, layers, config, seeds),
        step=lambda state, iteration: step(kernels, state, iteration, config, seeds),
        snapshot=lambda state: {name: value for name, value in state.items() if "/ema" in name},
        iterations=nimg // batch,
        snapshot_every=every // batch,
        log_every=_LOG_EVERY,
        title=f"toy {width} wide, {config['classes']}, seeds {list(seeds)}",
    )
    kept, losses = run(course, state_dir, progress=progress)
    tensors = {
        f"{name}/nimg{iteration * batch}/{parameter}": value
        for iteration, state in kept.items()
        for name, flat in state.items()
        for parameter, value in kernels.layout.split(flat).items()
    }
    meta = {
        "net": dict(config["net"]),
        "classes": config["classes"],
        "seeds": list(seeds),
        "ema_stds": list(config["ema_stds"]),
        "nimg": [iteration * batch for iteration in kept],
        "train": {k: v for k, v in config.items() if k not in ("net", "classes")},
    }
    return tensors, meta, _curve(losses, seeds, batch, nimg // batch)


@dataclass(frozen=True)
class Flat:
    """Where each parameter lies in one long vector: optimiser and averages then handle one tensor."""

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


def first_state(width: int, layers: int, config: Mapping[str, Any], seeds: Sequence[int]) -> State:
    """Weights, optimiser moments and averages of every seed, flat, before the first iteration."""
    state: State = {}
    for seed in seeds:
        net = ToyDenoiser(width, layers, generator=stream("toy weights", seed))
        params = net.constrained({name: value.detach() for name, value in net.named_parameters()})
        flat = torch.cat([value.reshape(-1) for value in params.values()])
        state |= {f"seed{seed}/flat": flat, f"seed{seed}/first": torch.zeros_like(flat)}
        state[f"seed{seed}/second"] = torch.zeros_like(flat)
        state |= {_average(seed, std): flat.clone() for std in config["ema_stds"]}
    return state


def _average(seed: int, std: float) -> str:
    return f"seed{seed}/ema{std:.3f}"


def step(
    kernels: Kernels, state: State, iteration: int, config: Mapping[str, Any], seeds: Sequence[int]
) -> tuple[State, Tensor]:
    """One iteration of every seed: `(next state, losses [R])`; iterations count from 0."""
    batch, stds = config["batch"], config["ema_stds"]
    seen = iteration * batch
    lr = config["lr"] / max(seen / config["decay_nimg"], 1) ** 0.5
    decays = beta(seen + batch, batch, std_to_gamma(stds)).tolist()
    rates = torch.tensor([lr, *(1 - b ** (iteration + 1) for b in _BETAS), *decays], dtype=torch.float32)
    result: State = {}
    losses = []
    for seed in seeds:
        flat, first, second = (state[f"seed{seed}/{name}"] for name in ("flat", "first", "second"))
        normals = torch.randn(batch, 4, generator=stream("toy data", seed, iteration))
        pieces = [kernels.gradient(flat, part) for part in torch.split(normals, kernels.rows)]
        slope = torch.stack([piece[0] for piece in pieces]).sum(0)
        losses.append(torch.stack([piece[1] for piece in pieces]).sum())
        averages = torch.stack([state[_average(seed, std)] for std in stds])
        flat, first, second, averages = kernels.update(flat, slope, first, second, averages, rates)
        result |= {f"seed{seed}/flat": flat, f"seed{seed}/first": first, f"seed{seed}/second": second}
        result |= {
            _average(seed, std): average for std, average in zip(stds, averages.unbind(0), strict=True)
        }
    return result, torch.stack(losses)


def _curve(losses: Tensor, seeds: Sequence[int], batch: int, iterations: int) -> Curve:
    """One row for every seed and interval; `iteration` is the last one of the interval."""
    return [
        (seed, at, at * batch, float(row[index]))
        for number, row in enumerate(losses, start=1)
        for index, seed in enumerate(seeds)
        for at in [min(number * _LOG_EVERY, iterations)]
    ]
