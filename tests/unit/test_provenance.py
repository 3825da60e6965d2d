"""Records carried with results: what is put back, what is refused, what survives a crash."""

import json
import os
import stat
from pathlib import Path

import pytest

from guidelab import provenance
from guidelab.errors import UserError
from guidelab.plan.stage import Stage
from guidelab.provenance import records
from guidelab.provenance.disk import Metadata, sha256, write_text
from guidelab.provenance.order import OLD

MODEL, SAMPLE, NUMBER = "results/e/models/m.bin", "results/e/samples/w1/s.bin", "results/e/numbers.csv"


def stage(name, outs, files, after=()):
    return Stage(
        name,
        "e",
        outs,
        files,
        f"results/e/manifests/{name}.json",
        f"results/e/provenance/{name}.json",
        (),
        after,
    )


STAGES = [
    stage("train", ("results/e/models",), (MODEL,)),
    stage("sample", ("results/e/samples", NUMBER), (SAMPLE, NUMBER), ("train",)),
]


class Project:
    """A folder in which jobs are run the way Snakemake does, as far as the disk can tell."""

    def __init__(self, root: Path):
        self.root, self.log, self.clock = root, [], 1_700_000_000.0

    def run(self, path, text, inputs=(), params=("1",), rule="rule"):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.clock += 10
        os.utime(file, (self.clock, self.clock))
        record = {
            "rule": rule, "code": "guidelab {output}", "input": sorted(inputs), "log": [], "shellcmd": "long",
            "params": list(params), "record_format_version": 6, "conda_env": None, "container_img_url": None,
            "software_stack_hash": "d41d8", "job_hash": 5, "starttime": 1.0, "endtime": file.stat().st_mtime,
            "incomplete": False, "external_jobid": None,
            "input_checksums": {i: f"sha256:{sha256(self.root / i)}" for i in inputs},
        }  # fmt: skip
        write_text(Metadata(self.root).path(path), json.dumps(record))

    def build(self, lr="1"):
        self.run(MODEL, f"model {lr}", params=(lr,), rule="train")
        self.run(SAMPLE, f"sample {lr}", [MODEL], rule="sample")
        self.run(NUMBER, f"number {lr}", [SAMPLE, MODEL], rule="measure")
        return self

    def export(self):
        return provenance.export(self.root, STAGES, self.log.append)

    def restore(self):
        self.log.clear()
        return provenance.restore(self.root, STAGES, self.log.append)

    def record(self, path):
        return Metadata(self.root).read(path)

    def carried(self, name):
        return self.root / f"results/e/provenance/{name}.json"

    def clone(self, root, skip=()):
        """Results alone, at new times in the wrong order."""
        root.mkdir()
        for number, path in enumerate(sorted(self.root.rglob("*"), reverse=True)):
            inside = path.relative_to(self.root)
            if path.is_file() and inside.parts[0] == "results" and str(inside) not in skip:
                target = root / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                os.utime(target, (1_800_000_000 - number,) * 2)
        return Project(root)

    def mtime(self, path):
        return (self.root / path).stat().st_mtime


@pytest.fixture
def built(tmp_path):
    project = Project(tmp_path / "first").build()
    assert project.export() == 2
    return project


