"""Training of discriminators on images or latents on disk, on a device: as `guidelab.train.image_discriminator`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.errors import UserError
from guidelab.train.adam import parameters_of
from guidelab.train.early import Outcome, run_until_no_better
from guidelab.train.image_discriminator import Discriminator, Seen, _report
from guidelab.train.large.ahead import Ahead
from guidelab.train.large.machine import Machine, Trained, finite
from guidelab.train.large.sides import Parts, Side, chunks, parts_of
from guidelab.train.loop import Course, State
from guidelab.train.noisy import Noisy
from guidelab.train.streams import stream

_NOISES = 4  # noise levels at which each held-out image is judged: fixed, so that evaluations compare


def train_discriminator(
    config: Mapping[str, Any],
    net: nn.Module,
    real: Side,
    generated: Side,
    seed: int,
    state_dir: str | Path,
    machine: Machine,
    *,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[State, dict[str, float], Outcome]:
    """Train on real against generated examples at log-uniform noise levels, with Adam.

    Examples are read as they are needed. Features of a frozen extractor are kept for the held-out parts, and with
    `cached_draws` for the training part: `draws * N * features * 4` bytes of memory (half in a low precision).

    Args:
        config: as of `train_image_discriminator`.
        net: the network, trained in place; a `Discriminator` that is also callable.
        real, generated: both sides, with labels on both if the network is told classes.
        seed: of splits, batches and noise.
        state_dir: folder of the resumable state.
        machine: where the network is evaluated.
        progress: show a bar on standard error.
        workers: threads that read ahead; by default the cores, 8 at most.
    Returns:
        As of `train_image_discriminator`: the state of the best validation loss, a report on the test part, and the
        course of the training.
    Raises:
        Stopped, UserError: as there.
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
        parts_of(side, config, stream(f"discriminator split {name}", seed), name)
        for name, side in (("real", real), ("generated", generated))
    ]
    trained = Trained(net, machine, config["lr"], config.get("weight_decay", 0.0))
    judged = _Judged(disc, machine)

    def held_out(part: str) -> list[_HeldOut]:
        chosen = [getattr(side, part) for side in sides]
        purpose = f"discriminator {part}"
        made = [chunks(side, config, purpose, seed, i, _NOISES) for i, side in enumerate(chosen)]
        return [_HeldOut(judged, pieces) for pieces in made]

    validation = held_out("validation")
    batches = _Batches(judged, sides, config, seed, draws, workers)

    def evaluate(snapshot: State) -> float:
        trained.adam.load(snapshot)
        real_logits, generated_logits = (side.logits()[0] for side in validation)
        losses = functional.softplus(-real_logits).mean() + functional.softplus(generated_logits).mean()
        return finite(float(0.5 * losses), "discriminator")

    course = Course(
        key={"task": "discriminator", "discriminator_seed": seed, **config},
        initial=trained.adam.initial,
        step=lambda state, iteration: trained.step(state, lambda: batches.loss(iteration)),
        snapshot=parameters_of,
        iterations=config["iterations"],
        snapshot_every=config["evaluate_every"],
        log_every=config["evaluate_every"],
        title="discriminator",
    )
    try:
        outcome = run_until_no_better(course, state_dir, evaluate, config["patience"], progress)
    finally:
        batches.close()
    trained.adam.load(outcome.best)
    known = [Seen(logits, sigma, None) for logits, sigma in (side.logits() for side in held_out("test"))]
    report: dict[str, float] = {
        **_report(cast(Discriminator, _Known()), known, config),
        **sides[0].sizes,
        "iterations": outcome.iterations,
        "best_at": outcome.best_at,
    }
    return {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}, report, outcome


