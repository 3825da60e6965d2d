"""Whose divergences are estimated: a sampler of images or, for the null, real images in its place; all held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guidelab.assemble import load_net, load_nets
from guidelab.cli.images.noised import Denoise, denoisers
from guidelab.data.image_zip import read_zip
from guidelab.errors import UserError
from guidelab.io import load_arrays, wanted
from guidelab.shards import load_manifest, read_block
from guidelab.train.noisy import Images


@dataclass(frozen=True)
class Space:
    """One feature space: real vectors, vectors of the samples that are reported, and of the block that is not."""

    real: Tensor
    report: Tensor
    more: Tensor
    sha256: str  # of the net that makes the features


@dataclass(frozen=True)
class Subject:
    """One sampler of images and its grader.

    Attributes:
        grader: the discriminator that estimates log(p/q) of images and classes.
        main, sampler: denoisers; the same law where nothing guides.
        guided: whether something guides.
        report, fitted: held-out real images and samples: those reported, and others that temperatures are fitted on.
        spaces: feature spaces by name.
    """

    grader: nn.Module
    main: Denoise
    sampler: Denoise
    guided: bool
    report: tuple[Images, Images]
    fitted: tuple[Images, Images]
    spaces: dict[str, Space]


def sampler(job: Mapping[str, Any], seed: int) -> Subject:
    """A point of the sweep, at one training seed."""
    inputs = job["inputs"]
    (path,), (real_path,) = inputs["samples"], inputs["real"]
    about = load_manifest(path)
    if about["terms"] != job["terms"] or about["variant"] != job["variant"]:
        raise UserError(
            f"{path}: holds samples of another sampler than {job['point']}. Delete it and run again."
        )
    report = _joined([Images(*read_block(path, seed, name)) for name in job["report"]])
    fitted = Images(*read_block(path, seed, job["calibrate"]))
    real = _fold(real_path, len(report) + len(fitted))
    spaces = {}
    for name in job["spaces"]:
        (found,), (reference,) = inputs[f"features:{name}"], inputs[f"reference:{name}"]
        held, told = load_arrays(found)
        other, folded = load_arrays(reference)
        if told["features_sha256"] != folded["features_sha256"]:
            raise UserError(
                f"{reference}: is of other features than {found}. Delete the older and run again."
            )
        blocks = {b: wanted(held, f"seed{seed}/{b}/features", found, (None, None)) for b in job["blocks"]}
        spaces[name] = Space(
            wanted(other, "features", reference, (None, None)),
            torch.cat([blocks[b] for b in job["report"]]),
            blocks[job["calibrate"]],
            str(told["features_sha256"]),
        )
    first, rest = torch.arange(len(real)).tensor_split([len(fitted)])
    sides = ((real[rest], report), (real[first], fitted))
    grader = load_net(inputs["grader"][0], seed)
    return Subject(
        grader,
        *denoisers(job, load_nets(inputs, seed, job.get("discs"))),
        bool(job["terms"]),
        sides[0],
        sides[1],
        spaces,
    )


def null(job: Mapping[str, Any]) -> Subject:
    """Real images on both sides: as many in the place of samples as a sampler has, and the rest."""
    inputs = job["inputs"]
    sizes = {name: last - first + 1 for name, (first, last) in job["blocks"].items()}
    reported, fitted = sum(sizes[name] for name in job["report"]), sizes[job["calibrate"]]
    real = _fold(inputs["real"][0], 2 * (reported + fitted))
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(job["estimate"]["seed"]))
    cuts = [fitted, fitted, reported, len(order) - 2 * fitted - reported]
    fitted_real, fitted_other, other, rest = order.split(cuts)  # type: ignore[no-untyped-call]
    spaces = {}
    for name in job["spaces"]:
        (path,) = inputs[f"reference:{name}"]
        held, told = load_arrays(path)
        x = wanted(held, "features", path, (len(real), None))
        parts = x[torch.cat([rest, fitted_real])], x[other], x[fitted_other]
        spaces[name] = Space(*parts, str(told["features_sha256"]))
    grader = load_net(inputs["grader"][0], 0)
    main, same = denoisers(job, load_nets(job["inputs"], job["train_seeds"][0]))
    report = (real[rest], real[other])
    return Subject(grader, main, same, False, report, (real[fitted_real], real[fitted_other]), spaces)


def _fold(path: str, least: int) -> Images:
    """All images of a fold, shuffled as the file has them.

    Raises:
        UserError: there are too few.
    """
    found = read_zip(path)
    if len(found) < least:
        raise UserError(
            f"{path}: holds {len(found)} images, wanted at least {least}: as many as samples. Give a larger fold."
        )
    return Images(found.images, found.labels)


def _joined(parts: list[Images]) -> Images:
    labels = [part.labels for part in parts if part.labels is not None]
    return Images(torch.cat([part.x for part in parts]), torch.cat(labels) if labels else None)
