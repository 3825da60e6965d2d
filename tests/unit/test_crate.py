"""A run as an RO-Crate: what is inside, what is described, read back by the library; what is refused."""

import json
import sys
from pathlib import Path

import pytest
from trail_cases import CHECKPOINTS, MEASURED, MODEL, ROWS, SOURCES, TABLE, build

from guidelab.errors import UserError
from guidelab.lineage.crate.entities import PROFILES, About
from guidelab.lineage.crate.write import write_crate
from guidelab.lineage.trail import inside as inside_module
from guidelab.provenance.disk import sha256
from guidelab.provenance.runs import path_of

ABOUT = About(
    version="0.1.0+abc", date="2026-01-02T03:04:05+00:00", params="experiments: {e: {scale: ci}}\n", license="Apache-2.0",
    authors=["A. N. Author"], citations=[("A paper", "https://arxiv.org/abs/2406.02507")],
)  # fmt: skip


@pytest.fixture
def made(tmp_path):
    trail = build(tmp_path / "project")
    for name in (
        "Snakefile",
        "LICENSE",
        "CITATION.cff",
        "workflow/rules/train.smk",
        "results/figures/e/sweep.pdf",
    ):
        trail.write(name, name)
    trail.write("results/figures/f/other.pdf", "of another experiment")
    figure = {"measurements": [ROWS]}
    trail.made("paper", "figure", ["results/figures/e/sweep.pdf"], figure, {"figure": "sweep"})
    trail.save()
    sha = trail.entries["e/train"][CHECKPOINTS].sha256
    run = {
        "output": CHECKPOINTS,
        "sha256": sha,
        "seconds": 12.5,
        "clock": "job",
        "started": "2026-01-01T00:00:00Z",
        "machine": "m0",
    }
    content = {"format": 1, "machines": {"m0": {"name": "cluster-a"}}, "software": {}, "jobs": [run]}
    trail.write(path_of("e", "train"), json.dumps(content))
    return trail


def written(made, name="crate"):
    write_crate(TABLE, made.root.parent / name, ABOUT, made.now, made.root)
    return made.root.parent / name


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_the_library_reads_it_back(made, name):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    crate = rocrate.ROCrate(written(made, name))
    assert crate.mainEntity.id == "Snakefile"
    assert {p.id for p in crate.root_dataset["conformsTo"]} >= set(PROFILES)
    assert crate.root_dataset["license"].id.endswith("Apache-2.0")
    assert [c.id for c in crate.root_dataset["citation"]] == ["https://arxiv.org/abs/2406.02507"]
    assert crate.root_dataset["version"] == "0.1.0+abc"
    inside = {e.id for e in crate.data_entities}
    assert {
        TABLE,
        SOURCES,
        ROWS,
        "results/figures/e/sweep.pdf",
        "params.yaml",
        "LICENSE",
        "CITATION.cff",
        "results/e/provenance/train.json",
    } <= inside
    assert "results/figures/f/other.pdf" not in inside and MODEL not in inside


def test_every_job_is_described_with_its_files_code_parameters_time_and_machine(made):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    crate = rocrate.ROCrate(written(made))
    jobs = {
        a["name"].split()[0]: a
        for a in crate.contextual_entities
        if a.type == "CreateAction" and a.id != "#run"
    }
    assert set(jobs) == {
        "table",
        "collect",
        "measure",
        "sample",
        "reconstruct",
        "train",
        "prepare",
        "density",
        "figure",
    }
    train = jobs["train"]
    assert train["instrument"]["softwareVersion"] == "code digest code-train"
    assert (
        train["startTime"] == "2026-01-01T00:00:00+00:00"
        and train["endTime"] == "2026-01-01T00:00:12.500000+00:00"
    )
    assert "cluster-a" in train["description"] and train["resourceUsage"]["value"] == "12.5"
    (net,) = train["result"] if isinstance(train["result"], list) else [train["result"]]
    assert net["sha256"] == sha256(made.root / CHECKPOINTS) and "DVC" in net["description"]
    (told,) = [o for o in jobs["sample"]["object"] if o.type == "PropertyValue"]
    assert json.loads(told["value"])["sampler"] == {"name": "heun", "steps": 4}
    assert "not recorded" in jobs["prepare"]["description"]


