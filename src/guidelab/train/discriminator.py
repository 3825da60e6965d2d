"""Training of a time-conditioned discriminator: both sides split three ways, stopped early on the validation part."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from guidelab.core.denoiser import per_sample
from guidelab.errors import UserError
from guidelab.nets.toy_discriminator import ToyDiscriminator

_NOISES = 4  # noise levels at which each held-out point is judged: fixed, so that evaluations compare


@dataclass(frozen=True)
class _Split:
    """One side's parts, `[n, *event]` each; no point is in two of them."""

    train: Tensor
    validation: Tensor
    test: Tensor


def train_discriminator(
    config: Mapping[str, Any], real: Tensor, generated: Tensor, seed: int, progress: bool = True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train on real against generated points at log-uniform noise levels.

    Args:
        config: `net` (width, layers), `lr`, `batch` (half of each side), `iterations` (at most), `evaluate_every`
            and `patience` (evaluations without a better validation loss before it stops), `sigma_min`,
            `sigma_max`, `validation` and `test` (shares of both sides).
        real, generated: `[N, 2]`, `[M, 2]`; generated points that are not finite are left out and counted.
        seed: of initial weights, splits, batches and noise.
    Returns:
        The state of the best validation loss, and a report on the test part, which decided nothing: `bce`,
        `accuracy`, `js_bound` (nats), `kl_dv` (nats), `mean_ratio` (E_q[r], 1 when calibrated), sizes, iterations.
    Raises:
        UserError: too few points for the split.
    Source: Kim et al. 2023, arXiv:2211.17091, algorithm 1; the splits and the early stop are ours.
    """
    generator = torch.Generator().manual_seed(seed)
    finite = generated[torch.isfinite(generated).all(dim=1)]
    sides = [_split(real, config, generator, "real"), _split(finite, config, generator, "generated")]
    net = ToyDiscriminator(config["net"]["width"], config["net"]["layers"], generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=config["lr"])
    validation = [_noisy(side.validation, config, seed + 1, _NOISES) for side in sides]
    best, best_at, best_state = math.inf, 0, _copy(net)
    bar = tqdm(
        range(config["iterations"]),
        desc="discriminator",
        disable=not progress,
        mininterval=1.0,
        dynamic_ncols=True,
    )
    iteration = 0
    for iteration in bar:
        optimiser.zero_grad()
        loss = _loss(net, [_batch(side.train, config, generator) for side in sides])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if (iteration + 1) % config["evaluate_every"] == 0:
            with torch.no_grad():
                held_out = float(_loss(net, validation))
            if held_out < best:
                best, best_at, best_state = held_out, iteration + 1, _copy(net)
            bar.set_postfix(train=f"{float(loss.detach()):.4f}", validation=f"{held_out:.4f}")
            if iteration + 1 - best_at >= config["patience"] * config["evaluate_every"]:
                break
    bar.close()
    net.load_state_dict(best_state)
    report = _report(net, [_noisy(side.test, config, seed + 2, _NOISES) for side in sides])
    sizes = {f"n_{part}": len(getattr(sides[0], part)) for part in ("train", "validation", "test")}
    lost = len(generated) - len(finite)
    return best_state, {
        **report,
        **sizes,
        "iterations": iteration + 1,
        "best_at": best_at,
        "not_finite": lost,
    }


def _split(points: Tensor, config: Mapping[str, Any], generator: torch.Generator, side: str) -> _Split:
    held, tested = round(config["validation"] * len(points)), round(config["test"] * len(points))
    if min(held, tested, len(points) - held - tested) < 10:
        raise UserError(
            f"discriminator: {len(points)} {side} points leave {len(points) - held - tested} to train, {held} to "
            f"validate and {tested} to test; wanted at least 10 each. Give it more seeds."
        )
    shuffled = points[torch.randperm(len(points), generator=generator)]
    return _Split(shuffled[held + tested :], shuffled[:held], shuffled[held : held + tested])


def _levels(n: int, config: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """`n` noise levels, log-uniform between sigma_min and sigma_max."""
    low, high = math.log(config["sigma_min"]), math.log(config["sigma_max"])
    return torch.exp(low + (high - low) * torch.rand(n, generator=generator))


def _batch(points: Tensor, config: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random half batch of one side with fresh noise: `x [B, 2]`, `sigma [B]`."""
    x0 = points[torch.randint(len(points), (config["batch"] // 2,), generator=generator)]
    sigma = _levels(len(x0), config, generator)
    return x0 + per_sample(sigma, x0) * torch.randn(x0.shape, generator=generator), sigma


def _noisy(points: Tensor, config: Mapping[str, Any], seed: int, repeats: int) -> tuple[Tensor, Tensor]:
    """Held-out points, each at `repeats` fixed noise levels."""
    generator = torch.Generator().manual_seed(seed)
    x0 = points.repeat(repeats, 1)
    sigma = _levels(len(x0), config, generator)
    return x0 + per_sample(sigma, x0) * torch.randn(x0.shape, generator=generator), sigma


def _loss(net: nn.Module, sides: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Binary cross-entropy, both sides weighed equally; the first is real."""
    (real, real_sigma), (generated, generated_sigma) = sides
    real_loss = functional.softplus(-net(real, real_sigma, None)).mean()
    generated_loss = functional.softplus(net(generated, generated_sigma, None)).mean()
    loss: Tensor = 0.5 * (real_loss + generated_loss)
    return loss


def _report(net: nn.Module, sides: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Held-out numbers over all noise levels."""
    with torch.no_grad():
        real, generated = (net(x, sigma, None).to(torch.float64) for x, sigma in sides)
    bce = float(0.5 * (functional.softplus(-real).mean() + functional.softplus(generated).mean()))
    log_mean_ratio = float(torch.logsumexp(generated, 0)) - math.log(len(generated))
    return {
        "bce": bce,
        "accuracy": float(0.5 * ((real > 0).double().mean() + (generated <= 0).double().mean())),
        "js_bound": math.log(2) - bce,
        "kl_dv": float(real.mean()) - log_mean_ratio,
        "mean_ratio": math.exp(log_mean_ratio),
    }


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
