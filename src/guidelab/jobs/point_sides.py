"""The two sides of a discriminator's training on points: real against samples, or two splits of real points."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.io import load_arrays, wanted
from guidelab.train.sides import Side

Job = Mapping[str, Any]


class Points:
    """Points of files; of a null the other side is a fold of its own."""

    small = True  # nets on points: each side passes them by itself, and random numbers come in sequence
    classes = 0

    def __init__(self, job: Job) -> None:
        self.job, self.lost = job, 0
        (path,) = job["inputs"]["real"]
        self.real = wanted(load_arrays(path)[0], "x", path, (None, 2))

    def net_config(self, classes: int) -> dict[str, Any]:
        """Constructor arguments, with the network's name."""
        return dict(self.job["net"])

    def sides(self, seed: int, own: int) -> tuple[Side, Side]:
        """Real points, and the other side of a training seed: points that are not finite are left out and counted."""
        found = self._generated(seed)
        finite = found[torch.isfinite(found).all(dim=1)]
        self.lost = len(found) - len(finite)
        return Side.all(self.real, None), Side.all(finite, None)

    def labelled(self) -> Side:
        """Points have no classes.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.job['disc']}: is a classifier, wanted a discriminator: points have no classes"
        )

    def reported(self, report: Mapping[str, float]) -> dict[str, float]:
        """The report without ranges of noise levels, and how many points were left out."""
        return {k: v for k, v in report.items() if "_bin" not in k} | {"not_finite": self.lost}

    def _generated(self, seed: int) -> Tensor:
        inputs = self.job["inputs"]
        if "other" in inputs:
            (path,) = inputs["other"]
            return wanted(load_arrays(path)[0], "x", path, (None, 2))
        (path,) = inputs["generated"]
        tensors, meta = load_arrays(path)
        block = "generated" if "generated" in meta["blocks"] else self.job["disc"]
        return wanted(tensors, f"seed{seed}/{block}/x", path, (None, 2))
