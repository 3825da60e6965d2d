"""Train discriminators on points, images or latents: train, validation and test parts of both sides, early stopping."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError
from guidelab.train.ahead import Ahead
from guidelab.train.draws import Draws
from guidelab.train.early import Outcome, fit
from guidelab.train.judge import Discriminator, Judge, Seen
from guidelab.train.loop import State
from guidelab.train.noisy import NoisyBatch
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.separation import Judged, bce, report_of
from guidelab.train.sides import Side, Split, split

_NOISES = 4  # noise levels at which each held-out image is evaluated: fixed, so that evaluations compare


def train_discriminator(
    config: Mapping[str, Any],
    net: nn.Module,
    real: Side,
    generated: Side,
    draws: Draws,
    state_dir: str | Path,
    precision: Precision,
    *,
    apart: bool = False,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[State, dict[str, float], Outcome]:
    """Train on real against generated examples at log-uniform noise levels, with Adam.

    Examples are read as they are needed. Features of a frozen extractor are kept for the held-out parts, and with
    `cached_draws` for the training part: `draws * N * features * 4` bytes of memory (half in a low precision).

    Args:
        config: `lr`, `batch` (half of each side), `iterations` (at most), `evaluate_every` and `patience`
            (evaluations without a better validation loss before it stops), `sigma_min`, `sigma_max`, `validation`
            and `test` (shares of both sides), `weight_decay`; `cached_draws`, for a frozen extractor: features of
            so many noisy versions of each training image are computed once and drawn from, instead of fresh ones
            at every step (None or 0).
        net: the network, trained in place: `net(x, sigma, cond) -> [B]` logits, and a `Discriminator` where it has an extractor.
        real, generated: both sides, with labels on both for a network with classes.
        draws: the random numbers of splits, batches and noise.
        state_dir: folder of the resumable state.
        precision: where and how the network is evaluated.
        apart: each side passes the network by itself: the arrays of small ones then stay in the cache.
        progress: show a bar on standard error.
        workers: threads that read ahead; by default the cores, 8 at most.
    Returns:
        The state of the best validation loss; the report of `report_of` on the test part, which decided nothing, with
        sizes and iterations; and the course of the training.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for too few images, or cached features
            without a frozen extractor.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 1; the splits and the early stop are ours.
    """
    disc = cast(Discriminator, net)
    cached = config.get("cached_draws") or 0
    if cached and getattr(disc, "extractor", None) is None:
        raise UserError(
            f"discriminator: cached_draws is {cached}, but this net trains its features too: they change at every "
            "step. Leave cached_draws out, or give it an extractor."
        )
    sides = [
        split(side, config, draws.order(number, len(side)), name)
        for number, (name, side) in enumerate((("real", real), ("generated", generated)))
    ]
    trained = NetInTraining(net, precision, config["lr"], config.get("weight_decay", 0.0))
    judge = Judge(disc, precision)
    validation = [_HeldOut(judge, s.validation, config, "validation", draws, i) for i, s in enumerate(sides)]
    batches = _Batches(judge, sides, config, draws, cached, apart, workers)

    try:
        outcome = fit(
            trained, lambda state, iteration: trained.step(state, lambda: batches.loss(iteration)),
            lambda: bce(*(side.judged().logits for side in validation)),
            config, state_dir, "discriminator", progress=progress, discriminator_seed=draws.seed,
        )  # fmt: skip
    finally:
        batches.close()
    test = [_HeldOut(judge, side.test, config, "test", draws, i).judged() for i, side in enumerate(sides)]
    report = report_of(test[0], test[1], config) | sides[0].sizes | outcome.counts
    return trained.weights(), report, outcome


class _HeldOut:
    """One side of a held-out part, each image at a few fixed noise levels; frozen features are computed once."""

    def __init__(
        self, judge: Judge, side: Side, config: Mapping[str, Any], part: str, draws: Draws, number: int
    ) -> None:
        self._judge, self._side, self._config = judge, side, config
        self._draws, self._part, self._number = draws, part, number
        self._kept = [judge.kept(images) for images in self._images()] if judge.frozen else None

    def _images(self) -> Iterator[NoisyBatch]:
        generators = self._draws.held_out(self._part, self._number)
        return self._side.held_out(self._config, generators, _NOISES)

    @torch.no_grad()
    def judged(self) -> Judged:
        """The logits of all, on the CPU."""
        if self._kept is None:
            seen = (self._judge.look(images) for images in self._images())
        else:
            seen = (self._judge.back(kept) for kept in self._kept)
        pairs = [(self._judge.judge(part).to(torch.float64).cpu(), part.sigma.cpu()) for part in seen]
        return Judged(torch.cat([logits for logits, _ in pairs]), torch.cat([sigma for _, sigma in pairs]))


class _Batches:
    """Half batches of both sides for each iteration: fresh noise, or drawn from cached features."""

    def __init__(
        self,
        judge: Judge,
        sides: list[Split],
        config: Mapping[str, Any],
        draws: Draws,
        cached: int,
        apart: bool,
        workers: int | None,
    ) -> None:
        self._judge, self._sides, self._config = judge, sides, config
        self._draws, self._apart = draws, apart
        self._half = (config["batch"] // 2,)
        self._cache: list[Seen] = []
        for number, side in enumerate(sides if cached else []):
            images = side.train.held_out(config, draws.held_out("cache", number), cached)
            self._cache.append(_joined([judge.kept(some) for some in images]))
        self._ahead = Ahead(self._read, lambda iteration: iteration + 1, workers or draws.workers)

    def close(self) -> None:
        """End the threads that read."""
        self._ahead.close()

    def loss(self, iteration: int) -> Tensor:
        """Binary cross-entropy, both sides weighed equally."""
        logits = [self._judge.judge(self._seen(read)) for read in self._ahead(iteration)]
        signs = torch.ones(sum(map(len, logits)), device=logits[0].device)
        signs[: len(signs) // 2] = -1  # the first half is real
        parts = signs.split([len(part) for part in logits])  # type: ignore[no-untyped-call]
        losses = [functional.softplus(sign * part).mean() for sign, part in zip(parts, logits, strict=True)]
        return sum(losses[1:], losses[0]) / len(losses)

    def _seen(self, read: NoisyBatch | Seen) -> Seen:
        return self._judge.back(read) if isinstance(read, Seen) else self._judge.look(read)

    def _read(self, iteration: int) -> Sequence[NoisyBatch | Seen]:
        """Both halves of a batch, real first, on the CPU: what passes the net together."""
        return self._draws.batch(iteration, self._drawn)

    def _drawn(self, generator: torch.Generator) -> Sequence[NoisyBatch | Seen]:
        if self._cache:
            picked = [
                s.pick(torch.randint(len(s.sigma), self._half, generator=generator)) for s in self._cache
            ]
            return picked if self._apart else [_joined(picked)]
        halves = [
            side.train[torch.randint(len(side.train), self._half, generator=generator)].noisy(
                self._config, generator
            )
            for side in self._sides
        ]
        if self._apart:
            return halves
        x, sigma = (torch.cat([getattr(half, name) for half in halves]) for name in ("x", "sigma"))
        return [NoisyBatch(x, sigma, _labels([half.labels for half in halves]))]


def _joined(parts: list[Seen]) -> Seen:
    features, sigma = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "sigma"))
    return Seen(features, sigma, _labels([part.labels for part in parts]))


def _labels(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None
