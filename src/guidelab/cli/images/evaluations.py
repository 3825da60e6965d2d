"""`guidelab evaluations`: what training scores and training discriminators took, in evaluations, from the runs themselves."""

from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.costs.flops import count
from guidelab.io import load_arrays, write_csv
from guidelab.shards import load_manifest

COLUMNS = [
    "experiment", "scale", "kind", "name", "of", "net", "parameters", "trained", "judged", "samples", "sampling",
    "gflop_training", "gflop_sampling", "share_of_scores", "best_at",
]  # fmt: skip
# trained: images in training steps, forward and back; judged: held-out images looked at; sampling: evaluations of the main
# net that drew the discriminator's samples; share_of_scores: GFLOP of the training, as a share of the main net's
_NOISES = 4  # noise levels at which each held-out image is judged


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """One row for each training: of scores first, then of the guide, then of the graders."""
    inputs = job["inputs"]
    rows = [row for name in job["denoisers"] for row in _scores(job, name, inputs[f"model:{name}"][0])]
    rows.sort(key=lambda row: -row["gflop_training"])  # the main net's is the largest
    main = rows[0]
    for kind, source in (("guide", "generated"), ("grader", "grading")):
        for label in inputs:
            if label.startswith(f"{kind}:"):
                name = label.partition(":")[2]
                rows += _discriminators(job, kind, name, inputs[label][0], inputs[f"{source}:{name}"][0])
    for row in rows:
        row["share_of_scores"] = row["gflop_training"] / main["gflop_training"]
    told = [{"experiment": job["experiment"], "scale": job["scale"], **row} for row in rows]
    table = pd.DataFrame(told, columns=COLUMNS)
    for name in ("gflop_training", "gflop_sampling", "share_of_scores"):
        table[name] = table[name].map(lambda v: v if v is None else float(f"{v:.4g}"))
    write_csv(outputs[0], table)


def _scores(job: dict[str, Any], name: str, path: str) -> list[dict[str, Any]]:
    """A denoiser's training, once: another model of it is a snapshot on the way."""
    denoiser = job["denoisers"][name]
    longest = max((m for m, d in job["denoisers"].items() if d == denoiser), key=lambda m: job["nimg"][m])
    if name != longest:
        return []
    _, meta = load_arrays(path)
    net = count(meta["net"])
    one = {"kind": "score", "name": denoiser, "net": meta["net"]["name"], "parameters": net.parameters}
    return [
        one
        | {"of": f"seed{seed}", "trained": meta["nimg"], "gflop_training": meta["nimg"] * net.training / 1e9}
        for seed in meta["seeds"]
    ]


def _discriminators(job: dict[str, Any], kind: str, name: str, path: str, drawn: str) -> list[dict[str, Any]]:
    """A guide's or grader's training, up to where it stopped, and the samples it learnt from."""
    _, meta = load_arrays(path)
    net, how, told = count(meta["net"]), job["trainings"][kind], load_manifest(drawn)
    _, main = load_arrays(job["inputs"][f"model:{told['main']}"][0])
    rows = []
    for seed in meta["seeds"]:
        report = meta["reports"][str(seed)]
        samples = sum(shard["n"] for shard in told["shards"] if shard["train_seed"] == seed)
        trained = int(report["iterations"]) * how["batch"]
        rounds = int(report["iterations"]) // how["evaluate_every"]
        held = round(samples * how["validation"]) + int(report["n_validation"])
        judged = _NOISES * (rounds * held + round(samples * how["test"]) + int(report["n_test"]))
        sampling = samples * (2 * told["sampler"]["steps"] - 1)
        flop = trained * net.training + judged * net.forward
        rows.append({
            "kind": kind, "name": name, "of": f"seed{seed}", "net": meta["net"]["name"], "parameters": net.parameters,
            "trained": trained, "judged": judged, "samples": samples, "sampling": sampling, "gflop_training": flop / 1e9,
            "gflop_sampling": sampling * count(main["net"]).forward / 1e9, "best_at": int(report["best_at"]),
        })  # fmt: skip
    return rows
