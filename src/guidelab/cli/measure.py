"""`guidelab measure`: all numbers of one point of a sweep, one row each, with everything a row must know."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from guidelab.assemble import load_net
from guidelab.errors import UserError
from guidelab.io import load_arrays, torch_version, wanted, write_csv
from guidelab.metrics.divergence import divergences, log_ratios
from guidelab.metrics.grader import grade
from guidelab.metrics.value import Value
from guidelab.registry import DIVERGENCES, METRICS, load

COLUMNS = [
    "experiment", "scale", "dataset", "variant", "method", "ref", "w", "w_neutral", "w_effective", "sigma_lo",
    "sigma_hi", "sampler", "steps", "nfe", "dtype", "seed_block", "train_seed", "n_generated", "n_reference",
    "reference_split", "features", "features_sha256", "label_policy", "metric", "value", "std_error", "ess", "note",
    "code", "checkpoint_sha256", "torch", "device",
]  # fmt: skip
GRADED = ("grader_js", "grader_kl_dv", "grader_accuracy")
Measured = tuple[str, Value, int, int]  # metric, value, n_generated, n_reference


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Measure every training seed and seed block; save the rows."""
    (samples_path,) = job["inputs"]["samples"]
    samples, about = load_arrays(samples_path)
    _same_point(job["row"], about, samples_path)
    rows = [
        {
            "seed_block": block,
            "train_seed": seed,
            "metric": metric,
            "value": v.value,
            "std_error": v.std_error,
        }
        | {"ess": v.ess, "note": v.note, "n_generated": n, "n_reference": m, "reference_split": split}
        for seed in about["seeds"]
        for block in job["blocks"]
        for split, measured in _all(job, samples, seed, block)
        for metric, v, n, m in measured
    ]
    s = job["sampler"]
    common = job["row"] | {
        "dataset": job["dataset"]["name"],
        "sampler": s["name"],
        "steps": s["steps"],
        "nfe": 2 * s["steps"] - 1,
        "dtype": s["dtype"],
        "features": "coordinates",
        "features_sha256": "",
        "label_policy": "one class",
        "code": f"{about['code']}+{job['code']}",
        "checkpoint_sha256": _combined(about["nets_sha256"]),
        "torch": torch_version(),
        "device": "cpu",
    }
    write_csv(outputs[0], pd.DataFrame([common | row for row in rows], columns=COLUMNS))


def _same_point(row: dict[str, Any], about: dict[str, Any], path: str) -> None:
    """Refuse samples of another point: a file moved by hand would give its numbers another name.

    Raises:
        UserError: says what the file holds and what was wanted.
    """
    weights = [term["weight"] for term in about["terms"]] or [1.0]
    if about["variant"] != row["variant"] or row["w"] not in weights:
        raise UserError(
            f"{path}: holds samples of {about['variant']} at weight {weights}, wanted {row['variant']} at {row['w']}. "
            "Delete the file and run again."
        )


def _combined(hashes: dict[str, str]) -> str:
    """One hash for all the nets a sampler used."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def _all(
    job: dict[str, Any], samples: dict[str, Tensor], seed: int, block: str
) -> Iterator[tuple[str, list[Measured]]]:
    """Every measured number of one training seed and block, with what it was compared with."""
    first, last = job["blocks"][block]
    path = job["inputs"]["samples"][0]
    x = wanted(samples, f"seed{seed}/{block}/x", path, (last - first + 1, 2))
    reference_path = job["inputs"]["reference"][0]
    folded, about = load_arrays(reference_path)
    reference = wanted(folded, "x", reference_path, (None, 2))
    truth = load("truth", job["dataset"]["name"])(x, job["dataset"]["classes"])
    asked = {"region_level": about["facts"]["region_level"], "k": job["neighbours"], "seed": first}
    by_target: dict[str, list[str]] = {}
    for name in job["metrics"]:  # one call for all metrics of a module: they share distances and densities
        by_target.setdefault(METRICS[name].target, []).append(name)
    found = [
        pair
        for names in by_target.values()
        for pair in load("metric", names[0])(x, reference=reference, **truth, **asked, names=names)
    ]
    yield "reference", [(name, value, len(x), len(reference)) for name, value in found]
    yield "exact density", _divergences(job, seed, block)
    for label, paths in job["inputs"].items():
        if label.startswith("grader:") and f"{seed}" in load_arrays(paths[0])[1]["reports"]:
            yield "reference", _graded(job, paths[0], seed, x, reference)


def _divergences(job: dict[str, Any], seed: int, block: str) -> list[Measured]:
    if not job["density_defined"]:
        note = "not estimable: the denoiser is random, its density is not defined"
        return [(name, Value(float("nan"), float("nan"), None, note), 0, 0) for name in DIVERGENCES]
    (path,) = job["inputs"]["density"]
    arrays, _ = load_arrays(path)
    sides = {
        f"log_{which}_at_{side}": wanted(arrays, f"seed{seed}/{block}/{side}/log_{which}", path, (None,))
        for side in ("data", "model")
        for which in ("p", "q")
    }
    values = divergences(log_ratios(**sides), DIVERGENCES)
    n = len(sides["log_p_at_model"])
    return [(name, value, n, len(sides["log_p_at_data"])) for name, value in values.items()]


def _graded(job: dict[str, Any], path: str, seed: int, x: Tensor, reference: Tensor) -> list[Measured]:
    """The grader's bounds on points neither it nor a guide has seen, at the sampler's lowest noise level."""
    net = load_net(path, seed)
    sigma = job["sampler"]["sigma_min"]
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for points in (reference, x[torch.isfinite(x).all(dim=1)]):
        noisy = points + sigma * torch.randn(points.shape, generator=generator)
        with torch.no_grad():
            sides.append(net(noisy, torch.full((len(noisy),), sigma), None))
    values = grade(logits_at_data=sides[0], logits_at_model=sides[1])
    return [(name, values[name], len(sides[1]), len(sides[0])) for name in GRADED]
