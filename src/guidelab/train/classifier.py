"""Training of image classifiers: noisy ones (class from an image at any noise level) and clean ones (for metrics)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guidelab.train.adam import Adam, parameters_of
from guidelab.train.early import History, run_until_no_better
from guidelab.train.loop import Course, State
from guidelab.train.noisy import Images, Noisy, bin_edges, noisy, split
from guidelab.train.streams import stream

_NOISES = 2  # noise levels at which each held-out image is judged: fixed, so that evaluations compare
_CHUNK = 512  # held-out images evaluated at a time


def train_classifier(
    config: Mapping[str, Any],
    net: nn.Module,
    images: Images,
    state_dir: str | Path,
    progress: bool = True,
) -> tuple[State, dict[str, float], History]:
    """Train a classifier with Adam, its step falling linearly to 0, stopped early on held-out images.

    Args:
        config: `lr`, `batch`, `iterations` (at most), `evaluate_every` and `patience` (evaluations without a better
            held-out loss before it stops), `sigma_min`, `sigma_max` (0: clean images), `validation` and `test`
            (shares), `seed`, `weight_decay`.
        net: `net(x, sigma) -> [B, K]` log-probabilities; trained in place.
        images: with labels.
        state_dir: folder of the resumable state.
        progress: show a bar on standard error.
    Returns:
        The state of the best validation loss; a report on the test part, which decided nothing: `loss` (nats),
        `accuracy`, both also for each range of sigma (`accuracy_bin0`, from `sigma_lo_bin0` to `sigma_hi_bin0`),
        sizes, iterations; and the history.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for too few images.
    """
    seed = config["seed"]
    parts = split(images, config, stream("classifier split", seed), "classifier")
    validation = noisy(parts.validation, config, stream("classifier validation", seed), _noises(config))
    adam = Adam(net, config["lr"], config.get("weight_decay", 0.0))

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        generator = stream("classifier batch", seed, iteration)
        index = torch.randint(len(parts.train), (config["batch"],), generator=generator)
        batch = noisy(parts.train[index], config, generator)
        factor = 1 - iteration / config["iterations"]
        return adam.step(state, lambda: _loss(net(batch.x, batch.sigma), batch), factor)

    course = Course(
        key={"task": "classifier", **config},
        initial=adam.initial,
        step=step,
        snapshot=parameters_of,
        iterations=config["iterations"],
        snapshot_every=config["evaluate_every"],
        log_every=config["evaluate_every"],
        title="classifier",
    )

    def evaluate(snapshot: State) -> float:
        return float(_loss(log_probabilities(adam.load(snapshot), validation), validation))

    outcome = run_until_no_better(course, state_dir, evaluate, config["patience"], progress)
    adam.load(outcome.best)
    test = noisy(parts.test, config, stream("classifier test", seed), _noises(config))
    report: dict[str, float] = {
        **_report(log_probabilities(net, test), test, config),
        **parts.sizes,
        "iterations": outcome.iterations,
        "best_at": outcome.best_at,
    }
    return {k: v.detach().clone() for k, v in net.state_dict().items()}, report, outcome.history


def log_probabilities(net: nn.Module, images: Noisy) -> Tensor:
    """Log-probabilities `[N, K]` of noisy images, without gradients."""
    with torch.no_grad():
        parts = zip(images.x.split(_CHUNK), images.sigma.split(_CHUNK), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([net(x, sigma) for x, sigma in parts])


def _noises(config: Mapping[str, Any]) -> int:
    return 1 if config["sigma_max"] == 0 else _NOISES


def _loss(log_p: Tensor, images: Noisy) -> Tensor:
    assert images.labels is not None  # the caller gave labels
    return functional.nll_loss(log_p, images.labels)


def _report(log_p: Tensor, images: Noisy, config: Mapping[str, Any]) -> dict[str, float]:
    assert images.labels is not None
    right = (log_p.argmax(1) == images.labels).double()
    report = {"loss": float(_loss(log_p, images)), "accuracy": float(right.mean())}
    for i, (low, high) in enumerate(bin_edges(config)):
        inside = (images.sigma > low) & (images.sigma <= high)
        report |= {f"sigma_lo_bin{i}": low, f"sigma_hi_bin{i}": high}
        report[f"accuracy_bin{i}"] = float(right[inside].mean())
    return report
