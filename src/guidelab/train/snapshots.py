"""Snapshots of a denoiser's training: EMA weights by name, and the loss curve."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.train.loop import LOG_EVERY, State

Snapshots = dict[str, Tensor]
Curve = list[tuple[int, int, int, float]]  # train_seed, iteration, nimg, loss


def named(net: nn.Module, kept: Mapping[int, State], batch: int, seed: int) -> Snapshots:
    """Snapshots as parameters by name, each with the net's buffers, so that they load as they are."""
    layout = [(name, p.shape) for name, p in net.named_parameters()]
    parameters = {name for name, _ in layout}
    buffers = {name: value.cpu() for name, value in net.state_dict().items() if name not in parameters}
    found: Snapshots = {}
    for iteration, state in kept.items():
        for average in (name for name in state if name.startswith("ema")):
            prefix = f"seed{seed}/{average}/nimg{iteration * batch}"
            parts = torch.split(state[average], [shape.numel() for _, shape in layout])
            for (name, shape), part in zip(layout, parts, strict=True):
                found[f"{prefix}/{name}"] = part.view(shape)
            found |= {f"{prefix}/{name}": value for name, value in buffers.items()}
    return found


def curve_of(losses: Tensor, seed: int, config: Mapping[str, Any]) -> Curve:
    """One row for every interval of the log; `iteration` is the last one of the interval."""
    batch = config["batch"]
    ends = [min(number * LOG_EVERY, config["nimg"] // batch) for number in range(1, len(losses) + 1)]
    return [(seed, at, at * batch, float(row[0])) for at, row in zip(ends, losses, strict=True)]