def test_files_inside_are_those_of_the_run(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    folder = written(made)
    assert sha256(folder / TABLE) == made.entries["e/paper"][TABLE].sha256
    assert (folder / "params.yaml").read_text() == ABOUT.params
    listed = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    ids = [entity["@id"] for entity in listed]
    assert len(ids) == len(set(ids))
    here = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {
        "ro-crate-metadata.json"
    }
    assert here == {e["@id"] for e in listed if "File" in e["@type"]}


def test_a_changed_file_is_refused(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    (made.root / ROWS).write_text((made.root / ROWS).read_text().replace("3.0", "2.0"))
    with pytest.raises(UserError, match=f"1 file behind it is not what its job wrote: {ROWS}: CHANGED"):
        written(made)
    assert not (made.root.parent / "crate").exists()


def refused(made, match):
    """A crate is refused, and nothing is left where it was to be written."""
    before = sorted(made.root.parent.iterdir())
    for name in ("crate", "crate.zip"):
        with pytest.raises(UserError, match=match):
            written(made, name)
    assert sorted(made.root.parent.iterdir()) == before


def test_parameters_that_were_not_used_are_not_vouched_for(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    made.told_now[CHECKPOINTS] = {"train": {"nimg": 8192, "batch": 64}}
    refused(made, f"1 job behind it ran with other parameters.*{CHECKPOINTS}: train.nimg: 4096 then, 8192 now.* snakemake -c2 {TABLE}, or .*git checkout -- params.yaml")  # fmt: skip


def test_a_job_that_would_read_other_files_now_or_is_not_planned_any_more_is_refused(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    chosen = "results/e/selected.csv"  # of the same job: a job is named after the output that leads to it
    made.told_now[chosen] = {"inputs": {"rows": [MEASURED, "results/e/measurements/cfg/w3.00/seeds0-1.csv"]}}
    refused(
        made, f'{chosen}: inputs.rows: nothing then, ."results/e/measurements/cfg/w3.00/seeds0-1.csv". now'
    )
    made.told_now.clear()
    made.now = lambda path: None if path == MODEL else type(made).now(made, path)
    refused(made, f"1 job behind it .*{MODEL}: not planned any more")


def test_other_code_is_no_other_parameter(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    made.told_now[CHECKPOINTS] = {"code": "code-new"}
    assert written(made).is_dir()


@pytest.mark.parametrize(
    "path", [TABLE, ROWS, "results/figures/e/sweep.pdf", "results/e/selected.csv", "Snakefile"]
)
def test_a_small_file_that_is_absent_is_refused(made, path):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    (made.root / path).unlink()
    refused(made, f"1 file that belongs inside is not here: {path}. .*git checkout -- {path}")


def test_only_what_was_recorded_goes_in(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    foreign = (
        "results/e/zz.csv", "results/tables/e_mine.csv", "results/figures/e/secret.png", "results/e/provenance/zz.txt",
        "results/e/runs/zz.json", "results/e/manifests/zz.json",
    )  # fmt: skip
    for name in foreign:
        made.write(name, "written by hand")
    (made.root / "results/e/link.csv").symlink_to("/etc/passwd")
    folder = written(made)
    inside = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    assert not inside & {*foreign, "results/e/link.csv"}
    assert {ROWS, path_of("e", "train"), "results/e/provenance/train.json"} <= inside


@pytest.mark.parametrize("path", [ROWS, "LICENSE", "workflow/rules/zz.smk", "results/e/runs/train.json"])
def test_a_link_out_of_the_project_is_refused_and_one_into_dvcs_cache_is_not(made, path):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    there = made.root / path
    content = there.read_bytes() if there.exists() else b"a rule"
    there.unlink(missing_ok=True)
    outside = made.root.parent / "elsewhere" / "one"
    outside.parent.mkdir()
    outside.write_bytes(content)
    there.symlink_to(outside)
    refused(made, f"{path}: leads to {outside}, out of this project")
    made.write(".dvc/config.local", f"[cache]\n    dir = {outside.parent}\n    type = symlink\n")
    inside_module._own.cache_clear()
    assert (written(made) / path).read_bytes() == content


def test_a_job_that_read_another_version_of_its_input_is_refused(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    made.write(CHECKPOINTS, "trained again")
    made.made("train", "train", [CHECKPOINTS], {}, {"seeds": [0, 1], "train": {"nimg": 4096, "batch": 64}})
    made.save()
    refused(made, f"made from other inputs than those recorded now: {MODEL}")


def test_nothing_is_left_of_a_crate_that_could_not_be_written(made, monkeypatch):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")

    def half(self, path):
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(rocrate.ROCrate, "write_zip", half)
    with pytest.raises(UserError, match=r"crate.zip: cannot be written \(no space left\)"):
        written(made, "crate.zip")
    assert [p.name for p in made.root.parent.iterdir()] == ["project"]


def test_a_target_that_is_there_is_left_alone(made):
    pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    with pytest.raises(UserError, match="is there already"):
        written(made, "project")


def test_without_the_library_the_way_to_get_it_is_said(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate", None)
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    with pytest.raises(UserError, match=r"it is optional. Install it with: pip install '\.\[crate\]'"):
        write_crate(TABLE, Path("never"), ABOUT, made.now, made.root)
