"""Build the input of a divergence estimate from a job's files: real against generated samples or, as a null test, real against real."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidelab.assemble import Nets, assemble, density, load_net, load_nets
from guidelab.compute.device import device
from guidelab.compute.inference import inference_models
from guidelab.compute.precision import settle
from guidelab.core.denoiser import at_step
from guidelab.data.image_zip import read_zip
from guidelab.divergence.noisy import CPU, Denoise, Examples
from guidelab.divergence.subject import Exact, Space, Subject
from guidelab.errors import UserError
from guidelab.io import load_arrays, wanted
from guidelab.io.shards import load_manifest, read_block
from guidelab.metrics.divergence import DIVERGENCES, divergences, log_ratios
from guidelab.metrics.value import Value
from guidelab.registry import DENSITIES
from guidelab.sampling.codecs import Points
from guidelab.sampling.draw import drawing

Job = Mapping[str, Any]


def sampler(job: Job, seed: int) -> Subject:
    """A point of the sweep, at one training seed.

    Raises:
        UserError: files of another sampler, of other features or with too few examples; no such device.
    """
    blocks, known = _samples(job, seed), _density_known(job)
    fitted, report = blocks[job["calibrate"]], Examples.joined([blocks[name] for name in job["report"]])
    real = _fold(job, 2 * len(fitted) if known else len(report) + len(fitted))
    nets, where = _nets(job, seed)
    main, guided = denoisers(job, nets)
    return Subject(
        grader=load_net(job["inputs"]["grader"][0], seed, str(where)),
        main=main,
        sampler=guided,
        guided=bool(job["terms"]),
        report=(real[len(fitted) :], report),
        fitted=(real[: len(fitted)], fitted),
        exact=_exact(job, nets, seed) if known else None,
        spaces={name: _space(job, name, seed) for name in job.get("spaces", ())},
        where=where,
    )


def null(job: Job) -> Subject:
    """Real examples on both sides; where the density is known they are denoised exactly and every divergence is zero.

    Raises:
        UserError: too few examples, or no such device.
    """
    real, (fitted, fitted_other, rest, other) = _null_parts(job)
    spaces = {}
    for name in job.get("spaces", ()):
        vectors, sha = _reference(job, name, len(real))
        spaces[name] = Space(vectors[torch.cat([rest, fitted])], vectors[other], vectors[fitted_other], sha)
    main, exact, where = _null_denoiser(job)
    return Subject(
        grader=load_net(job["inputs"]["grader"][0], 0, str(where)),
        main=main,
        sampler=main,
        guided=False,
        report=(real[rest], real[other]),
        fitted=(real[fitted], real[fitted_other]),
        exact=exact,
        spaces=spaces,
        where=where,
    )


def _null_parts(job: Job) -> tuple[Examples, tuple[Tensor, ...]]:
    """All real examples, and four index sets: calibration, its counterpart, report, its counterpart.

    Where the density is known, four equal quarters. Otherwise a random split: the counterparts are as large as the sample
    blocks, and the report takes all remaining examples.
    """
    if _density_known(job):
        real = _fold(job, 4)
        return real, torch.arange(len(real)).chunk(4)
    sizes = {name: last - first + 1 for name, (first, last) in job["blocks"].items()}
    generated, few = sum(sizes[name] for name in job["report"]), sizes[job["calibrate"]]
    real = _fold(job, 2 * (generated + few))
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(job["estimate"]["seed"]))
    cuts = [few, few, generated, len(order) - 2 * few - generated]
    fitted, fitted_other, other, rest = order.split(cuts)  # type: ignore[no-untyped-call]
    return real, (fitted, fitted_other, rest, other)


def denoisers(job: Job, nets: Nets) -> tuple[Denoise, Denoise]:
    """The main net's denoiser and the guided denoiser; both accept a batch with different noise levels.

    A term of `stages: first` enters with half its weight, as in the ODE of the sampler; a term with an interval is
    applied at the noise levels inside it.
    """
    edges = sorted({t[key] for t in job["terms"] for key in ("sigma_lo", "sigma_hi") if t[key]})
    terms: list[list[Any]] = [[], job["terms"]]
    built = [assemble({**job, "terms": some}, nets, None, flow=True).predict for some in terms]
    classes = getattr(nets.models[job["main"]], "classes", 0)

    def stepped(predict: Any) -> Denoise:
        def at(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
            result = torch.empty_like(x)
            group = torch.from_numpy(np.digitize(sigma.cpu().to(torch.float64).numpy(), edges, right=True))
            cond = labels if classes else None
            for one in sorted(set(group.tolist())):
                here = (group == one).to(x.device)
                now = at_step(predict, float(sigma[here][0]))
                result[here] = now(x[here], sigma[here], None if cond is None else cond[here])
            return result

        return at

    return stepped(built[0]), stepped(built[1])


def _nets(job: Job, seed: int) -> tuple[Nets, torch.device]:
    """The nets of one training seed, and where they are."""
    found = load_nets(job["inputs"], seed, job.get("discs"))
    if _density_known(job) or "precision" not in job:  # points are estimated in float64, on the CPU
        return found, CPU
    where = device()
    settle(where)
    models = inference_models(found.models, where, job["precision"], job["unlabelled"])
    return Nets(models, {name: net.to(where) for name, net in found.discriminators.items()}), where


def _density_known(job: Job) -> bool:
    return job["dataset"]["name"] in DENSITIES


def _exact(job: Job, nets: Nets, seed: int) -> Exact:
    data = density(job["dataset"])

    def draw(first: int, last: int) -> Tensor:
        return drawing(job, nets, CPU, Points(), data.start)(first, last)[0]

    return Exact(data, job["sampler"]["sigma_min"], _truth(job, seed), draw)


def _null_denoiser(job: Job) -> tuple[Denoise, Exact | None, torch.device]:
    """The exact denoiser where the density is known, else the main net's."""
    if not _density_known(job):
        nets, where = _nets(job, job["train_seeds"][0])
        return denoisers(job, nets)[0], None, where
    data = density(job["dataset"])

    def ideal(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        found: Tensor = data.posterior_mean(x.to(torch.float64), sigma.to(torch.float64))
        return found.to(x.dtype)

    def draw(first: int, last: int) -> Tensor:
        found: Tensor = data.draw(last - first + 1, torch.Generator().manual_seed(first))
        return found

    zeros = dict.fromkeys(DIVERGENCES, Value(0.0, 0.0))
    return ideal, Exact(data, job["sampler"]["sigma_min"], zeros, draw, zero=True), CPU


def _truth(job: Job, seed: int) -> dict[str, Value]:
    """Exact divergences from the log-densities of all blocks; empty where no log-density is computed (a stochastic denoiser,
    a third-party sampler)."""
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


def _samples(job: Job, seed: int) -> dict[str, Examples]:
    """The sampler's blocks at one training seed; points that are not finite are left out.

    Raises:
        UserError: the file is of another sampler.
    """
    (path,) = job["inputs"]["samples"]
    tensors, about = ({}, load_manifest(path)) if path.endswith(".json") else load_arrays(path)
    if about["terms"] != job["terms"] or about["variant"] != job["variant"]:
        raise UserError(
            f"{path}: holds samples of another sampler than {job['point']}. Delete it and run again."
        )
    if not tensors:
        return {name: _images(*read_block(path, seed, name)) for name in job["blocks"]}
    return {
        name: _points(wanted(tensors, f"seed{seed}/{name}/x", path, (None, None))) for name in job["blocks"]
    }


def _fold(job: Job, least: int) -> Examples:
    """All real examples, in the order of the file.

    Raises:
        UserError: there are too few.
    """
    (path,) = job["inputs"]["real"]
    if path.endswith(".zip"):
        held = read_zip(path)
        found = _images(held.images, held.labels)
    else:
        found = _points(wanted(load_arrays(path)[0], "x", path, (None, None)))
    if len(found) < least:
        raise UserError(
            f"{path}: holds {len(found)} examples, wanted at least {least}: as many as samples. Give a larger fold."
        )
    return found


def _points(x: Tensor) -> Examples:
    return Examples(x[torch.isfinite(x).all(dim=1)].to(torch.float64))


def _images(x: Tensor, labels: Tensor | None) -> Examples:
    return Examples(x.to(torch.float32) / 127.5 - 1, labels)


def _space(job: Job, name: str, seed: int) -> Space:
    """One feature space of a sampler.

    Raises:
        UserError: its samples' features are of another net than its fold's.
    """
    (found,), (reference,) = job["inputs"][f"features:{name}"], job["inputs"][f"reference:{name}"]
    held, about = load_arrays(found)
    real, sha = _reference(job, name)
    if about["features_sha256"] != sha:
        raise UserError(f"{reference}: is of other features than {found}. Delete the older and run again.")
    blocks = {b: wanted(held, f"seed{seed}/{b}/features", found, (None, None)) for b in job["blocks"]}
    return Space(real, torch.cat([blocks[b] for b in job["report"]]), blocks[job["calibrate"]], sha)


def _reference(job: Job, name: str, n: int | None = None) -> tuple[Tensor, str]:
    """The real fold's features, and the sha256 of the net that made them."""
    (path,) = job["inputs"][f"reference:{name}"]
    held, about = load_arrays(path)
    return wanted(held, "features", path, (n, None)), str(about["features_sha256"])
