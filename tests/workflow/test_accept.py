"""`guidelab accept`: what counts as up to date after a change of code, what stays outdated, and who may say so.

The commands, Snakemake, DVC and git are real; the experiment is the smallest that has every kind of job of points.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
from accept_tree import ASSEMBLE, DG, FIRST, HEUN, RESULTS, accept, build, change, copy_of
from tree import EXPERIMENT, Tree

from guidelab.digest import reachable
from guidelab.provenance import accepted

pytestmark = [pytest.mark.slow, pytest.mark.long]
NOTHING, UP_TO_DATE = "Nothing to be done", "Data and pipelines are up to date."
MODULES = ("core.guidance.potential", "core.guidance.reference", "core.samplers.heun", "data.toy2d", "nets.toy", "nets.toy_discriminator")  # fmt: skip
TABLE = f"results/tables/{EXPERIMENT}.csv"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("accept") / "tree")


@pytest.fixture
def tree(built, tmp_path):
    return copy_of(built, tmp_path / "copy")


@pytest.fixture(scope="module")
def harmless(built, tmp_path_factory):
    """Every module a sample job reaches has another syntax tree, and the change was accepted; not committed yet."""
    tree = copy_of(built, tmp_path_factory.mktemp("harmless") / "copy")
    names = reachable("sample", [f"guidelab.{name}" for name in MODULES], tree.root / "src/guidelab")
    assert len(names) > 15
    for name in names:
        stem = tree.root.joinpath("src", *name.split("."))
        path = stem.with_suffix(".py") if stem.with_suffix(".py").is_file() else stem / "__init__.py"
        path.write_text(f"{path.read_text()}\n_ALIKE = {len(name)}\n")
    planned = tree.planned(TABLE)
    assert "rule sample" in planned and "rule train" in planned
    status, said = accept(tree)
    assert status == 0 and "OUTDATED" not in said, said
    return tree


def ledgers(tree):
    return [
        json.loads(path.read_text()) for path in sorted((tree.root / RESULTS / "accepted").glob("*.json"))
    ]


def test_a_harmless_change_leaves_nothing_to_do_here_in_a_clone_and_after_a_pull(harmless, tmp_path):
    assert NOTHING in harmless.planned()
    assert UP_TO_DATE in harmless.run("dvc", "status")
    harmless.commit("accepted")
    bare = harmless.clone(tmp_path / "bare")
    assert NOTHING in bare.planned(TABLE), "tables are those of this code, without the large files"
    pulled = Tree(bare.root, fake=False, warm=True)
    pulled.run("dvc", "pull", "-q")
    assert NOTHING in pulled.planned()
    assert UP_TO_DATE in pulled.run("dvc", "status")
    assert pulled.run("git", "status", "--short") == ""


def test_the_ledger_holds_what_was_replayed_and_the_records_keep_what_ran(harmless):
    (ledger,) = ledgers(harmless)
    rules = {line["rule"] for line in ledger["replays"]}
    assert rules >= {
        "prepare",
        "train",
        "reconstruct",
        "generate",
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
    said = harmless.run("guidelab", "trace", DG)
    assert f"gives the same result: {RESULTS}/accepted/{ledger.name} (this folder's)" in said


@pytest.mark.parametrize("forge", ["edited", "of another job"])
def test_a_forged_ledger_changes_nothing_and_is_named(harmless, forge, tmp_path):
    tree = copy_of(harmless, tmp_path / "forged")
    (path,) = (tree.root / RESULTS / "accepted").glob("*.json")
    content = json.loads(path.read_text())
    if forge == "edited":
        content["jobs"][DG]["now"] = content["jobs"][FIRST]["now"]
        path.write_text(json.dumps(content))
    else:
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
    assert status == 1 and re.search(r"was edited|written for a job with other", said), said
    assert "PROBLEM" in traced(tree)


def traced(tree):
    """What `guidelab trace` says of samples that have a problem."""
    done = subprocess.run(
        ["guidelab", "trace", DG],
        cwd=tree.root,
        env=tree.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout


def test_a_branch_that_one_variant_reaches_is_refused_by_name_and_the_next_attempt_replays_more(tree):
    """Discriminator guidance at the first stage only: no other job takes this branch."""
    harm = "0.5 if is_first and flow else 2.0 if is_first else 1.0"
    change(tree, ASSEMBLE, "0.5 if is_first and flow else 1.0", harm)
    status, said = accept(tree)
    assert status == 1
    outdated = re.findall(r"OUTDATED (\S+):", said)
    assert outdated == [FIRST], said
    planned = tree.planned("--quiet", TABLE)
    assert NOTHING not in planned
    assert "rule sample" in tree.planned(FIRST) and NOTHING in tree.planned(DG)
    (refused,) = ledgers(tree)
    assert refused["refused"] == ["sample"] and list(refused["outdated"]) == [FIRST] and DG in refused["jobs"]
    assert "sample" in tree.run("dvc", "status")
    change(tree, ASSEMBLE, harm, "0.5 if is_first and flow else float(1)")
    status, said = accept(tree)
    assert status == 0, said
    second = next(ledger for ledger in ledgers(tree) if ledger["previous"])
    drawn = sorted(line["job"] for line in second["replays"] if line["rule"] == "sample")
    assert {path.split("/")[3] for path in drawn} == {"none", "autog", "dg", "dg_first"}, "both of one kind"
    assert second["jobs"][DG]["code"][0] == refused["jobs"][DG]["code"][0], (
        "against what ran, not along a chain"
    )
    assert NOTHING in tree.planned()


def test_rounding_is_refused_and_a_tolerance_is_for_other_devices_only(tree):
    change(tree, HEUN, "slope = (x - denoised) / sigma", "slope = x / sigma - denoised / sigma")
    status, said = accept(tree, "--across-devices", "1e-3")
    assert status == 1 and "the new code gives another result" in said, (
        "this machine gives the recorded bytes"
    )
    elsewhere = {"ATEN_CPU_CAPABILITY": "default"}  # other kernels: other rounding, as on another processor
    status, said = accept(tree, **elsewhere)
    assert status == 1 and "another device, library or environment" in said, said
    status, said = accept(tree, "--across-devices", "1e-3", **elsewhere)
    assert status == 0 and "within 0.001 of the recorded values" in said, said
    assert NOTHING in tree.planned()


def test_another_shell_line_of_a_rule_is_accepted_only_when_declared(tree):
    line = "--output {output} --threads {threads}"
    change(tree, "workflow/rules/job.smk", line, "--threads {threads} --output {output}")
    change(tree, HEUN, "levels = _levels(sigmas)", "levels = list(_levels(sigmas))")
    assert "rule sample" in tree.planned(DG)
    status, said = accept(tree, "--shell")
    assert status == 0, said
    assert NOTHING in tree.planned() and UP_TO_DATE in tree.run("dvc", "status")


def test_what_cannot_be_replayed_stays_outdated_by_name(tree):
    """An input that is not what was recorded, one that is not here, code that is not in git."""
    change(tree, HEUN, "levels = _levels(sigmas)", "levels = list(_levels(sigmas))")
    model = tree.root / RESULTS / "models/main.safetensors"
    kept = model.read_bytes()
    model.unlink()
    status, said = accept(tree)
    assert status == 1 and re.search(rf"OUTDATED {DG}: .*models/main.safetensors is not here", said), said
    model.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    status, said = accept(tree)
    assert status == 1 and re.search(
        rf"OUTDATED {DG}: .*models/main.safetensors is not what its job wrote", said
    ), said
    model.write_bytes(kept)
    status, said = accept(tree, "--old", "HEAD~2")
    assert status == 1 and re.search(rf"OUTDATED {DG}: .*are not those of HEAD~2", said), said
    assert not Path(tree.root / RESULTS / "accepted").exists(), "nothing was shown, so nothing is written"


def test_a_run_after_an_acceptance_records_the_digest_that_ran(harmless, tmp_path):
    tree = copy_of(harmless, tmp_path / "again")
    (tree.root / DG).unlink()
    tree.run("snakemake", "--cores", "2", "--quiet", "all", DG)
    lines = (tree.root / RESULTS / "provenance/sample.json").read_text().splitlines()
    (line,) = [line for line in lines if DG in line]
    assert "accepted" not in json.loads(line.rstrip(",")), line
    (ledger,) = ledgers(tree)
    assert (
        accepted.payload_of(json.loads(line.rstrip(","))["params"])["code"] == ledger["jobs"][DG]["code"][1]
    )
