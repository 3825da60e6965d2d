"""A plan of 3,000 points: the JSON of jobs that read them all is longer than an argument of a command may be."""

import json

import torch
from tree import Tree

from guidelab.io import read_csv, save_arrays
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

LIMIT = 128 * 1024  # bytes of one argument on Linux
POINTS = 3000


def measured(path, run, blocks) -> None:
    """A file of measurements as `measure` writes it: one metric for every training seed and block."""
    columns = ["experiment", "variant", "method", "w", "w_neutral", "w_effective"]
    row = ["many", run.variant, "reference", str(run.w or 1.0), "1", str(run.w or 1.0)]
    lines = [",".join([*columns, "train_seed", "seed_block", "metric", "value", "code"])]
    for seed in run.seeds:
        lines += [",".join([*row, str(seed), block, "js", "0.5", "0"]) for block in blocks]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_a_plan_of_three_thousand_points_is_collected_and_listed(tmp_path):
    tree = Tree.new(tmp_path / "tree", fake=False)
    weights = [round(1.01 + 0.01 * i, 2) for i in range(POINTS)]
    swept = {"main": "main", "guide": {"method": "reference", "ref": "blind"}, "weights": weights}
    many = {"extends": "toy2d_ci", "variants": {"swept_in_very_small_steps": swept}}
    tree.write_params(lambda params: params["experiments"].update(many=many))
    plan = Plan(load_spec(tree.root / "params.yaml"))
    e, collect, stage = plan.experiment("many"), plan.job("collect", "many"), plan.stage("many", "measure")
    assert min(len(plan.payload("collect", "many")), len(stage.payload)) > 200_000 > LIMIT
    parts = set()
    for run in e.runs:
        numbers, errors = (tree.root / path for path in plan.job("measure", "many", *run.names).outputs)
        measured(numbers, run, e.spec.evaluate.blocks)
        save_arrays(errors, {"frechet/seed0/report1": torch.ones(4)}, {"point": run.point})
        parts.add(errors)
    for path in (p for p in collect.files if p.endswith(".safetensors") and tree.root / p not in parts):
        reports = {"reports": {"0": {"bce": 0.7}}}
        save_arrays(tree.root / path, {"seed0/weight": torch.zeros(1)}, reports)
    tree.run("snakemake", "--cores", "1", "--allowed-rules", "collect", "--", collect.outputs[0])
    rows = read_csv(tree.root / collect.outputs[0])
    assert rows["w"].nunique() >= POINTS
    tree.run("snakemake", "--cores", "1", "--allowed-rules", "manifest", "--", stage.manifest)
    assert len(json.loads((tree.root / stage.manifest).read_text())["files"]) > POINTS
