"""Train discriminators on a caller's examples, for guidance or as graders."""

import tempfile
from typing import TypeVar

import torch
from torch import Tensor, nn

from guidelab.compute.precision import settle
from guidelab.errors import UserError
from guidelab.train.discriminators import train_discriminator as trained
from guidelab.train.draws import Streams
from guidelab.train.precision import Precision
from guidelab.train.sides import Side

Module = TypeVar("Module", bound=nn.Module)


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
        device: where the net is trained, and stays.
    Returns:
        The net with the weights of the best validation loss, frozen and in eval mode; and the report on the test part:
        `bce`, `accuracy`, `js_bound`, `kl_dv` (nats), `mean_ratio`, and these by ranges of sigma.
    Raises:
        UserError: too few examples, or a loss that is not finite.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 1; the splits and the early stop are ours.
    """
    if real.shape[1:] != generated.shape[1:] or real.dtype != generated.dtype:
        raise UserError(
            f"train_discriminator: real {real.dtype} {tuple(real.shape)}, generated {generated.dtype} "
            f"{tuple(generated.shape)}; wanted examples of one shape and type"
        )
    config = {
        "lr": lr, "batch": batch, "iterations": iterations, "evaluate_every": min(evaluate_every, iterations),
        "patience": patience, "sigma_min": sigma_min, "sigma_max": sigma_max, "validation": validation, "test": test,
    }  # fmt: skip
    where = torch.device(device)
    settle(where)
    known = labels or (None, None)
    sides = [Side.all(examples, classes) for examples, classes in zip((real, generated), known, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        state, report, _ = trained(
            config, net, sides[0], sides[1], Streams(seed), folder, Precision(where), progress=False
        )
    net.load_state_dict(state)
    return net.eval().requires_grad_(False), report
