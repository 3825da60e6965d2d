"""`guidelab accept`: what counts as up to date after a code change, what stays outdated, and which ledgers are valid.

The commands, Snakemake, DVC and git are real; the experiment is the smallest that has every kind of job of points.
"""

import json
import re
import subprocess
import sys

import pytest
from accept_tree import ASSEMBLE, DG, FIRST, HEUN, RESULTS, accept, build, change, copy_of
from tree import EXPERIMENT

from guidelab.digest import reachable
from guidelab.provenance import accepted

pytestmark = pytest.mark.slow
NOTHING, UP_TO_DATE = "Nothing to be done", "Data and pipelines are up to date."
MODULES = ("core.guidance.potential", "core.samplers.heun", "data.toy2d", "nets.toy", "nets.toy_discriminator")  # fmt: skip
TABLE = f"results/tables/{EXPERIMENT}.csv"
LINE = "--output {output} --threads {threads}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("accept") / "tree")


@pytest.fixture(scope="module")
def harmless(built, tmp_path_factory):
    """A clone with the shipped nets. Every module a sample job reaches has another syntax tree, all rules another shell line; accepted."""
    tree = built.clone(tmp_path_factory.mktemp("harmless") / "clone")
    tree.run("dvc", "pull", "-q", *tree.run(sys.executable, "-m", "guidelab.cli.app", "shipped").split())
    assert not (tree.root / DG).exists() and (tree.root / RESULTS / "models/main.safetensors").exists()
    names = reachable("sample", [f"guidelab.{name}" for name in MODULES], tree.root / "src/guidelab")
    assert len(names) > 15
    for name in names:
        stem = tree.root.joinpath("src", *name.split("."))
        path = stem.with_suffix(".py") if stem.with_suffix(".py").is_file() else stem / "__init__.py"
        path.write_text(f"{path.read_text()}\n_ALIKE = {len(name)}\n")
    change(tree, "workflow/rules/job.smk", LINE, "--threads {threads} --output {output}")
    planned = tree.planned(TABLE)
    assert "rule sample" in planned and "rule measure" in planned
    status, said = accept(tree, "--shell")
    assert status == 0 and "OUTDATED" not in said, said
    assert re.search(r"sample \S+ \(made again\): same bytes as recorded", said), said
    assert not (tree.root / DG).exists(), "what was made again stays out of the results"
    assert NOTHING in tree.planned(TABLE), "tables are those of this code, without the large files"
    tree.commit("accepted")
    return tree


def ledgers(tree):
    return [
        json.loads(path.read_text()) for path in sorted((tree.root / RESULTS / "accepted").glob("*.json"))
    ]


def test_a_harmless_change_leaves_nothing_to_do_in_the_tree_in_a_clone_and_after_a_pull(
    built, harmless, tmp_path
):
    tree = copy_of(built, tmp_path / "tree")
    tree.run("git", "pull", "-q", str(harmless.root), "main")
    assert NOTHING in tree.planned()
    assert UP_TO_DATE in tree.run("dvc", "status")
    clone = harmless.clone(tmp_path / "clone")
    assert NOTHING in clone.planned(TABLE)
    clone.run("dvc", "pull", "-q")
    assert NOTHING in clone.planned()
    assert UP_TO_DATE in clone.run("dvc", "status")
    assert clone.run("git", "status", "--short") == ""


def test_the_ledger_holds_what_was_replayed_and_the_records_keep_what_ran(harmless):
    (ledger,) = ledgers(harmless)
    rules = {line["rule"] for line in ledger["replays"]}
    assert rules >= {
        "prepare",
        "train",
        "reconstruct",
        "discriminate",
        "sample",
        "measure",
        "table",
    }
    for line in ledger["replays"]:
        assert line["old"] == line["new"] and line["result"] == "same bytes as recorded", line
        assert line["kind"] != "whole" or line["recorded"] == line["old"], line
    assert {"torch", "python"} <= set(ledger["environment"]["software"])
    for line in (harmless.root / RESULTS / "provenance/sample.json").read_text().splitlines():
        if '"accepted"' in line:
            job = json.loads(line.rstrip(","))
            code = accepted.payload_of(job["params"])["code"]
            assert [code, job["accepted"]["code"]] == ledger["jobs"][min(job["outputs"])]["code"]
            assert code != job["accepted"]["code"]