class _Known:
    """Stands for a discriminator whose logits are known already: they are its features."""

    def judge(self, features: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        """The logits."""
        return features


class _Judged:
    """A discriminator on its device."""

    def __init__(self, disc: Discriminator, machine: Machine) -> None:
        self.disc, self.machine = disc, machine
        self.frozen = disc.extractor is not None

    @torch.no_grad()
    def look(self, images: Noisy) -> Seen:
        """Features, on the device, without gradients: they are frozen, or the images themselves."""
        images = self.machine.moved(images)
        with self.machine.arithmetic():
            features = self.disc.extract(images.x, images.sigma)
        # the judge derives its time steps in the features' precision
        return Seen(features.to(torch.float32), images.sigma, images.labels)

    def judge(self, seen: Seen) -> Tensor:
        """Logits `[B]` float32."""
        with self.machine.arithmetic():
            return self.disc.judge(seen.features, seen.sigma, seen.labels).to(torch.float32)

    def kept(self, images: Noisy) -> Seen:
        """Features on the CPU."""
        seen = self.look(images)
        features = seen.features.to(self.machine.half or torch.float32).cpu()
        return Seen(features, images.sigma, images.labels)

    def back(self, seen: Seen) -> Seen:
        """Kept features, on the device."""
        labels = None if seen.labels is None else self.machine.here(seen.labels)
        features = self.machine.here(seen.features).to(torch.float32)
        return Seen(features, self.machine.here(seen.sigma), labels)


class _HeldOut:
    """One side of a held-out part; its features are computed once, if they are frozen."""

    def __init__(self, judged: _Judged, pieces: list[Callable[[], Noisy]]) -> None:
        self._judged, self._pieces = judged, pieces
        self._kept = [judged.kept(piece()) for piece in pieces] if judged.frozen else None

    @torch.no_grad()
    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits `[N]` float64 and noise levels `[N]`, on the CPU."""
        found, levels = [], []
        for place, piece in enumerate(self._pieces):
            seen = self._judged.look(piece()) if self._kept is None else self._judged.back(self._kept[place])
            found.append(self._judged.judge(seen).to(torch.float64).cpu())
            levels.append(seen.sigma.cpu())
        return torch.cat(found), torch.cat(levels)


class _Batches:
    """Half batches of both sides for each iteration: fresh noise, or drawn from cached features."""

    def __init__(
        self,
        judged: _Judged,
        sides: list[Parts],
        config: Mapping[str, Any],
        seed: int,
        draws: int,
        workers: int | None,
    ) -> None:
        self._judged, self._sides, self._config, self._seed = judged, sides, config, seed
        self._half = (config["batch"] // 2,)
        self._cache: list[Seen] = []
        for number, side in enumerate(sides if draws else []):
            pieces = chunks(side.train, config, "discriminator cache", seed, number, draws)
            self._cache.append(_joined([judged.kept(piece()) for piece in pieces]))
        self._ahead = Ahead(self._read, lambda iteration: iteration + 1, workers)

    def close(self) -> None:
        """End the threads that read."""
        self._ahead.close()

    def loss(self, iteration: int) -> Tensor:
        """Binary cross-entropy, both sides weighed equally."""
        read = self._ahead(iteration)
        seen = self._judged.back(read) if isinstance(read, Seen) else self._judged.look(read)
        logits = self._judged.judge(seen)
        signs = torch.ones_like(logits)
        signs[: len(logits) // 2] = -1  # the first half is real
        return functional.softplus(signs * logits).mean()

    def _read(self, iteration: int) -> Noisy | Seen:
        """Both halves of a batch, real first, on the CPU."""
        generator = stream("discriminator batch", self._seed, iteration)
        if self._cache:
            picked = [
                s.pick(torch.randint(len(s.sigma), self._half, generator=generator)) for s in self._cache
            ]
            return _joined(picked)
        halves = [
            side.train[torch.randint(len(side.train), self._half, generator=generator)].noisy(
                self._config, generator
            )
            for side in self._sides
        ]
        x, sigma = (torch.cat([getattr(half, name) for half in halves]) for name in ("x", "sigma"))
        return Noisy(x, sigma, _labels([half.labels for half in halves]))


def _joined(parts: list[Seen]) -> Seen:
    features, sigma = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "sigma"))
    return Seen(features, sigma, _labels([part.labels for part in parts]))


def _labels(parts: list[Tensor | None]) -> Tensor | None:
    told = [part for part in parts if part is not None]
    return torch.cat(told) if len(told) == len(parts) else None
