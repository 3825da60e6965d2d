"""Train classifiers: noisy ones (class from an image at any noise level) and clean ones (for metrics)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.train.ahead import Ahead
from guidelab.train.early import History, fit
from guidelab.train.loop import State
from guidelab.train.noisy import NoisyBatch, bin_edges
from guidelab.train.precision import NetInTraining, Precision
from guidelab.train.sides import Side, split
from guidelab.train.streams import stream

_NOISES = 2  # noise levels at which each held-out image is evaluated: fixed, so that evaluations compare


def train_classifier(
    config: Mapping[str, Any],
    net: nn.Module,
    examples: Side,
    state_dir: str | Path,
    precision: Precision,
    *,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[State, dict[str, float], History]:
    """Train a classifier with Adam, its step falling linearly to 0, stopped early on held-out examples.

    Args:
        config: `lr`, `batch`, `iterations` (at most), `evaluate_every` and `patience` (evaluations without a better
            held-out loss before it stops), `sigma_min`, `sigma_max` (0: clean images), `validation` and `test`
            (shares), `seed`, `weight_decay`.
        net: `net(x, sigma) -> [B, K]` log-probabilities; trained in place.
        examples: with labels.
        state_dir: folder of the resumable state.
        precision: where and how the network is evaluated.
        progress: show a bar on standard error.
        workers: threads that read ahead; by default the cores, 8 at most.
    Returns:
        The state of the best validation loss; a report on the test part, which decided nothing: `loss` (nats),
        `accuracy`, both also for each range of sigma (`accuracy_bin0`, from `sigma_lo_bin0` to `sigma_hi_bin0`),
        sizes, iterations; and the history.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for too few examples.
    """
    seed = config["seed"]
    order = torch.randperm(len(examples), generator=stream("classifier split", seed))
    parts = split(examples, config, order, "classifier")
    trained = NetInTraining(net, precision, config["lr"], config.get("weight_decay", 0.0))

    def read(iteration: int) -> NoisyBatch:
        generator = stream("classifier batch", seed, iteration)
        index = torch.randint(len(parts.train), (config["batch"],), generator=generator)
        return parts.train[index].noisy(config, generator)

    ahead = Ahead(read, lambda iteration: iteration + 1, workers)

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        batch = precision.moved(ahead(iteration))
        factor = 1 - iteration / config["iterations"]
        return trained.step(state, lambda: _loss(_log_p(net, batch, precision), batch), factor)

    def held_out() -> float:
        return float(_loss(*_predicted(net, parts.validation, config, "classifier validation", precision)))

    try:
        outcome = fit(trained, step, held_out, config, state_dir, "classifier", progress=progress)
    finally:
        ahead.close()
    report: dict[str, float] = {
        **_report(*_predicted(net, parts.test, config, "classifier test", precision), config),
        **parts.sizes,
        **outcome.counts,
    }
    return trained.weights(), report, outcome.history


def _predicted(
    net: nn.Module, side: Side, config: Mapping[str, Any], purpose: str, precision: Precision
) -> tuple[Tensor, NoisyBatch]:
    """Log-probabilities `[N, K]` of a held-out part, on the CPU, and its noise levels and labels (without images)."""
    generators = stream(purpose, config["seed"]), stream(f"{purpose} latents", config["seed"])
    repeats = 1 if config["sigma_max"] == 0 else _NOISES
    log_p, levels, labels = [], [], []
    with torch.no_grad():
        for images in side.held_out(config, generators, repeats):
            log_p.append(_log_p(net, precision.moved(images), precision).cpu())
            levels.append(images.sigma)
            labels.append(_labels(images))
    return torch.cat(log_p), NoisyBatch(torch.empty(0), torch.cat(levels), torch.cat(labels))


def _log_p(net: nn.Module, images: NoisyBatch, precision: Precision) -> Tensor:
    with precision.arithmetic():
        found: Tensor = net(images.x, images.sigma)
    return found.to(torch.float32)


def _labels(images: NoisyBatch) -> Tensor:
    assert images.labels is not None  # the caller gave labels
    return images.labels


def _loss(log_p: Tensor, images: NoisyBatch) -> Tensor:
    return functional.nll_loss(log_p, _labels(images))


def _report(log_p: Tensor, images: NoisyBatch, config: Mapping[str, Any]) -> dict[str, float]:
    right = (log_p.argmax(1) == _labels(images)).double()
    report = {"loss": float(_loss(log_p, images)), "accuracy": float(right.mean())}
    for i, (low, high) in enumerate(bin_edges(config)):
        inside = (images.sigma > low) & (images.sigma <= high)
        report |= {f"sigma_lo_bin{i}": low, f"sigma_hi_bin{i}": high}
        report[f"accuracy_bin{i}"] = float(right[inside].mean())
    return report
