"""`guidelab measure` at the papers' sizes: one point in every space, by the protocols their tables were made with.

A space is the features of one extractor, what they are compared with and k: the same Inception features may meet a
published batch of real images with its statistics in one space, and a fold of ours in another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from guidelab.cli.images.measure import _combined, _in_order, _same_point
from guidelab.cli.measure import COLUMNS
from guidelab.errors import UserError, closest
from guidelab.io import load_arrays, torch_version, wanted, write_csv
from guidelab.metrics.frechet_fixed import Spread, spread
from guidelab.metrics.protocol import (
    NOTHING,
    PROTOCOL_METRICS,
    STATISTICS,
    Generated,
    Number,
    Reference,
    measure_protocol,
    released_statistics,
)

CHAINS = ("ddpm", "ddim")  # samplers that call the net once a step; Heun calls it twice but in the last
REAL = {"precision", "recall", "kid"}  # metrics that look at single real images


@dataclass(frozen=True)
class Space:
    """One feature space of a point: generated features with their description, and what they meet."""

    name: str
    path: str
    generated: dict[str, Tensor]
    about: dict[str, Any]
    reference: Reference
    split: str  # the fold of real images; empty where none are needed
    statistics: str  # the released file the distances meet; empty where they meet the fold
    met: list[str]  # the files it is compared with
    metrics: list[str]  # unqualified, in the order asked for
    neighbours: int


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Measure every training seed and seed block in every space; save the rows."""
    spaces = list(_spaces(job))
    for space in spaces[1:]:
        if space.about["images_sha256"] != spaces[0].about["images_sha256"]:
            raise UserError(
                f"{space.path} and {spaces[0].path}: are features of different images. Delete the older of the two and "
                "run again."
            )
    source = spaces[0].about["source"]
    rows = [
        row
        for seed in source["seeds"]
        for block in job["blocks"]
        for row in _in_order(job, {s.name: _measured(job, s, seed, block) for s in spaces})
    ]
    s = job["sampler"]
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
    write_csv(outputs[0], pd.DataFrame([common | row for row in rows], columns=COLUMNS))


def _evaluations(job: dict[str, Any]) -> int:
    """Calls of the main net for a sample; none for real images in the place of samples."""
    steps = int(job["sampler"]["steps"])
    if job.get("real"):
        return 0
    return steps if job["sampler"]["name"] in CHAINS else 2 * steps - 1


def _spaces(job: dict[str, Any]) -> Iterator[Space]:
    """Every space that a metric asks for; a file that two spaces share is read once.

    Raises:
        UserError: a metric or space that is not known, or files that do not fit each other or the point.
    """
    held: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}

    def read(role: str, name: str) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
        paths = job["inputs"].get(f"{role}:{name}")
        if not paths:
            raise UserError(f"measure: no {role} {name!r} among the inputs of this job; wanted one file")
        if paths[0] not in held:
            held[paths[0]] = load_arrays(paths[0])
        return (paths[0], *held[paths[0]])

    for name, metrics in _asked(job).items():
        options = job["spaces"][name]
        path, generated, about = read("features", options["of"])
        _of_features(about, options["of"], path)
        _same_point(job, about, path)
        statistics = read("statistics", name) if options["statistics"] else None
        named = _named(statistics[0], statistics[2]) if statistics else ""
        fold, split = None, ""
        if REAL & set(metrics) or (statistics is None and {"fid", "sfid"} & set(metrics)):
            fold = read("reference", name)
            split = _fold(fold[2], options, about, fold[0], path)
        met = [file[0] for file in (statistics, fold) if file]
        yield Space(
            name, path, generated, about, _reference(metrics, options["of"], fold, statistics), split,
            named, met, metrics, options.get("neighbours") or job["neighbours"],
        )  # fmt: skip


def _asked(job: dict[str, Any]) -> dict[str, list[str]]:
    """The metrics of each space, in the order asked for."""
    asked: dict[str, list[str]] = {}
    for qualified in job["metrics"]:
        metric, _, name = qualified.partition("@")
        if metric not in PROTOCOL_METRICS:
            known = list(PROTOCOL_METRICS)
            raise UserError(
                f"measure: no metric {metric!r}; wanted one of {', '.join(known)}{closest(metric, known)}"
            )
        if name not in job["spaces"]:
            known = list(job["spaces"])
            raise UserError(
                f"measure: {qualified}: no space {name!r}; wanted one of {', '.join(known)}{closest(name, known)}"
            )
        asked.setdefault(name, []).append(metric)
    return asked


def _of_features(about: dict[str, Any], name: str, path: str) -> None:
    if about.get("kind") != "features" or about["features"] != name:
        raise UserError(f"{path}: holds features {about.get('features')!r}, wanted {name!r}")


