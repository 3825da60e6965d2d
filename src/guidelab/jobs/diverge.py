"""`guidelab diverge` and `guidelab diverge_null`: every estimate of a sampler's divergences, held out, one row a number."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.assemble import nets_sha256
from guidelab.divergence.estimate import estimate
from guidelab.divergence.subject import Subject
from guidelab.io import sha256, torch_version, write_csv
from guidelab.jobs.subjects import null, sampler

COLUMNS = [
    "experiment", "scale", "point", "seed_blocks", "reference_split", "train_seed", "kind", "estimator", "divergence",
    "measure", "sigma_lo", "sigma_hi", "value", "std_error", "ess", "n", "bound", "unit", "note", "code",
    "checkpoint_sha256", "grader_sha256", "features_sha256", "torch",
]  # fmt: skip


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Estimate for every training seed with a grader; save one row a number, with six digits."""
    common, rows = _about(job), []
    for seed in job["train_seeds"]:
        subject = sampler(job, seed) if "samples" in job["inputs"] else null(job)
        rows += [common | row | {"train_seed": seed} for row in _rows(job, subject)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("sigma_lo", "sigma_hi", "value", "std_error", "ess"):
        table[name] = table[name].map(lambda v: v if v is None else float(f"{v:.6g}"))
    write_csv(outputs[0], table)


def _rows(job: dict[str, Any], subject: Subject) -> Iterator[dict[str, Any]]:
    """The estimates as rows; those in features come of no grader but of a small net trained on the features."""
    low, high = job["sigmas"]
    for line in estimate(job["estimate"], (low, high), subject):
        space = line.estimator.partition("@")[2]
        made_by = {"grader_sha256": "", "features_sha256": subject.spaces[space].sha256} if space else {}
        yield asdict(line) | asdict(line.value) | {"bound": "yes" if line.bound else "no"} | made_by


def _about(job: dict[str, Any]) -> dict[str, Any]:
    """The columns that all rows of a job share."""
    nets = nets_sha256(job["inputs"])
    joined = hashlib.sha256(json.dumps(nets, sort_keys=True).encode()).hexdigest()[:16] if nets else ""
    return {key: job[key] for key in ("experiment", "scale", "point", "code", "reference_split")} | {
        "seed_blocks": " ".join(job["report"]) if "samples" in job["inputs"] else "",
        "grader_sha256": sha256(job["inputs"]["grader"][0])[:16],
        "features_sha256": "",
        "checkpoint_sha256": joined,
        "torch": torch_version(),
    }