def test_a_clone_gets_its_records_back_in_order(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    assert clone.restore() == 3
    for path in (MODEL, SAMPLE, NUMBER):
        kept, first = clone.record(path), built.record(path)
        assert {k: kept[k] for k in ("rule", "input", "params", "code", "input_checksums")} == {
            k: first[k] for k in ("rule", "input", "params", "code", "input_checksums")
        }
    assert OLD < clone.mtime(MODEL) < clone.mtime(SAMPLE) < clone.mtime(NUMBER)
    assert clone.restore() == 0
    assert clone.log == []


def test_a_clone_exports_the_very_same_bytes(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    clone.restore()
    assert clone.export() == 0
    again = Project(tmp_path / "second").build()
    again.export()
    for name in ("train", "sample"):
        assert again.carried(name).read_bytes() == built.carried(name).read_bytes()
        assert str(tmp_path).encode() not in built.carried(name).read_bytes()


def test_a_changed_file_is_named_and_gets_no_record(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    (clone.root / SAMPLE).write_text("better sample")
    assert clone.restore() == 2
    assert clone.record(SAMPLE) is None
    (warning,) = [line for line in clone.log if "WARNING" in line]
    for told in (
        SAMPLE,
        sha256(clone.root / SAMPLE)[:12],
        sha256(built.root / SAMPLE)[:12],
        "dvc checkout",
        "delete it",
    ):
        assert told in warning
    clone.restore()
    assert any("WARNING" in line for line in clone.log), "must be said every time"


def test_a_file_edited_by_hand_is_not_signed_by_the_next_export(built):
    (built.root / SAMPLE).write_text("better sample")
    before = built.carried("sample").read_bytes()
    built.export()
    assert built.carried("sample").read_bytes() == before
    built.restore()
    assert any(SAMPLE in line and "WARNING" in line for line in built.log)
    built.run(SAMPLE, "sample 2", [MODEL], rule="sample")  # its job ran: now it is the recorded one
    built.export()
    built.restore()
    assert built.log == []


def test_many_changed_files_are_counted(tmp_path):
    files = tuple(f"results/e/models/{i}.bin" for i in range(12))
    project = Project(tmp_path)
    for path in files:
        project.run(path, path)
    stages = [stage("train", ("results/e/models",), files)]
    provenance.export(tmp_path, stages)
    for path in files:
        (tmp_path / path).write_text("x")
    provenance.restore(tmp_path, stages, project.log.append)
    assert len(project.log) == 6
    assert "7 more files" in project.log[-1]


def test_records_of_absent_files_are_put_back_and_kept(built, tmp_path):
    clone = built.clone(tmp_path / "clone", skip=(MODEL, SAMPLE))
    assert clone.restore() == 3
    assert clone.record(MODEL)["params"] == ["1"]
    clone.export()
    assert clone.carried("train").read_bytes() == built.carried("train").read_bytes()
    # `dvc pull` brings them later, at any time
    for path in (MODEL, SAMPLE):
        (clone.root / path).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / path).write_bytes((built.root / path).read_bytes())
    clone.restore()
    assert OLD < clone.mtime(MODEL) < clone.mtime(SAMPLE) < clone.mtime(NUMBER)


def test_a_killed_run_is_caught_up_and_not_called_a_change(built):
    built.build(lr="2")  # ... and the process is killed before it could export
    built.restore()
    assert built.log == []
    entries, _ = records.read(built.root, STAGES[0])
    assert entries[MODEL].record["params"] == ["2"]
    assert entries[MODEL].sha256 == sha256(built.root / MODEL)


def test_a_first_run_that_was_killed_is_caught_up(tmp_path):
    project = Project(tmp_path).build()
    project.restore()
    assert project.carried("train").is_file()
    assert project.log == []


def test_checking_out_another_state_changes_records_and_times(built, tmp_path):
    other = built.clone(tmp_path / "other")
    other.restore()
    other.build(lr="2")
    other.export()
    for path in (
        MODEL,
        SAMPLE,
        NUMBER,
        "results/e/provenance/train.json",
        "results/e/provenance/sample.json",
    ):
        built.root.joinpath(path).write_bytes(other.root.joinpath(path).read_bytes())
    assert built.restore() == 3
    assert built.record(MODEL)["params"] == ["2"]
    assert OLD < built.mtime(MODEL) < built.mtime(SAMPLE) < built.mtime(NUMBER)


def test_results_of_other_inputs_than_the_recorded_ones_are_made_the_oldest(built, tmp_path):
    built.run(
        MODEL, "model 2", params=("2",), rule="train"
    )  # trained again, and the samples were not redrawn
    built.export()
    clone = built.clone(tmp_path / "clone")
    clone.restore()
    assert clone.mtime(SAMPLE) == OLD < clone.mtime(MODEL)


def test_unfinished_outputs_are_left_alone(built):
    marker = Metadata(built.root).path(SAMPLE, "incomplete")
    write_text(marker, "{}")
    (built.root / SAMPLE).write_text("half")
    before = built.carried("sample").read_bytes()
    built.restore()
    built.export()
    assert built.log == []
    assert built.carried("sample").read_bytes() == before


def test_nothing_happens_while_another_snakemake_works_here(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    write_text(clone.root / ".snakemake/locks/0.output.lock", MODEL)
    assert clone.restore() == 0
    assert clone.record(MODEL) is None


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"format": 2}', '{"format": 1, "rules": {}, "jobs": [{"rule": "x"}]}', "[" * 100_000, '{"format": 1, "jobs": 3}'],
)  # fmt: skip
def test_a_damaged_provenance_file_is_named_and_ignored(built, tmp_path, damage):
    clone = built.clone(tmp_path / "clone")
    clone.carried("sample").write_text(damage)
    assert clone.restore() == 1
    assert "results/e/provenance/sample.json" in clone.log[0]


def test_half_written_records_and_state_are_survived(built):
    Metadata(built.root).path(MODEL).write_text('{"rule": "tra')
    (built.root / ".snakemake/guidelab-provenance.json").write_text('{"files": {"a')
    built.restore()
    assert built.record(MODEL)["params"] == ["1"]
    built.export()
    entries, complaint = records.read(built.root, STAGES[0])
    assert complaint is None
    assert set(entries) == {MODEL}


def test_foreign_paths_are_refused(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    outside = tmp_path / "outside.bin"
    outside.write_text("model 1")
    text = clone.carried("train").read_text()
    clone.carried("train").write_text(
        text.replace(f'"{MODEL}":', '"results/e/models/../../../../outside.bin":')
    )
    clone.restore()
    assert "does not own" in clone.log[0]
    assert outside.stat().st_mtime > OLD + 1000


def test_forged_cycles_end(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    text = clone.carried("train").read_text()
    clone.carried("train").write_text(text.replace('"input":[]', f'"input":[["{NUMBER}"]]'))
    assert clone.restore() == 3


def test_a_read_only_folder_costs_a_line_not_the_run(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    (clone.root / ".snakemake").write_text("a file where Snakemake's folder should be")
    assert clone.restore() == 0
    assert "cannot be written" in clone.log[0]
    clone.export()
    assert "cannot be written" in clone.log[-1]


def test_provenance_is_readable_by_others_and_leaves_nothing_behind(built):
    assert stat.S_IMODE(built.carried("train").stat().st_mode) == 0o644
    assert not list(built.root.rglob("*.tmp"))


def test_what_a_rule_shares_is_written_once(tmp_path):
    files = tuple(f"results/e/models/{i}.bin" for i in range(200))
    project = Project(tmp_path)
    for path in files:
        project.run(path, path)
    provenance.export(tmp_path, [stage("train", ("results/e/models",), files)])
    text = project.carried("train").read_text()
    assert text.count("guidelab {output}") == 1
    assert len(text) < 200 * 250


# ---- manifest ----------------------------------------------------------------------------------------------------


def test_a_manifest_removes_what_is_not_planned_and_nothing_else(tmp_path):
    keep, stale = "results/e/samples/w1/a.bin", "results/e/samples/w2/b.bin"
    for path in (keep, stale, "results/e/other/c.bin", "results/e/samples/.gitignore"):
        write_text(tmp_path / path, path)
    removed = provenance.write_manifest(
        "results/e/manifests/sample.json", [keep], ["results/e/samples"], root=tmp_path
    )
    assert removed == [stale]
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {
        keep,
        "results/e/other/c.bin",
        "results/e/samples/.gitignore",
        "results/e/manifests/sample.json",
    }
    assert not (tmp_path / "results/e/samples/w2").exists()
    assert json.loads((tmp_path / "results/e/manifests/sample.json").read_text())["files"] == [keep]


@pytest.mark.parametrize("folder", ["src", "results", ".", "results/../src"])
def test_a_manifest_tidies_up_only_inside_results(tmp_path, folder):
    write_text(tmp_path / "src/a.py", "x")
    write_text(tmp_path / "results/e/a.bin", "x")
    with pytest.raises(UserError, match="will not tidy up"):
        provenance.write_manifest("results/m.json", ["results/e/a.bin"], [folder], root=tmp_path)
    assert (tmp_path / "src/a.py").exists()


def test_a_manifest_of_absent_files_is_refused_before_anything_is_removed(tmp_path):
    write_text(tmp_path / "results/e/stale.bin", "x")
    with pytest.raises(UserError, match=r"1 of 1 files are not there.*results/e/new.bin"):
        provenance.write_manifest("results/m.json", ["results/e/new.bin"], ["results/e"], root=tmp_path)
    assert (tmp_path / "results/e/stale.bin").exists()
