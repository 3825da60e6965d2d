"""Metrics, divergences and graders in the coordinates of points, where the dataset's density is known."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from guidelab.assemble import load_net
from guidelab.io import load_arrays, wanted
from guidelab.jobs.measure import Measurement
from guidelab.jobs.measured_source import by_function, check_block, check_point, combined, measurer
from guidelab.metrics.divergence import divergences, log_ratios
from guidelab.metrics.flags import flagged, flags
from guidelab.metrics.grader import grade
from guidelab.metrics.value import Value
from guidelab.registry import DIVERGENCES, METRICS, TRUTHS

GRADED = ("grader_js", "grader_kl_dv", "grader_accuracy")
EXACT = "exact density"


def spaces(job: dict[str, Any]) -> list["Coordinates"]:
    """The one space of a job on points.

    Raises:
        UserError: the samples are absent or another sampler's.
    """
    return [Coordinates(job)]


class Coordinates:
    """Samples as they are, and the reference points; see `measure.Space`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        (self.path,), (self.reference_path,) = job["inputs"]["samples"], job["inputs"]["reference"]
        self.samples, self.source = load_arrays(self.path)
        check_point(job, self.source, self.path)
        folded, about = load_arrays(self.reference_path)
        self.reference = wanted(folded, "x", self.reference_path, (None, 2))
        self.facts = about["facts"]

    @property
    def columns(self) -> dict[str, Any]:
        """See `measure.Space`."""
        return {
            "features": "coordinates",
            "n_features": self.reference.shape[1],
            "features_sha256": "",
            "code": f"{self.source['code']}+{self.job['code']}",
            "checkpoint_sha256": combined(self.source["nets_sha256"]),
        }

    def measured(self, seed: int, block: str) -> Iterator[Measurement]:
        """See `measure.Space`."""
        job, n = self.job, check_block(self.job, self.source, block, self.path)
        x = wanted(self.samples, f"seed{seed}/{block}/x", self.path, (n, 2))
        truth = TRUTHS.load(job["dataset"]["name"])(x, job["dataset"]["classes"])
        how = {
            "region_level": self.facts["region_level"],
            "k": job["neighbours"],
            "seed": job["blocks"][block][0],
        }
        for names in by_function(METRICS, job["metrics"]):
            values = measurer(METRICS, names[0])(x, reference=self.reference, **truth, **how, names=names)
            for name, value in flagged(dict(values), flags(x, self.reference)).items():
                yield Measurement(name, value, n, len(self.reference), "reference")
        if not job.get("real"):  # of the data from itself: 0
            yield from self._divergences(seed, block)
        for label, paths in job["inputs"].items():
            if label.startswith("grader:") and f"{seed}" in load_arrays(paths[0])[1]["reports"]:
                yield from self._graded(paths[0], seed, x)

    def _divergences(self, seed: int, block: str) -> Iterator[Measurement]:
        if not self.job["density_defined"]:
            note = "not estimable: the denoiser is random, its density is not defined"
            for name in DIVERGENCES:
                yield Measurement(name, Value(float("nan"), float("nan"), None, note), 0, 0, EXACT)
            return
        (path,) = self.job["inputs"]["density"]
        arrays, _ = load_arrays(path)
        sides = {
            f"log_{which}_at_{side}": wanted(arrays, f"seed{seed}/{block}/{side}/log_{which}", path, (None,))
            for side in ("data", "model")
            for which in ("p", "q")
        }
        n, m = len(sides["log_p_at_model"]), len(sides["log_p_at_data"])
        for name, value in divergences(log_ratios(**sides), DIVERGENCES).items():
            yield Measurement(name, value, n, m, EXACT)

    def _graded(self, path: str, seed: int, x: Tensor) -> Iterator[Measurement]:
        """The grader's bounds on points neither it nor a guide has seen, at the sampler's lowest noise level."""
        net = load_net(path, seed)
        sigma = self.job["sampler"]["sigma_min"]
        generator = torch.Generator().manual_seed(seed)
        sides = []
        for points in (self.reference, x[torch.isfinite(x).all(dim=1)]):
            noisy = points + sigma * torch.randn(points.shape, generator=generator)
            with torch.no_grad():
                sides.append(net(noisy, torch.full((len(noisy),), sigma), None))
        values = grade(logits_at_data=sides[0], logits_at_model=sides[1])
        for name in GRADED:
            yield Measurement(name, values[name], len(sides[1]), len(sides[0]), "reference")
