"""Evaluate a discriminator's held-out logits: losses, accuracy and bounds on divergences."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from guidelab.train.noisy import bin_edges


@dataclass(frozen=True)
class Judged:
    """Logits `[N]` float64 of one side and the noise levels `[N]` they were given at."""

    logits: Tensor
    sigma: Tensor


def bce(real: Tensor, generated: Tensor) -> float:
    """Binary cross-entropy (nats) of logits `[N]` and `[M]`, both sides weighed equally."""
    return float(0.5 * (functional.softplus(-real).mean() + functional.softplus(generated).mean()))


def accuracy(real: Tensor, generated: Tensor) -> float:
    """Share of right decisions, both sides weighed equally."""
    return float(0.5 * ((real > 0).double().mean() + (generated <= 0).double().mean()))


def report_of(real: Judged, generated: Judged, config: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of held-out logits over all noise levels, and in ranges of them.

    Args:
        real, generated: both sides.
        config: `sigma_min`, `sigma_max` of the training.
    Returns:
        `bce`, `accuracy`, `js_bound` (nats), `kl_dv` (nats), `mean_ratio` (E_q[r], 1 when calibrated); `bce`,
        `accuracy` and `js_bound` for each range of sigma (`js_bound_bin0`, from `sigma_lo_bin0` to `sigma_hi_bin0`).
    """
    log_mean_ratio = float(torch.logsumexp(generated.logits, 0)) - math.log(len(generated.logits))
    loss = bce(real.logits, generated.logits)
    report = {
        "bce": loss,
        "accuracy": accuracy(real.logits, generated.logits),
        "js_bound": math.log(2) - loss,
        "kl_dv": float(real.logits.mean()) - log_mean_ratio,
        "mean_ratio": math.exp(log_mean_ratio),
    }
    for i, (low, high) in enumerate(bin_edges(config)):
        inside = [side.logits[(side.sigma > low) & (side.sigma <= high)] for side in (real, generated)]
        loss = bce(inside[0], inside[1])
        report |= {f"sigma_lo_bin{i}": low, f"sigma_hi_bin{i}": high}
        report |= {f"bce_bin{i}": loss, f"accuracy_bin{i}": accuracy(inside[0], inside[1])}
        report[f"js_bound_bin{i}"] = math.log(2) - loss
    return report
