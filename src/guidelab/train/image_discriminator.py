"""Training of an image discriminator: both sides split three ways, stopped early on the validation part."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError
from guidelab.train.adam import Adam, parameters_of
from guidelab.train.early import Outcome, run_until_no_better
from guidelab.train.loop import Course, State
from guidelab.train.noisy import Images, Noisy, Split, bin_edges, noisy, split
from guidelab.train.streams import stream

_NOISES = 4  # noise levels at which each held-out image is judged: fixed, so that evaluations compare
_CHUNK = 512  # images looked at together where no gradient is needed


class Discriminator(Protocol):
    """A network in two halves: features that may be frozen, and a judge of them."""

    extractor: nn.Module | None

    def extract(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Features of noisy images."""
        ...

    def judge(self, features: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """Logits `[B]` of features."""
        ...


@dataclass(frozen=True)
class Seen:
    """What the judge is given: features `[B, ...]`, noise levels `[B]`, labels `[B]` or None."""

    features: Tensor
    sigma: Tensor
    labels: Tensor | None

    def pick(self, index: Tensor) -> "Seen":
        """Some of the rows."""
        labels = None if self.labels is None else self.labels[index]
        return Seen(self.features[index], self.sigma[index], labels)


def train_image_discriminator(
    config: Mapping[str, Any],
    net: nn.Module,
    real: Images,
    generated: Images,
    seed: int,
    state_dir: str | Path,
    progress: bool = True,
) -> tuple[State, dict[str, float], Outcome]:
    """Train on real against generated images at log-uniform noise levels, with Adam.

    Args:
        config: `lr`, `batch` (half of each side), `iterations` (at most), `evaluate_every` and `patience`
            (evaluations without a better validation loss before it stops), `sigma_min`, `sigma_max`, `validation`
            and `test` (shares of both sides), `weight_decay`; `cached_draws`, for a frozen extractor: features of
            so many noisy versions of each training image are computed once and drawn from, instead of fresh ones
            at every step (None or 0). They take `draws * N * features * 4` bytes of memory.
        net: the network, trained in place; a `Discriminator` that is also callable.
        real, generated: images, with labels on both sides if the network is told classes.
        seed: of splits, batches and noise.
        state_dir: folder of the resumable state.
        progress: show a bar on standard error.
    Returns:
        The state of the best validation loss; a report on the test part, which decided nothing: `bce`, `accuracy`,
        `js_bound` (nats), `kl_dv` (nats), `mean_ratio` (E_q[r], 1 when calibrated), `bce`, `accuracy` and `js_bound`
        for each range of sigma (`js_bound_bin0`, from `sigma_lo_bin0` to `sigma_hi_bin0`), sizes, iterations; and
        the course of the training.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for too few images, or cached features
            without a frozen extractor.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 1; the splits and the early stop are ours.
    """
    disc = cast(Discriminator, net)
    draws = config.get("cached_draws") or 0
    if draws and disc.extractor is None:
        raise UserError(
            f"discriminator: cached_draws is {draws}, but this net trains its features too: they change at every "
            "step. Leave cached_draws out, or give it an extractor."
        )
    sides = [
        split(images, config, stream(f"discriminator split {side}", seed), side)
        for side, images in (("real", real), ("generated", generated))
    ]
    batches = _Batches(disc, sides, config, seed, draws)
    validation = [
        _look(disc, _held_out(s.validation, config, seed, "validation", i)) for i, s in enumerate(sides)
    ]
    adam = Adam(net, config["lr"], config.get("weight_decay", 0.0))
    course = Course(
        key={"task": "discriminator", "discriminator_seed": seed, **config},
        initial=adam.initial,
        step=lambda state, iteration: adam.step(state, lambda: _loss(disc, batches(iteration))),
        snapshot=parameters_of,
        iterations=config["iterations"],
        snapshot_every=config["evaluate_every"],
        log_every=config["evaluate_every"],
        title="discriminator",
    )

    def evaluate(snapshot: State) -> float:
        adam.load(snapshot)
        return _bce(*(_logits(disc, side) for side in validation))

    outcome = run_until_no_better(course, state_dir, evaluate, config["patience"], progress)
    adam.load(outcome.best)
    test = [_look(disc, _held_out(side.test, config, seed, "test", i)) for i, side in enumerate(sides)]
    report: dict[str, float] = {
        **_report(disc, test, config),
        **sides[0].sizes,
        "iterations": outcome.iterations,
        "best_at": outcome.best_at,
    }
    return {k: v.detach().clone() for k, v in net.state_dict().items()}, report, outcome


class _Batches:
    """Half batches of both sides for each iteration: fresh noise, or drawn from cached features."""

    def __init__(
        self, disc: Discriminator, sides: list[Split], config: Mapping[str, Any], seed: int, draws: int
    ) -> None:
        self.disc, self.sides, self.config, self.seed = disc, sides, config, seed
        self.cache: list[Seen] | None = None
        if draws:
            purpose = "discriminator cache"
            made = (noisy(s.train, config, stream(purpose, seed, i), draws) for i, s in enumerate(sides))
            self.cache = [_look(disc, images) for images in made]

    def __call__(self, iteration: int) -> list[Seen]:
        generator = stream("discriminator batch", self.seed, iteration)
        half = (self.config["batch"] // 2,)
        if self.cache is not None:
            return [s.pick(torch.randint(len(s.sigma), half, generator=generator)) for s in self.cache]
        picked = (s.train[torch.randint(len(s.train), half, generator=generator)] for s in self.sides)
        return [_look(self.disc, noisy(images, self.config, generator)) for images in picked]


def _held_out(images: Images, config: Mapping[str, Any], seed: int, part: str, side: int) -> Noisy:
    """Held-out images, each at a few fixed noise levels."""
    return noisy(images, config, stream(f"discriminator {part}", seed, side), _NOISES)


def _look(disc: Discriminator, images: Noisy) -> Seen:
    """Features without gradients; they are either frozen or the images themselves."""
    with torch.no_grad():
        parts = zip(images.x.split(_CHUNK), images.sigma.split(_CHUNK), strict=True)  # type: ignore[no-untyped-call]
        features = torch.cat([disc.extract(x, sigma) for x, sigma in parts])
    return Seen(features, images.sigma, images.labels)


def _loss(disc: Discriminator, sides: list[Seen]) -> Tensor:
    """Binary cross-entropy, both sides weighed equally; the first is real. One pass over both."""
    (real, generated) = sides
    labels = None
    if real.labels is not None and generated.labels is not None:
        labels = torch.cat([real.labels, generated.labels])
    features = torch.cat([real.features, generated.features])
    logits = disc.judge(features, torch.cat([real.sigma, generated.sigma]), labels)
    signs = torch.ones_like(logits)
    signs[: len(real.sigma)] = -1
    return functional.softplus(signs * logits).mean()  # half batches are equally large


def _logits(disc: Discriminator, seen: Seen) -> Tensor:
    """Logits `[N]` in float64, without gradients."""
    rows = torch.arange(len(seen.sigma)).split(_CHUNK)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        parts = (seen.pick(index) for index in rows)
        return torch.cat([disc.judge(p.features, p.sigma, p.labels) for p in parts]).to(torch.float64)


def _bce(real: Tensor, generated: Tensor) -> float:
    return float(0.5 * (functional.softplus(-real).mean() + functional.softplus(generated).mean()))


def _accuracy(real: Tensor, generated: Tensor) -> float:
    return float(0.5 * ((real > 0).double().mean() + (generated <= 0).double().mean()))


def _report(disc: Discriminator, sides: list[Seen], config: Mapping[str, Any]) -> dict[str, float]:
    """Held-out numbers over all noise levels, and in ranges of them."""
    real, generated = (_logits(disc, side) for side in sides)
    log_mean_ratio = float(torch.logsumexp(generated, 0)) - math.log(len(generated))
    bce = _bce(real, generated)
    report = {
        "bce": bce,
        "accuracy": _accuracy(real, generated),
        "js_bound": math.log(2) - bce,
        "kl_dv": float(real.mean()) - log_mean_ratio,
        "mean_ratio": math.exp(log_mean_ratio),
    }
    for i, (low, high) in enumerate(bin_edges(config)):
        inside = [
            logits[(side.sigma > low) & (side.sigma <= high)]
            for logits, side in zip((real, generated), sides, strict=True)
        ]
        bce = _bce(inside[0], inside[1])
        report |= {f"sigma_lo_bin{i}": low, f"sigma_hi_bin{i}": high}
        report |= {f"bce_bin{i}": bce, f"accuracy_bin{i}": _accuracy(inside[0], inside[1])}
        report[f"js_bound_bin{i}"] = math.log(2) - bce
    return report
