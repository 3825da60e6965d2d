"""Train discriminators on a caller's examples, for guidance or as graders."""

import math
import tempfile
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from guidelab.api.arguments import device_of, whole
from guidelab.compute.precision import settle
from guidelab.errors import UserError
from guidelab.train.discriminators import train_discriminator as trained
from guidelab.train.draws import Streams
from guidelab.train.precision import Precision
from guidelab.train.sides import Side

Module = TypeVar("Module", bound=nn.Module)
_HERE = "train_discriminator"
_LEAST = {"batch": 2, "iterations": 1, "evaluate_every": 1, "patience": 1}  # batch: one of each side


def train_discriminator(
    net: Module,
    real: Tensor,
    generated: Tensor,
    *,
    labels: tuple[Tensor, Tensor] | None = None,
    iterations: int = 3000,
    batch: int = 256,
    lr: float = 1e-3,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    evaluate_every: int = 250,
    patience: int = 6,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Module, dict[str, float]]:
    """Train a net to tell real from generated examples at every noise level; the workflow's trainer.

    The result guides as `Potential(net, weight)`, and grades as `grade` does from its logits on examples that neither
    side of this training held. A net that guides must not grade.

    Args:
        net: `(x, sigma, cond) -> [B]` logits, trained in place: `build_net("small_discriminator", ...)` or your own.
        real, generated: points `[N, D]` float32, or images `[N, C, H, W]` uint8.
        labels: classes `[N]` int64 of both sides, for a net with classes.
        iterations: at most; it stops after `patience` evaluations without a better validation loss.
        batch: examples of a step, half of each side. lr: of Adam.
        sigma_min, sigma_max: noise levels, drawn log-uniformly.
        evaluate_every: iterations between evaluations.
        validation, test: shares held out of both sides.
        seed: of splits, batches and noise.
        device: where the net is trained, and stays: `cpu`, `cuda` or `cuda:1`.
    Returns:
        The net with the weights of the best validation loss, frozen and in eval mode; and the report on the test part:
        `bce`, `accuracy`, `js_bound`, `kl_dv` (nats), `mean_ratio`, and these by ranges of sigma.
    Raises:
        UserError: an argument that cannot be, too few examples, or a loss that is not finite.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 1; the splits and the early stop are ours.
    """
    known = _classes((real, generated), labels)
    config = {
        "lr": lr, "batch": batch, "iterations": iterations, "evaluate_every": evaluate_every, "patience": patience,
        "sigma_min": sigma_min, "sigma_max": sigma_max, "validation": validation, "test": test,
    }  # fmt: skip
    config |= _counts(config)
    where = device_of(_HERE, device)
    settle(where)
    sides = [Side.all(examples, classes) for examples, classes in zip((real, generated), known, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        state, report, _ = trained(
            config, net, sides[0], sides[1], Streams(seed), folder, Precision(where), progress=False
        )
    net.load_state_dict(state)
    return net.eval().requires_grad_(False), report


def _classes(
    sides: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The classes of both sides, or none, after comparing the sides with each other and with their classes."""
    real, generated = sides
    if real.shape[1:] != generated.shape[1:] or real.dtype != generated.dtype:
        raise UserError(
            f"{_HERE}: real {real.dtype} {tuple(real.shape)}, generated {generated.dtype} "
            f"{tuple(generated.shape)}; wanted examples of one shape and type"
        )
    if labels is None:
        return None, None
    given = [
        f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        for found in labels
    ]
    wanted = [f"{torch.int64} {(len(side),)}" for side in sides]
    if given != wanted:
        raise UserError(f"{_HERE}: labels {', '.join(given)}, wanted {' and '.join(wanted)}")
    return labels


def _counts(config: Mapping[str, Any]) -> dict[str, int]:
    """The whole numbers of a configuration; it is evaluated at least once, and noise levels lie in a range."""
    low, high = config["sigma_min"], config["sigma_max"]
    if not (high == 0 or 0 < low <= high < math.inf):
        raise UserError(f"{_HERE}: sigma_min {low}, sigma_max {high}; wanted 0 < sigma_min <= sigma_max")
    found = {key: whole(f"{_HERE}: {key}", config[key], least) for key, least in _LEAST.items()}
    return found | {"evaluate_every": min(found["evaluate_every"], found["iterations"])}
