"""Whose divergences are estimated: a sampler or, for the null, real points in its place; with everything held out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.assemble import dataset, load_net, load_nets
from guidelab.cli.sigma.evaluate import Denoise, denoisers
from guidelab.errors import UserError
from guidelab.io import load_arrays, wanted
from guidelab.metrics.divergence import DIVERGENCES, divergences, log_ratios
from guidelab.metrics.value import Value
from guidelab.sampling.codecs import Points as Stored
from guidelab.sampling.draw import drawing

Points = tuple[Tensor, Tensor]  # real and generated, [N, 2] and [M, 2]


@dataclass(frozen=True)
class Subject:
    """One sampler and its grader.

    Attributes:
        data: the dataset, with its exact density.
        grader: the discriminator that estimates log(p/q).
        main, sampler: denoisers; the same one where nothing guides.
        guided: whether something guides.
        report, fitted: held-out points: those reported, and others that temperatures are fitted on.
        draw: fresh samples of a range of seeds.
        truth: exact divergences at the lowest noise level.
    """

    data: Any
    grader: nn.Module
    main: Denoise
    sampler: Denoise
    guided: bool
    report: Points
    fitted: Points
    draw: Callable[[int, int], Tensor]
    truth: dict[str, Value]
    real: bool = False  # the samples are real points


def sampler(job: dict[str, Any], seed: int) -> Subject:
    """A point of the sweep, at one training seed."""
    data, inputs = dataset(job["dataset"]), job["inputs"]
    nets = load_nets(inputs, seed)
    real = wanted(load_arrays(inputs["real"][0])[0], "x", inputs["real"][0], (None, 2))
    (path,) = inputs["samples"]
    samples, about = load_arrays(path)
    if about["terms"] != job["terms"] or about["variant"] != job["variant"]:
        raise UserError(
            f"{path}: holds samples of another sampler than {job['point']}. Delete it and run again."
        )
    blocks = [wanted(samples, f"seed{seed}/{name}/x", path, (None, 2)) for name in job["report"]]
    fitted = _finite(wanted(samples, f"seed{seed}/{job['calibrate']}/x", path, (None, 2)))
    main, guided = denoisers(job, nets)

    def draw(first: int, last: int) -> Tensor:
        return drawing(job, nets, torch.device("cpu"), Stored(), data.start)(first, last)[0]

    return Subject(
        data=data,
        grader=load_net(inputs["grader"][0], seed),
        main=main,
        sampler=guided,
        guided=bool(job["terms"]),
        report=(real[len(fitted) :], _finite(torch.cat(blocks))),
        fitted=(real[: len(fitted)], fitted),
        draw=draw,
        truth=_truth(job, seed),
    )


def null(job: dict[str, Any]) -> Subject:
    """Real points on both sides: the exact denoiser samples them, and every divergence is zero."""
    data, (path,) = dataset(job["dataset"]), job["inputs"]["real"]
    quarters = wanted(load_arrays(path)[0], "x", path, (None, 2)).chunk(4)

    def ideal(x: Tensor, sigma: Tensor) -> Tensor:
        found: Tensor = data.posterior_mean(x.to(torch.float64), sigma.to(torch.float64))
        return found.to(x.dtype)

    def draw(first: int, last: int) -> Tensor:
        found: Tensor = data.draw(last - first + 1, torch.Generator().manual_seed(first))
        return found

    zero = dict.fromkeys(DIVERGENCES, Value(0.0, 0.0))
    grader = load_net(job["inputs"]["grader"][0], 0)
    return Subject(
        data,
        grader,
        ideal,
        ideal,
        False,
        (quarters[2], quarters[3]),
        (quarters[0], quarters[1]),
        draw,
        zero,
        real=True,
    )


def _finite(x: Tensor) -> Tensor:
    return x[torch.isfinite(x).all(dim=1)]


def _truth(job: dict[str, Any], seed: int) -> dict[str, Value]:
    """Exact divergences of the sampler's flow, from all blocks of log-densities; nothing for a random denoiser."""
    if "density" not in job["inputs"]:
        return {}
    (path,) = job["inputs"]["density"]
    arrays, _ = load_arrays(path)
    sides = {
        f"log_{which}_at_{side}": torch.cat(
            [
                wanted(arrays, f"seed{seed}/{block}/{side}/log_{which}", path, (None,))
                for block in job["blocks"]
            ]
        )
        for side in ("data", "model")
        for which in ("p", "q")
    }
    return divergences(log_ratios(**sides))
