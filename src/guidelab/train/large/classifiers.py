"""Training of classifiers on images or latents on disk, on a device: as `guidelab.train.classifier`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.train.adam import parameters_of
from guidelab.train.classifier import _report
from guidelab.train.early import History, run_until_no_better
from guidelab.train.large.ahead import Ahead
from guidelab.train.large.machine import Machine, Trained, finite
from guidelab.train.large.sides import Side, chunks, parts_of
from guidelab.train.loop import Course, State
from guidelab.train.noisy import Noisy
from guidelab.train.streams import stream

_NOISES = 2  # noise levels at which each held-out image is judged: fixed, so that evaluations compare


def train_classifier(
    config: Mapping[str, Any],
    net: nn.Module,
    examples: Side,
    state_dir: str | Path,
    machine: Machine,
    *,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[State, dict[str, float], History]:
    """Train a classifier with Adam, its step falling linearly to 0, stopped early on held-out examples.

    Args:
        config: as of `guidelab.train.classifier.train_classifier`.
        net: `net(x, sigma) -> [B, K]` log-probabilities; trained in place.
        examples: with labels.
        state_dir: folder of the resumable state.
        machine: where the network is evaluated.
        progress: show a bar on standard error.
        workers: threads that read ahead; by default the cores, 8 at most.
    Returns:
        The state of the best validation loss, a report on the test part (as there), and the history.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for too few examples.
    """
    seed = config["seed"]
    parts = parts_of(examples, config, stream("classifier split", seed), "classifier")
    trained = Trained(net, machine, config["lr"], config.get("weight_decay", 0.0))

    def read(iteration: int) -> Noisy:
        generator = stream("classifier batch", seed, iteration)
        index = torch.randint(len(parts.train), (config["batch"],), generator=generator)
        return parts.train[index].noisy(config, generator)

    ahead = Ahead(read, lambda iteration: iteration + 1, workers)

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        batch = machine.moved(ahead(iteration))

        def loss() -> Tensor:
            return functional.nll_loss(_log_p(net, batch, machine), _told(batch))

        return trained.step(state, loss, 1 - iteration / config["iterations"])

    def judged(side: Side, part: str) -> tuple[Tensor, Noisy]:
        """Log-probabilities `[N, K]` of a held-out part, and its noise levels and labels."""
        repeats = 1 if config["sigma_max"] == 0 else _NOISES
        found, levels, labels = [], [], []
        with torch.no_grad():
            for piece in chunks(side, config, f"classifier {part}", seed, 0, repeats):
                images = piece()
                found.append(_log_p(net, machine.moved(images), machine).cpu())
                levels.append(images.sigma)
                labels.append(_told(images))
        return torch.cat(found), Noisy(torch.empty(0), torch.cat(levels), torch.cat(labels))

    def evaluate(snapshot: State) -> float:
        trained.adam.load(snapshot)
        log_p, images = judged(parts.validation, "validation")
        return finite(float(functional.nll_loss(log_p, _told(images))), "classifier")

    course = Course(
        key={"task": "classifier", **config},
        initial=trained.adam.initial,
        step=step,
        snapshot=parameters_of,
        iterations=config["iterations"],
        snapshot_every=config["evaluate_every"],
        log_every=config["evaluate_every"],
        title="classifier",
    )
    try:
        outcome = run_until_no_better(course, state_dir, evaluate, config["patience"], progress)
    finally:
        ahead.close()
    trained.adam.load(outcome.best)
    report: dict[str, float] = {
        **_report(*judged(parts.test, "test"), config),
        **parts.sizes,
        "iterations": outcome.iterations,
        "best_at": outcome.best_at,
    }
    state = {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
    return state, report, outcome.history


def _log_p(net: nn.Module, images: Noisy, machine: Machine) -> Tensor:
    with machine.arithmetic():
        found: Tensor = net(images.x, images.sigma)
    return found.to(torch.float32)


def _told(images: Noisy) -> Tensor:
    assert images.labels is not None  # the caller gave labels
    return images.labels
