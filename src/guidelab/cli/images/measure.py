"""`guidelab measure` for images: all numbers of one point of a sweep in every feature space, one row each."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from guidelab.cli.measure import COLUMNS
from guidelab.errors import UserError
from guidelab.io import load_arrays, torch_version, wanted, write_csv
from guidelab.metrics.frechet_fixed import Spread, spread
from guidelab.registry import load


@dataclass(frozen=True)
class Space:
    """One feature space of a point: generated and reference features with their descriptions and paths."""

    name: str
    path: str
    generated: dict[str, Tensor]
    about: dict[str, Any]
    reference_path: str
    reference: Tensor
    reference_about: dict[str, Any]
    metrics: list[str]  # unqualified names, in the order asked for
    fixed: Spread | None  # of the reference, when a distance to it is asked for


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Measure every training seed and seed block in every feature space; save the rows."""
    spaces = {space.name: space for space in _spaces(job)}
    seeds = _same_samples(list(spaces.values()))
    rows = [
        row
        for seed in seeds
        for block in job["blocks"]
        for row in _in_order(
            job, {name: _measured(job, space, seed, block) for name, space in spaces.items()}
        )
    ]
    s = job["sampler"]
    common = job["row"] | {
        "dataset": job["dataset"]["name"],
        "sampler": s["name"],
        "steps": s["steps"],
        "nfe": 2 * s["steps"] - 1,
        "dtype": s["dtype"],
        "label_policy": job["label_policy"],
        "torch": torch_version(),
        "device": "cpu",
    }
    write_csv(outputs[0], pd.DataFrame([common | row for row in rows], columns=COLUMNS))


def _spaces(job: dict[str, Any]) -> Iterator[Space]:
    """Read every feature space that a metric asks for.

    Raises:
        UserError: a space without its files, or files of other features, other weights or other samples.
    """
    asked: dict[str, list[str]] = {}
    for qualified in job["metrics"]:
        metric, _, name = qualified.partition("@")
        asked.setdefault(name, []).append(metric)
    for name, metrics in asked.items():
        if f"features:{name}" not in job["inputs"] or f"reference:{name}" not in job["inputs"]:
            raise UserError(
                f"measure: {metrics[0]}@{name}: no features {name!r} among the inputs of this job"
            )
        (path,), (reference_path,) = job["inputs"][f"features:{name}"], job["inputs"][f"reference:{name}"]
        generated, about = load_arrays(path)
        folded, reference_about = load_arrays(reference_path)
        _same_point(job, about, path)
        for found, where in ((about, path), (reference_about, reference_path)):
            if found.get("kind") != "features" or found["features"] != name:
                raise UserError(f"{where}: holds features {found.get('features')!r}, wanted {name!r}")
        for key in ("features_sha256", "extractor"):
            if about[key] != reference_about[key]:
                raise UserError(
                    f"{reference_path}: {key} is {reference_about[key]}, that of {path} is {about[key]}. Delete the "
                    "older of the two and run again."
                )
        reference = wanted(folded, "features", reference_path, (None, None))
        fixed = spread(reference) if "fid" in metrics else None
        yield Space(name, path, generated, about, reference_path, reference, reference_about, metrics, fixed)


def _same_point(job: dict[str, Any], about: dict[str, Any], path: str) -> None:
    """Refuse features of another sampler: a file moved by hand would give its numbers another name.

    Raises:
        UserError: says what the file holds and what was wanted.
    """
    source = about.get("source", {})
    held = {
        "variant": source.get("variant"),
        "weights": [term["weight"] for term in source.get("terms", [])],
        "train_seeds": source.get("seeds"),
        "sampler": source.get("sampler"),
    }
    for key, value in held.items():
        if value != job["of"][key]:
            raise UserError(
                f"{path}: holds features of samples with {key} {value}, wanted {job['of'][key]}. Delete the file, and the "
                "samples it was made from if they are the older ones, and run again."
            )


def _same_samples(spaces: list[Space]) -> list[int]:
    """The training seeds, after checking that every space was extracted from the same images.

    Raises:
        UserError: names two files whose images differ.
    """
    first = spaces[0]
    for space in spaces[1:]:
        if space.about["images_sha256"] != first.about["images_sha256"]:
            raise UserError(
                f"{space.path} and {first.path}: are features of different images. Delete the older of the two and "
                "run again."
            )
        if space.reference_about["images_sha256"] != first.reference_about["images_sha256"]:
            raise UserError(
                f"{space.reference_path} and {first.reference_path}: are features of different reference images. "
                "Delete the older of the two and run again."
            )
    return list(first.about["source"]["seeds"])


def _measured(job: dict[str, Any], space: Space, seed: int, block: str) -> dict[str, dict[str, Any]]:
    """The rows of one feature space, training seed and block, by unqualified metric."""
    first, last = job["blocks"][block]
    held = space.about["source"]["blocks"].get(block)
    if held is None or list(held) != [first, last]:
        raise UserError(f"{space.path}: block {block!r} holds seeds {held}, wanted {[first, last]}")
    prefix, n = f"seed{seed}/{block}/", last - first + 1
    if {"kid", "precision", "recall"} & set(space.metrics) and len(space.reference) < n:
        raise UserError(
            f"{space.reference_path}: holds {len(space.reference)} images, wanted at least the {n} of block {block!r}: KID, "
            "precision and recall compare equal numbers. Give a larger reference fold or smaller blocks."
        )
    features = wanted(space.generated, f"{prefix}features", space.path, (n, space.reference.shape[1]))
    logits = labels = None
    if {"inception_score", "accuracy"} & set(space.metrics):
        logits = wanted(space.generated, f"{prefix}logits", space.path, (n, None))
    if "accuracy" in space.metrics:
        labels = wanted(space.generated, f"{prefix}labels", space.path, (n,))
    values = load("image metric", space.metrics[0])(
        features,
        space.reference,
        space.metrics,
        k=job["neighbours"],
        seed=first,
        generated_logits=logits,
        labels=labels,
        reference_spread=space.fixed,
    )
    source = space.about["source"]
    common = {
        "seed_block": block,
        "train_seed": seed,
        "features": space.name,
        "features_sha256": space.about["features_sha256"],
        "code": f"{source['code']}+{space.about['code']}+{job['code']}",
        "checkpoint_sha256": _combined(source["nets_sha256"]),
    }
    return {
        metric: common
        | {"metric": f"{metric}@{space.name}", "value": v.value, "std_error": v.std_error, "ess": v.ess}
        | {"note": v.note, "n_generated": made, "n_reference": met}
        | {"reference_split": space.reference_about["source"]["fold"] if met else "none"}
        for metric, v, made, met in values
    }


def _in_order(job: dict[str, Any], found: dict[str, dict[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The rows of one seed and block in the order the metrics were asked for."""
    for qualified in job["metrics"]:
        metric, _, name = qualified.partition("@")
        yield found[name][metric]


def _combined(hashes: dict[str, str]) -> str:
    """One hash for all the nets a sampler used."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]
