"""A small classifier between two sets of feature vectors, trained with early stopping."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError
from guidelab.train.early import fit
from guidelab.train.loop import State
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.streams import stream

_CPU = torch.device("cpu")
_CHANCE = math.log(2)  # the loss of a constant classifier
_FEWEST = 10  # vectors in the smallest part
_LEAST = (
    0.1  # of the mean spread: a feature that is nearly constant in training would be amplified on other data
)


@dataclass(frozen=True)
class Probed:
    """Logits of the test parts, which decided nothing: `at_data [n]`, `at_model [m]`, and the iteration of the best net (0: none was better than chance)."""

    at_data: Tensor
    at_model: Tensor
    best_at: int


def train_probe(
    config: Mapping[str, Any], real: Tensor, generated: Tensor, seed: int, more: Tensor | None = None
) -> Probed:
    """Train on real against generated features with equally many of both in a batch; keep the best on validation.

    Args:
        config: `hidden` (width of the hidden layer parallel to the linear map), `lr`, `weight_decay`, `batch`, `iterations` (at
            most), `evaluate_every`, `patience` (evaluations without a better loss), `validation` and `test` (shares).
        real, generated: `[N, F]` and `[M, F]`, rows independent.
        seed: of parts, weights and batches.
        more: `[K, F]` further generated vectors, to train on only.
    Raises:
        UserError: a part would have fewer than ten vectors.
    """
    sides = [_parts(x, config, seed, i) for i, x in enumerate((real, generated))]
    if more is not None:
        sides[1]["train"] = torch.cat([sides[1]["train"], more])
    seen = torch.cat([side["train"] for side in sides])
    mean, spread = seen.mean(0), seen.std(0)
    scale = spread.clamp_min(_LEAST * float(spread.mean()) + 1e-12)
    scaled = [{k: (x - mean) / scale for k, x in side.items()} for side in sides]
    net = _Probe(real.shape[1], config["hidden"], stream("probe weights", seed))
    trained = NetInTraining(net, Precision(_CPU), config["lr"], config["weight_decay"], decoupled=True)
    half = (config["batch"] // 2,)

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        generator = stream("probe batch", seed, iteration + 1)
        picked = [s["train"][torch.randint(len(s["train"]), half, generator=generator)] for s in scaled]
        return trained.step(state, lambda: _loss(net, *picked))

    @torch.no_grad()
    def held_out() -> float:
        return float(_loss(net, *(s["validation"] for s in scaled)))

    with tempfile.TemporaryDirectory() as folder:  # seconds of training: nothing to resume
        outcome = fit(trained, step, held_out, config, folder, "probe", below=_CHANCE, progress=False)
    with torch.no_grad():
        logits = [net(s["test"]).to(torch.float64) for s in scaled]
    return Probed(logits[0], logits[1], outcome.best_at)


class _Probe(nn.Module):
    """A linear map plus one hidden layer; starts at zero, a constant classifier."""

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear, self.inner, self.outer = (
            nn.Linear(features, 1),
            nn.Linear(features, hidden),
            nn.Linear(hidden, 1, bias=False),
        )
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(self.inner.weight.shape, generator=generator) / features**0.5)
            for zero in (self.linear.weight, self.linear.bias, self.inner.bias, self.outer.weight):
                zero.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[N]` of standardised features `[N, F]`."""
        out: Tensor = self.linear(x) + self.outer(functional.silu(self.inner(x)))
        return out[:, 0]


def _parts(x: Tensor, config: Mapping[str, Any], seed: int, side: int) -> dict[str, Tensor]:
    n = len(x)
    held, tested = round(config["validation"] * n), round(config["test"] * n)
    if min(held, tested, n - held - tested) < _FEWEST:
        raise UserError(
            f"probe: {n} vectors give parts of {n - held - tested}, {held} and {tested}; wanted at least {_FEWEST} in each"
        )
    order = torch.randperm(n, generator=stream("probe split", seed, side))
    cuts = {
        "test": order[:tested],
        "validation": order[tested : tested + held],
        "train": order[tested + held :],
    }
    return {name: x[index].to(torch.float32) for name, index in cuts.items()}


def _loss(net: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
    """Cross-entropy, both sides weighed equally."""
    found: Tensor = 0.5 * (
        functional.softplus(-net(real)).mean() + functional.softplus(net(generated)).mean()
    )
    return found