def test_the_trail_shows_the_accepted_change(harmless):
    (ledger,) = (harmless.root / RESULTS / "accepted").glob("*.json")
    said = traced(harmless)
    assert f"gives the same result: {RESULTS}/accepted/{ledger.name} (this folder's)" in said


def test_a_ledger_written_for_another_job_changes_nothing_and_is_named(harmless, tmp_path):
    tree = copy_of(harmless, tmp_path / "forged")
    (path,) = (tree.root / RESULTS / "accepted").glob("*.json")
    content = json.loads(path.read_text())
    lines = content["jobs"]
    lines[DG], lines[FIRST] = lines[FIRST], lines[DG]
    given = {k: v for k, v in content.items() if k not in ("sha256", "about", "format", "experiment")}
    name = accepted.write(tree.root, EXPERIMENT, given)
    for record in (tree.root / RESULTS / "provenance").glob("*.json"):
        record.write_text(record.read_text().replace(path.stem, name))
    path.unlink()
    planned = tree.planned(DG)
    assert "rule sample" in planned and "accepted change" in planned, planned
    status, said = accept(tree)
    assert status == 1 and "written for a job with other" in said, said
    assert "PROBLEM" in traced(tree)


def traced(tree):
    """What `guidelab trace` says of a point's numbers."""
    done = subprocess.run(
        [sys.executable, "-m", "guidelab.cli.app", "trace", f"{RESULTS}/measurements/dg/w1.00/seed0.csv"],
        cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def test_rounding_in_a_branch_that_one_variant_reaches_is_refused_and_a_tolerance_is_for_other_devices_only(
    built, tmp_path
):
    """Discriminator guidance at the first stage only: no other job takes this branch."""
    tree = copy_of(built, tmp_path / "copy")
    change(
        tree,
        ASSEMBLE,
        "0.5 if is_first and flow else 1.0",
        "0.5 if is_first and flow else 1 + 1e-6 if is_first else 1.0",
    )
    status, said = accept(tree, "--across-devices", "1e-3")
    assert status == 1 and "the new code gives another result" in said, (
        "this machine gives the recorded bytes"
    )
    assert re.findall(r"OUTDATED (\S+):", said) == [FIRST], said
    assert "rule sample" in tree.planned(FIRST) and NOTHING in tree.planned(DG)
    (refused,) = ledgers(tree)
    assert refused["refused"] == ["sample"] and list(refused["outdated"]) == [FIRST] and DG in refused["jobs"]

    elsewhere = {"ATEN_CPU_CAPABILITY": "default"}  # other kernels: other rounding, as on another processor
    change(tree, HEUN, "levels = _levels(sigmas)", "levels = list(_levels(sigmas))")
    status, said = accept(tree, "--across-devices", "1e-3", **elsewhere)
    assert status == 0 and "within 0.001 of the recorded values" in said, said
    second = next(ledger for ledger in ledgers(tree) if ledger["previous"])
    drawn = sorted(line["job"] for line in second["replays"] if line["rule"] == "sample")
    assert {path.split("/")[3] for path in drawn} == {"none", "dg", "dg_first"}, "all after a refusal"
    assert second["jobs"][DG]["code"][0] == refused["jobs"][DG]["code"][0], (
        "against what ran, not along a chain"
    )
    assert NOTHING in tree.planned()


def test_a_run_after_an_acceptance_records_the_digest_that_ran(harmless, tmp_path):
    tree = copy_of(harmless, tmp_path / "again")
    tree.run("snakemake", "--cores", "2", "--quiet", "all", "--", DG)
    lines = (tree.root / RESULTS / "provenance/sample.json").read_text().splitlines()
    jobs = [json.loads(line.rstrip(",")) for line in lines if f'"{DG}":' in line]
    (ledger,) = ledgers(tree)
    assert [accepted.payload_of(job["params"])["code"] for job in jobs] == [ledger["jobs"][DG]["code"][1]]
    assert "accepted" not in jobs[0], jobs
