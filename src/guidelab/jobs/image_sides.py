"""The two sides of a discriminator's training on images or latents: real against samples, or two parts of a split."""

from collections.abc import Mapping
from typing import Any

import torch

from guidelab.data.zip_reader import ZipImages, ZipLatents
from guidelab.errors import UserError
from guidelab.io.shards import load_manifest
from guidelab.jobs.examples import ShardImages, check_labels, event_shape, open_examples
from guidelab.train.loader import Kept
from guidelab.train.sides import Side
from guidelab.train.streams import stream

Job = Mapping[str, Any]
Examples = ZipImages | ZipLatents


class Images:
    """Images or latents; of a null both sides are parts of one fold.

    Raises:
        UserError: a file that does not fit the job.
    """

    small = False

    def __init__(self, job: Job) -> None:
        self.job = job
        (path,) = job["inputs"]["real"]
        self.real = open_examples(path, job.get("latent"))
        self.classes: int = job["classes"] if job["net"].get("conditional") else 0

    def net_config(self, classes: int) -> dict[str, Any]:
        """Complete constructor arguments, with the network's name."""
        channels, side, _ = event_shape(self.real)
        size = {"resolution_px": side, "image_channels": channels, "classes": classes}
        return {**{k: v for k, v in self.job["net"].items() if k != "conditional"}, **size}

    def sides(self, seed: int, own: int) -> tuple[Side, Side]:
        """Real images, and the samples of a training seed; of a null two parts of the real ones.

        Raises:
            UserError: too few images, other shapes, or labels that do not fit.
        """
        job, real = self.job, self.real
        if self.classes:
            check_labels(real.labels, self.classes, real.path, job["disc"])
        side = side_of(real, bool(self.classes))
        if "generated" in job["inputs"]:
            return side, _generated(job, real, seed, self.classes)
        if len(real) < 2 * job["apart"]:
            raise UserError(
                f"{real.path}: holds {len(real)} images, wanted at least {2 * job['apart']}: as many apart as a grader has samples, "
                "and no fewer against them. Give a larger fold, or graders fewer samples (params.yaml)."
            )
        order = torch.randperm(len(real), generator=stream("null parts", own))
        return side[order[job["apart"] :]], side[order[: job["apart"]]]

    def labelled(self) -> Side:
        """All real images with their classes.

        Raises:
            UserError: labels are missing or too large.
        """
        check_labels(self.real.labels, self.job["classes"], self.real.path, self.job["disc"])
        return side_of(self.real, True)

    def reported(self, report: Mapping[str, float]) -> dict[str, float]:
        """The report as it is."""
        return dict(report)


def _generated(job: Mapping[str, Any], real: Examples, seed: int, classes: int) -> Side:
    """The samples of one training seed.

    Raises:
        UserError: they are absent, of another shape than the real ones, or lack labels.
    """
    (path,) = job["inputs"]["generated"]
    if isinstance(real, ZipLatents):
        found: ZipLatents | ShardImages = _latents(path, job["latent"])
    else:
        blocks = load_manifest(path)["blocks"]
        found = ShardImages(path, seed, "generated" if "generated" in blocks else job["disc"])
    if found.shape != real.shape:
        raise UserError(
            f"{path}: holds {found.shape}, but {real.path} holds {real.shape}; wanted the same channels and side"
        )
    if classes:
        check_labels(found.labels, classes, path, job["disc"])
    side = side_of(found, bool(classes))
    if isinstance(found, ZipLatents) and found.parts:
        if seed not in found.parts:
            raise UserError(
                f"{path}: holds no samples of training seed {seed}; it has {sorted(found.parts)}. Delete it and run again."
            )
        rows = found.parts[seed]
        return side[slice(rows.start, rows.stop)]
    return side


def _latents(path: str, latent: Mapping[str, Any]) -> ZipLatents:
    if not path.endswith(".zip"):
        raise UserError(
            f"{path}: is no ZIP; wanted latents of the samples, as the real ones are latents. Encode them."
        )
    found = open_examples(path, latent)
    assert isinstance(found, ZipLatents)  # `latent` was given
    return found


def side_of(found: Examples | ShardImages, conditional: bool) -> Side:
    """All examples, with their labels for a conditional net; decoded images stay in memory if they are small."""
    labels = found.labels if conditional else None
    if isinstance(found, ZipLatents):
        return Side.all(found, labels, found.encoding.standardise)
    return Side.all(Kept(found, found.shape), labels)