def _fold(
    real: dict[str, Any], options: dict[str, Any], about: dict[str, Any], path: str, generated: str
) -> str:
    """The name of the fold of real images, checked to be the one asked for, seen by the same extractor.

    Raises:
        UserError: another fold, other features or other weights.
    """
    _of_features(real, options["of"], path)
    for key in ("features_sha256", "extractor"):
        if about[key] != real[key]:
            raise UserError(
                f"{path}: {key} is {real[key]}, that of {generated} is {about[key]}. Delete the older of the two and run "
                "again."
            )
    fold = str(real["source"]["fold"])
    if fold != options["reference"]:
        raise UserError(
            f"{path}: holds features of fold {fold!r}, wanted {options['reference']!r}. Delete the file and run again."
        )
    return fold


def _named(path: str, about: dict[str, Any]) -> str:
    """The released file, as rows name it.

    Raises:
        UserError: the file holds something else.
    """
    if about.get("kind") != "statistics":
        raise UserError(f"{path}: holds {about.get('kind')!r}, wanted released statistics")
    return f"released {about.get('released', {}).get('name', Path(path).stem)}"


def _reference(
    metrics: list[str],
    of: str,
    fold: tuple[str, dict[str, Tensor], dict[str, Any]] | None,
    statistics: tuple[str, dict[str, Tensor], dict[str, Any]] | None,
) -> Reference:
    """What the metrics of a space meet: single images of the fold, and statistics that are released or the fold's."""
    features = wanted(fold[1], "features", fold[0], (None, None)) if fold else None
    found: dict[str, Spread | None] = {"fid": None, "sfid": None}
    for metric in [m for m in found if m in metrics]:
        suffix = "_spatial" if metric == "sfid" else ""
        if statistics:
            own = suffix or (
                f"_{of}" if f"mean_{of}" in statistics[1] else ""
            )  # EDM2's files hold two families
            found[metric] = _released(statistics[0], statistics[1], own)
        elif fold:
            found[metric] = spread(wanted(fold[1], suffix[1:] or "features", fold[0], (None, None)))
    n = int(statistics[2].get("n", 0)) if statistics else 0
    return Reference(features, found["fid"], found["sfid"], statistics is not None, n)


def _released(path: str, tensors: dict[str, Tensor], suffix: str) -> Spread:
    """Mean and covariance of a file.

    Raises:
        UserError: absent, or no mean with its covariance.
    """
    mean = wanted(tensors, f"mean{suffix}", path, (None,))
    cov = wanted(tensors, f"cov{suffix}", path, (len(mean), len(mean)))
    try:
        return released_statistics(mean, cov)
    except ValueError as error:
        raise UserError(f"{path}: {error}. Import the file again.") from error


def _measured(job: dict[str, Any], space: Space, seed: int, block: str) -> dict[str, dict[str, Any]]:
    """The rows of one space, training seed and block, by unqualified metric."""
    first, last = job["blocks"][block]
    held = space.about["source"]["blocks"].get(block)
    if held is None or list(held) != [first, last]:
        raise UserError(f"{space.path}: block {block!r} holds seeds {held}, wanted {[first, last]}")
    generated = _generated(job, space, f"seed{seed}/{block}/", last - first + 1)
    try:
        numbers = measure_protocol(generated, space.reference, space.metrics, k=space.neighbours)
    except ValueError as error:
        against = f", compared with {' and '.join(space.met)}" if space.met else ""
        raise UserError(f"{space.path}{against}: training seed {seed}, block {block}: {error}") from error
    source = space.about["source"]
    common = {
        "seed_block": block,
        "train_seed": seed,
        "features": space.about["features"],
        "features_sha256": space.about["features_sha256"],
        "code": f"{source['code']}+{space.about['code']}+{job['code']}",
        "checkpoint_sha256": _combined(source["nets_sha256"]),
    }
    return {n.metric: common | _row(space, n) for n in numbers}


def _generated(job: dict[str, Any], space: Space, prefix: str, n: int) -> Generated:
    """The generated side of one training seed and block: the parts its metrics ask for."""
    asked = set(space.metrics)

    def part(name: str, shape: tuple[int | None, ...], metrics: set[str]) -> Tensor | None:
        return wanted(space.generated, f"{prefix}{name}", space.path, shape) if metrics & asked else None

    features = wanted(space.generated, f"{prefix}features", space.path, (n, None))
    logits = part("logits", (n, None), {"inception_score", "accuracy"})
    if "accuracy" in asked and logits is not None and logits.shape[1] != job["dataset"]["classes"]:
        raise UserError(
            f"measure: accuracy@{space.name}: the classifier has {logits.shape[1]} classes, the data "
            f"{job['dataset']['classes']}; wanted the same. Take the metric out, or give features that know these classes."
        )
    labels, spatial = part("labels", (n,), {"accuracy"}), part("spatial", (n, None), {"sfid"})
    return Generated(features, spatial, logits, labels)


def _row(space: Space, number: Number) -> dict[str, Any]:
    """What one number adds to its row: `reference_split` is the fold, the released file, or none."""
    split = {NOTHING: "none", STATISTICS: space.statistics}.get(number.against, space.split)
    v = number.value
    return {
        "metric": f"{number.metric}@{space.name}", "value": v.value, "std_error": v.std_error, "ess": v.ess,
        "note": v.note, "n_generated": number.n_generated, "n_reference": number.n_reference, "reference_split": split,
    }  # fmt: skip
