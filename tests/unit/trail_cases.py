"""A small experiment as a run leaves it: files, rows, a table, and the records of the jobs that made them."""

import ast
import csv
import hashlib
import json
from pathlib import Path

from guidelab.plan.stage import Stage
from guidelab.provenance import records
from guidelab.provenance.disk import sha256
from guidelab.provenance.records import Entry, combined

TABLE, SOURCES = "results/tables/e.csv", "results/tables/e.sources.csv"
ROWS = "results/e/measurements.csv"
MODEL, CHECKPOINTS = "results/e/models/main.safetensors", "results/e/checkpoints/s/seeds0-1.safetensors"
SAMPLES, SHARD = "results/e/samples/cfg/w2.00/seeds0-1.json", "seed0/report1/10-19.safetensors"
DATA, DENSITY = "results/e/data/reference.safetensors", "results/e/density/cfg/w2.00/seeds0-1.safetensors"
MEASURED = "results/e/measurements/cfg/w2.00/seeds0-1.csv"
VALUES = {
    ("0", "select"): 9.0,
    ("0", "report1"): 1.0,
    ("0", "report2"): 2.0,
    ("1", "report1"): 3.0,
    ("1", "report2"): 6.0,
}


class Trail:
    """Writes the files of jobs and their records below a folder."""

    def __init__(self, root: Path):
        self.root = root
        self.entries: dict[str, dict[str, Entry]] = {}
        self.told_now: dict[str, dict[str, object]] = {}

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def table(self, path: str, rows: list[dict[str, object]]) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        with (self.root / path).open("w", newline="") as file:
            made = csv.DictWriter(file, list(rows[0]))
            made.writeheader()
            made.writerows(rows)

    def made(
        self,
        stage: str,
        rule: str,
        outputs: list[str],
        inputs: dict[str, list[str]],
        told: dict[str, object],
        experiment: str = "e",
    ) -> None:
        """Record the job that made some files that are there."""
        shas = {p: e.sha256 for entries in self.entries.values() for p, e in entries.items()}
        sources = [p for paths in inputs.values() for p in paths]
        job = {**told, "inputs": inputs, "code": f"code-{rule}"}
        record = {
            "rule": rule, "input": sources, "params": [repr(json.dumps(job))], "log": [f"logs/{experiment}/{rule}.log"],
            "input_checksums": {},
        }  # fmt: skip
        for path in outputs:
            entry = Entry(sha256(self.root / path), record, combined(sources, shas))
            self.entries.setdefault(f"{experiment}/{stage}", {})[path] = entry

    def now(self, path: str) -> dict[str, object] | None:
        """What the job of a file would be told now: what it was told, until a test says otherwise."""
        for entries in self.entries.values():
            if path in entries:
                return {
                    **json.loads(ast.literal_eval(entries[path].record["params"][0])),
                    **self.told_now.get(path, {}),
                }
        return None

    def save(self) -> None:
        for name, entries in self.entries.items():
            experiment, stage = name.split("/")
            path = f"results/{experiment}/provenance/{stage}.json"
            records.write(self.root, Stage(stage, experiment, (), (), "", path, ()), entries)


def build(root: Path) -> Trail:
    """Two trainings of one net, one point, three seed blocks of which one chose the weight, a table with its sources."""
    trail = Trail(root)
    for path in (DATA, CHECKPOINTS, MODEL, DENSITY):
        trail.write(path, path)
    trail.made(
        "data", "prepare", [DATA], {}, {"dataset": {"name": "toy2d"}, "fold": "reference", "n": 4, "seed": 13}
    )
    how = {"nimg": 4096, "batch": 64}
    trail.made("train", "train", [CHECKPOINTS], {}, {"seeds": [0, 1], "train": how})
    trail.made(
        "train",
        "reconstruct",
        [MODEL],
        {"checkpoints": [CHECKPOINTS]},
        {"model": "main", "nimg": 4096, "ema_std": 0.1},
    )
    trail.write(f"{SAMPLES.removesuffix('.json')}/{SHARD}", "ten samples")
    shard = {"block": "report1", "file": SHARD, "first": 10, "last": 19, "n": 10, "train_seed": 0}
    shard["sha256"] = hashlib.sha256(b"ten samples").hexdigest()
    trail.write(SAMPLES, json.dumps({"shards": [shard]}))
    blocks = {"select": [0, 9], "report1": [10, 19], "report2": [20, 29]}
    told = {"blocks": blocks, "train_seeds": [0, 1], "sampler": {"name": "heun", "steps": 4}, "terms": []}
    trail.made("sample", "sample", [SAMPLES], {"model:main": [MODEL]}, told)
    trail.made("density", "density", [DENSITY], {"model:main": [MODEL]}, {})
    nets = json.dumps({"model:main": sha256(root / MODEL)}, sort_keys=True)
    about = {
        "variant": "cfg", "w": "2", "metric": "frechet", "code": "code-sample+code-measure",
        "checkpoint_sha256": hashlib.sha256(nets.encode()).hexdigest()[:16], "torch": "2.13.0", "device": "cpu",
    }  # fmt: skip
    rows = [{**about, "train_seed": s, "seed_block": b, "value": v} for (s, b), v in VALUES.items()]
    rows += [{**row, "metric": "kl"} for row in rows]
    trail.table(MEASURED, rows)
    inputs = {"samples": [SAMPLES], "reference": [DATA], "density": [DENSITY]}
    trail.made("measure", "measure", [MEASURED], inputs, {"blocks": blocks})
    trail.table(ROWS, rows)
    trail.table("results/e/selected.csv", [{"variant": "cfg", "selected_on": "select", "n_candidates": 3}])
    trail.made("measure", "collect", [ROWS, "results/e/selected.csv"], {"rows": [MEASURED]}, {})
    line = {
        "row": "selected",
        "variant": "cfg",
        "w": 2,
        "selected_on": "select",
        "selected_by": "frechet",
        "n_candidates": 3,
    }
    number = {"value": 3, "lo": 1, "hi": 5, "over": "trainings"}
    lines = [{**line, "metric": m, **number, "published": ""} for m in ("frechet", "kl", "js")]
    trail.table(TABLE, [*lines, {**lines[0], "variant": "none", "w": ""}])
    key = {"variant": "cfg", "w": 2, "train_seed": "0|1", "seed_block": "report1|report2"}
    source = {"columns": "value; lo; hi; over", "how": "mean", "part": "value"}
    trail.table(
        SOURCES, [{"row": i, **source, **key, "metric": m} for i, m in enumerate(("frechet", "kl"), 1)]
    )
    printed = {"measurements": [ROWS], "selected": ["results/e/selected.csv"]}
    trail.made("paper", "table", [TABLE, SOURCES], printed, {"experiment": "e"})
    trail.save()
    return trail
