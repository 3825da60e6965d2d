"""`guidelab evaluations`: count the net evaluations that training denoisers and discriminators cost, from the recorded runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from guidelab.costs.flops import count
from guidelab.costs.levels import evaluations
from guidelab.io import load_arrays, write_csv
from guidelab.io.shards import load_manifest
from guidelab.registry import METHODS

COLUMNS = [
    "experiment", "scale", "kind", "name", "of", "net", "parameters", "trained", "judged", "samples", "sampling_main",
    "sampling_reference", "sampling_discriminator", "gflop_training", "gflop_sampling", "share_of_scores_training_only",
    "share_of_scores_with_sampling", "best_at",
]  # fmt: skip
# trained: examples in training steps, forward and back; judged: held-out examples evaluated; sampling_*: evaluations that
# drew the discriminator's samples, of the main net, of guidance's second nets, and of discriminators with their gradient;
# share_of_scores_*: GFLOP as a share of one training of the main net
_DIGITS = (
    "gflop_training",
    "gflop_sampling",
    "share_of_scores_training_only",
    "share_of_scores_with_sampling",
)
_NOISES = 4  # noise levels at which each held-out example is evaluated


def run(job: dict[str, Any], outputs: list[Path]) -> None:
    """One row for each training: of scores first, then of guides, then of graders."""
    inputs = job["inputs"]
    rows = [row for name in job["denoisers"] for row in _scores(job, name, inputs[f"model:{name}"][0])]
    rows.sort(key=lambda row: -row["gflop_training"])
    main = next(row for row in rows if row["name"] == job["denoisers"][job["main"]])["gflop_training"]
    for label in inputs:
        kind, _, name = label.partition(":")
        if kind in ("generated", "grading"):
            rows += _discriminators(job, kind, name)
    for row in rows:
        row["share_of_scores_training_only"] = row["gflop_training"] / main
        row["share_of_scores_with_sampling"] = (
            row["gflop_training"] + (row.get("gflop_sampling") or 0)
        ) / main
    rows_of_job = [{"experiment": job["experiment"], "scale": job["scale"], **row} for row in rows]
    table = pd.DataFrame(rows_of_job, columns=COLUMNS)
    for name in _DIGITS:
        table[name] = table[name].map(lambda v: v if v is None else float(f"{v:.4g}"))
    write_csv(outputs[0], table)


def _scores(job: Mapping[str, Any], name: str, path: str) -> list[dict[str, Any]]:
    """A denoiser's training, once: another model of it is a snapshot on the way."""
    denoiser = job["denoisers"][name]
    longest = max((m for m, d in job["denoisers"].items() if d == denoiser), key=lambda m: job["nimg"][m])
    if name != longest:
        return []
    _, meta = load_arrays(path)
    net = count(meta["net"])
    nimg = meta.get("nimg", job["nimg"][name])  # a released net's file does not say; params.yaml does
    one = {"kind": "score", "name": denoiser, "net": meta["net"]["name"], "parameters": net.parameters}
    one |= {"trained": nimg, "gflop_training": nimg * net.training / 1e9}
    return [one | {"of": f"seed{seed}"} for seed in meta["seeds"]]


def _discriminators(job: Mapping[str, Any], source: str, name: str) -> list[dict[str, Any]]:
    """A guide's or grader's trainings, up to where each stopped, and the samples they learnt from."""
    kind = {"generated": "guide", "grading": "grader"}[source]
    _, meta = load_arrays(job["inputs"][f"{'disc' if kind == 'guide' else kind}:{name}"][0])
    (drawn,) = job["inputs"][f"{source}:{name}"]
    manifest = load_manifest(drawn) if drawn.endswith(".json") else load_arrays(drawn)[1]
    first, last = manifest["blocks"][job["drawn_as"][source]]
    net, how, samples = count(meta["net"]), job["trainings"][f"{source}:{name}"], last - first + 1
    one, flop_of_one = _sample(job, manifest, job["mains"][f"{source}:{name}"])
    rows = []
    for seed in meta["seeds"]:
        report = meta["reports"][str(seed)]
        usable = samples - int(report.get("not_finite", 0))
        trained = int(report["iterations"]) * how["batch"]
        rounds = int(report["iterations"]) // how["evaluate_every"]
        held = round(usable * how["validation"]) + int(report["n_validation"])
        judged = _NOISES * (rounds * held + round(usable * how["test"]) + int(report["n_test"]))
        flop = trained * net.training + judged * net.forward
        rows.append({
            "kind": kind, "name": name.rpartition("/")[0] or name, "of": f"seed{seed}", "net": meta["net"]["name"],
            "parameters": net.parameters, "trained": trained, "judged": judged, "samples": samples,
            **{f"sampling_{which}": samples * times for which, times in one.items()},
            "gflop_training": flop / 1e9, "gflop_sampling": samples * flop_of_one / 1e9, "best_at": int(report["best_at"]),
        })  # fmt: skip
    return rows


def _sample(job: Mapping[str, Any], manifest: Mapping[str, Any], main: str) -> tuple[dict[str, int], float]:
    """Evaluations that one sample takes, of the main net and of all that guides it, and their FLOP."""

    def net(label: str) -> Any:
        return count(load_arrays(job["inputs"][label][0])[1]["net"])

    found = {"main": evaluations(manifest["sampler"]), "reference": 0, "discriminator": 0}
    flop = found["main"] * net(f"model:{main}").forward
    for term in manifest["terms"]:
        entry = METHODS[term["method"]]
        if not entry.needs or term["weight"] == entry.neutral:  # nothing is evaluated for it
            continue
        first = term["stages"] == "first" or bool(term.get("boost"))
        times = evaluations(manifest["sampler"], term["sigma_lo"], term["sigma_hi"], first)
        if entry.needs == "disc":
            kind, each = "discriminator", net(f"disc:{term['disc']}").gradient
        else:
            kind, each = "reference", net(f"model:{term['ref']}").forward
        found[kind] += times
        flop += times * each
    return found, flop
