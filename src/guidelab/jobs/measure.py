"""`guidelab measure`: all numbers of one point of a sweep in every space, one row each with its whole identity.

A space is a representation of samples (coordinates of points, features of images) with its reference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch

from guidelab.io import save_arrays, torch_version, write_csv
from guidelab.metrics.value import Value
from guidelab.registry import REPRESENTATIONS, evaluations

COLUMNS = [
    "experiment", "scale", "dataset", "variant", "method", "ref", "w", "w_neutral", "w_effective", "sigma_lo",
    "sigma_hi", "sampler", "steps", "nfe", "dtype", "seed_block", "train_seed", "n_generated", "n_reference",
    "reference_split", "features", "n_features", "features_sha256", "label_policy", "metric", "value", "std_error", "ess", "note",
    "code", "checkpoint_sha256", "torch", "device",
]  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """One number: its qualified metric, the counts of both sides and the name of the reference side."""

    metric: str
    value: Value
    n_generated: int
    n_reference: int
    reference_split: str

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a row that are this number's own, and the parts of its error."""
        v = self.value
        return {
            "parts": v.parts,
            "metric": self.metric, "value": v.value, "std_error": v.std_error, "ess": v.ess, "note": v.note,
            "n_generated": self.n_generated, "n_reference": self.n_reference, "reference_split": self.reference_split,
        }  # fmt: skip


class Space(Protocol):
    """One representation of the samples of a point, with its reference."""

    @property
    def source(self) -> dict[str, Any]:
        """The description of the samples: training seeds, blocks, sampler, hashes of nets."""
        ...

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a row that its numbers share: features with their hash, code, hash of the nets."""
        ...

    def measured(self, seed: int, block: str) -> Iterator[Measurement]:
        """The numbers of one training seed and seed block."""
        ...


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Measure every training seed and seed block in every space; save the rows in the order of the job's metrics, and the
    parts of their errors (`metrics.value.Value`) by metric, training and block.

    Raises:
        UserError: files that are absent, broken, or of another point, block or extractor.
    """
    spaces: list[Space] = REPRESENTATIONS.load(job["representation"])(job)
    source, s = spaces[0].source, job["sampler"]
    common = job["row"] | {
        "dataset": job["dataset"]["name"],
        "sampler": s["name"],
        "steps": s["steps"],
        "nfe": _evaluations(job),
        "dtype": s["dtype"],
        "label_policy": job["label_policy"],
        "torch": torch_version(),
        "device": source.get("device", "cpu"),
    }
    rows = [
        common | row | {"train_seed": seed, "seed_block": block}
        for seed in source["seeds"]
        for block in job["blocks"]
        for row in _in_order(job["metrics"], spaces, seed, block)
    ]
    parts = {
        f"{row['metric']}/seed{row['train_seed']}/{row['seed_block']}": torch.from_numpy(row["parts"]).float()
        for row in rows
        if row["parts"] is not None
    }
    save_arrays(
        outputs[1], parts, {"kind": "error parts", "point": f"{job['row']['variant']}/w{job['row']['w']:.2f}"}
    )
    write_csv(outputs[0], pd.DataFrame(rows, columns=COLUMNS))


def _in_order(metrics: list[str], spaces: list[Space], seed: int, block: str) -> list[dict[str, Any]]:
    """The rows of all spaces in the order of the job's metrics; those that come along follow."""
    rows = [space.columns | number.columns for space in spaces for number in space.measured(seed, block)]
    place = {name: index for index, name in enumerate(metrics)}
    return sorted(rows, key=lambda row: place.get(row["metric"], len(place)))


def _evaluations(job: dict[str, Any]) -> int:
    """Calls of the main net for a sample; none for real images that stand for samples."""
    if job.get("real"):
        return 0
    each, last = evaluations(job["sampler"])
    return each * (int(job["sampler"]["steps"]) - 1) + last
