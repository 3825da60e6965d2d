"""`guidelab collect`: all rows of an experiment in one table, and each variant's weight chosen on its own block."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from guidelab.errors import UserError
from guidelab.io import atomic_write, load_arrays, read_csv, save_arrays, write_csv
from guidelab.jobs.metrics_info import metrics_info
from guidelab.paper import joint
from guidelab.paper.select import flatten, select

KEY = ["experiment", "variant", "w", "train_seed", "seed_block", "metric"]


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """Concatenate, sort by key, refuse repeated keys; choose weights; write the flat metrics, test reports and joint errors."""
    rows = pd.concat([_whole(path) for path in job["inputs"]["rows"]], ignore_index=True)
    repeated = rows[rows.duplicated(KEY, keep=False)]
    if len(repeated):
        first = dict(repeated.iloc[0][KEY])
        raise UserError(
            f"{outputs[0]}: {len(repeated)} rows share their key, the first {first}; wanted one row a number"
        )
    rows = rows.sort_values(KEY, kind="stable").reset_index(drop=True)
    info = metrics_info(job)
    wanted_metrics = job["select_metric"]
    # images: every metric chooses a weight of its own; else the first one that was measured
    chosen = pd.concat(
        [
            select(rows, info, block=job["select_block"], metrics=metrics)
            for metrics in (
                [[m] for m in wanted_metrics] if job.get("kind") == "images" else [wanted_metrics]
            )
        ],
        ignore_index=True,
    )
    write_csv(outputs[0], rows)
    write_csv(outputs[1], chosen)
    write_csv(outputs[3], _reports(job["inputs"]))
    _save_errors(job["inputs"]["parts"], outputs[4])
    with atomic_write(outputs[2]) as temporary:
        leading = chosen.drop_duplicates("variant")  # the choice of the first metric
        flat = flatten(rows, leading, job["headline"], select_block=job["select_block"])
        flat = {key.replace("@", "_"): value for key, value in flat.items()}
        temporary.write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n")


def _whole(path: str) -> pd.DataFrame:
    """One job's rows.

    Raises:
        UserError: rows are missing or cut: every training seed and block must have the same metrics (graders aside).
    """
    rows = read_csv(path)
    absent = [column for column in (*KEY, "value", "code") if column not in rows]
    if absent:
        raise UserError(
            f"{path}: has no column {absent[0]!r}; wanted one row a number. Delete the file and run again."
        )
    own = rows[~rows["metric"].astype(str).str.startswith("grader_")]
    metrics = own.groupby(["train_seed", "seed_block"])["metric"].apply(frozenset)
    grid = rows["train_seed"].nunique() * rows["seed_block"].nunique()
    if metrics.nunique() != 1 or len(metrics) != grid or not Path(path).read_bytes().endswith(b"\n"):
        raise UserError(
            f"{path}: its {len(rows)} rows are not the same metrics for every training seed and block; it was cut or "
            "edited. Delete the file and run again."
        )
    return rows


def _save_errors(paths: list[str], output: Path) -> None:
    """How the errors of all points go together, of every metric, training and block; see `paper.joint`."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for path in paths:
        tensors, about = load_arrays(path)
        for name, one in tensors.items():
            parts.setdefault(name, {})[about["point"]] = one.numpy()
    arrays, points = joint.reduced(parts)
    tensors = {name: torch.from_numpy(array.copy()).float() for name, array in arrays.items()}
    save_arrays(output, tensors, {"kind": "joint errors", "points": points})


def _reports(inputs: dict[str, list[str]]) -> pd.DataFrame:
    """Every discriminator's numbers on its held-out test part, one row for each net."""
    found = [
        {"role": role, "file": path, "train_seed": int(seed), **report}
        for role in ("guide", "grade", "classifier", "features")
        for path in inputs.get(role, [])
        for seed, report in load_arrays(path)[1]["reports"].items()
    ]
    return pd.DataFrame(found)
