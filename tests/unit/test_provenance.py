"""Records carried with results: what is restored, what is refused, what survives a crash."""

import json
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from guidelab import provenance
from guidelab.errors import UserError
from guidelab.plan.stage import Stage
from guidelab.provenance import notes, records
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
    """A folder in which jobs are run the way Snakemake does, with the same effects on disk."""

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
    for message in (
        SAMPLE,
        sha256(clone.root / SAMPLE)[:12],
        sha256(built.root / SAMPLE)[:12],
        "dvc checkout",
        "delete it",
    ):
        assert message in warning
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


# ---- what is never signed -----------------------------------------------------------------------------------------


def damaged(project, path):
    """Change a file and keep its size and its time."""
    about = (project.root / path).stat()
    text = (project.root / path).read_text()
    (project.root / path).write_text(text.replace("1", "7"))
    os.utime(project.root / path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (project.root / path).stat().st_size == about.st_size


def everything(project):
    """All of a project but Snakemake's own folder: content and time of every file."""
    files = [p for p in project.root.rglob("*") if p.is_file() and ".snakemake" not in p.parts]
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def copied(project, root, how):
    """A copy with the same times, as `cp -a` or `rsync -a` make it; or the project itself at another place, or here."""
    if how == "moved":
        project.root.rename(root)
    elif how == "here":
        return project
    else:
        shutil.copytree(project.root, root, symlinks=True)
    if how == "copied without state":
        (root / ".snakemake/guidelab-provenance.json").unlink()
    return Project(root)


@pytest.mark.parametrize("how", ["here", "moved", "copied", "copied without state"])
@pytest.mark.parametrize("path", [MODEL, NUMBER])
def test_a_changed_file_is_never_recorded_as_intact(built, tmp_path, how, path):
    project = copied(built, tmp_path / "copy", how)
    damaged(project, path)
    before = everything(project)
    for acts in (False, True):
        project.log.clear()
        provenance.restore(project.root, STAGES, project.log.append, acts=acts)
        assert [line for line in project.log if "WARNING" in line and path in line], project.log
    project.export()
    project.restore()
    if how != "copied without state":  # without it, times are put in order anew
        assert everything(project) == before
    entries = {**records.read(project.root, STAGES[0])[0], **records.read(project.root, STAGES[1])[0]}
    assert entries[path].sha256 != sha256(project.root / path)
    assert any("WARNING" in line and path in line for line in project.log)


@pytest.mark.parametrize("how", ["moved", "copied", "copied without state"])
def test_a_copied_project_is_as_intact_as_the_first(built, tmp_path, how):
    project = copied(built, tmp_path / "copy", how)
    before = everything(project)
    assert project.restore() == 0 and project.log == []
    project.export()
    assert everything(project) == before


def test_a_changed_file_whose_record_was_removed_is_never_recorded_as_intact(built):
    damaged(built, NUMBER)
    built.restore()
    built.carried("sample").unlink()
    built.restore()
    built.export()
    entries, _ = records.read(built.root, STAGES[1])
    assert NUMBER not in entries and SAMPLE in entries


def test_a_dry_run_writes_no_file(tmp_path):
    project = Project(tmp_path).build()
    before = everything(project)
    assert provenance.restore(tmp_path, STAGES, project.log.append, acts=False) == 0
    assert everything(project) == before
    project.restore()
    assert project.carried("train").is_file()


def test_a_file_changed_after_its_job_and_before_the_export_is_never_recorded(built, monkeypatch):
    monkeypatch.chdir(built.root)
    built.run(MODEL, "model 11", params=(repr(json.dumps({"lr": 11})),), rule="train")
    notes.leave({"lr": 11}, [Path(MODEL)], time.time(), 1.0, finished=True)
    damaged(built, MODEL)
    built.export()
    entries, _ = records.read(built.root, STAGES[0])
    assert entries[MODEL].record["params"] == ["1"], "the record before"
    assert any(MODEL in line and "was changed after its job wrote it" in line for line in built.log)
    (built.root / MODEL).write_text("model 11")
    built.run(MODEL, "model 11", params=(repr(json.dumps({"lr": 11})),), rule="train")
    built.export()
    entries, _ = records.read(built.root, STAGES[0])
    assert entries[MODEL].sha256 == sha256(built.root / MODEL)


def test_a_job_that_read_a_changed_file_is_never_recorded_as_made_from_the_intact_one(built):
    damaged(built, MODEL)
    built.run(SAMPLE, "sample 3", [MODEL], rule="sample")
    built.export()
    entries = {**records.read(built.root, STAGES[0])[0], **records.read(built.root, STAGES[1])[0]}
    shas = {path: entry.sha256 for path, entry in entries.items()}
    assert entries[SAMPLE].inputs_sha256 not in (None, records.combined([MODEL], shas))


# ---- manifest ----------------------------------------------------------------------------------------------------


KEEP, STALE = "results/e/samples/w1/a.bin", "results/e/samples/w2/b.bin"
RECORDED = '{"rule": "sample", "incomplete": false}'


def stale(root, *paths):
    """A planned file, and files that a job made and nothing plans any more."""
    for path in (KEEP, *paths):
        write_text(root / path, path)
        write_text(Metadata(root).path(path), RECORDED)


def tidied(root, log=None, outs=("results/e/samples",), keep=()):
    said = [] if log is None else log
    path = "results/e/manifests/sample.json"
    return provenance.write_manifest(path, [KEEP], outs, keep, root=root, log=said.append)


def test_a_manifest_removes_what_is_not_planned_and_nothing_else(tmp_path):
    stale(tmp_path, STALE)
    for path in ("results/e/other/c.bin", "results/e/samples/.gitignore"):
        write_text(tmp_path / path, path)
    assert tidied(tmp_path) == [STALE]
    left = {p.relative_to(tmp_path).as_posix() for p in (tmp_path / "results").rglob("*") if p.is_file()}
    assert left == {
        KEEP,
        "results/e/other/c.bin",
        "results/e/samples/.gitignore",
        "results/e/manifests/sample.json",
    }
    assert not (tmp_path / "results/e/samples/w2").exists()
    assert json.loads((tmp_path / "results/e/manifests/sample.json").read_text())["files"] == [KEEP]


def test_a_manifest_never_removes_a_file_that_no_job_is_recorded_to_have_made(tmp_path):
    mine = "results/e/samples/w2/notes.txt"
    stale(tmp_path, STALE)
    write_text(tmp_path / mine, "mine")
    log = []
    assert tidied(tmp_path, log) == [STALE]
    assert (tmp_path / mine).read_text() == "mine"
    assert mine in log[0] and "1 file that no job is recorded to have made" in log[0]
    write_text(tmp_path / STALE, "mine now")  # where a job's file was removed
    assert tidied(tmp_path, log) == [] and (tmp_path / STALE).read_text() == "mine now"


def test_a_manifest_after_a_clone_knows_files_by_the_records_that_came_with_it(built, tmp_path):
    clone = built.clone(tmp_path / "clone")
    removed = provenance.write_manifest(
        "results/e/manifests/sample.json", [NUMBER], ["results/e/samples"], root=clone.root, log=print
    )
    assert removed == [SAMPLE] and (clone.root / MODEL).exists()


def test_shards_and_unfinished_files_of_a_removed_point_go_with_it_and_no_others(tmp_path):
    listing, shard = "results/e/samples/w2/seed0.json", "results/e/samples/w2/seed0/seed0/report/0-9.bin"
    unfinished, foreign = "results/e/samples/w2/.seed0.json.x1y2.tmp", "results/e/samples/w2/.mine.abc.tmp"
    stale(tmp_path, listing)
    shards = [
        {"file": name} for name in ("seed0/report/0-9.bin", "../../../../../outside.bin", "/outside.bin")
    ]
    write_text(tmp_path / listing, json.dumps({"shards": shards}))
    others = (shard, unfinished, foreign, "outside.bin", "results/e/samples/w2/seed0/mine.bin")
    for path in others:
        write_text(tmp_path / path, "x")
    assert tidied(tmp_path) == sorted([listing, shard, unfinished])
    assert all((tmp_path / path).exists() for path in others[2:])


@pytest.mark.parametrize(
    "link", ["results", "results/e", "results/e/samples", "results/e/samples/w2", "chain"]
)
def test_a_manifest_never_removes_a_file_behind_a_link(tmp_path, link):
    """Wherever on the way the link is, and whether it leads out of the project or not."""
    root, scratch = tmp_path / "project", tmp_path / "scratch"
    stale(root, STALE)
    place = root / ("results/e/samples/w2" if link == "chain" else link)
    place.rename(scratch)
    if link == "chain":
        (root / "results/e/hop").symlink_to("../../../scratch")
        place.symlink_to("../hop")
    else:
        place.symlink_to(scratch)
    before = {p: p.read_text() for p in scratch.rglob("*") if p.is_file()}
    log = []
    assert tidied(root, log) == []
    now = {p: p.read_text() for p in before}
    assert now == before and place.is_symlink()
    assert log, "what stays is named"


def test_a_manifest_removes_a_link_to_a_file_and_never_the_file(tmp_path):
    """As DVC leaves them with `cache.type symlink`."""
    root, cached = tmp_path / "project", tmp_path / "cache/of"
    stale(root, STALE)
    write_text(cached, "cached")
    (root / STALE).unlink()
    (root / STALE).symlink_to(cached)
    assert tidied(root) == [STALE]
    assert cached.read_text() == "cached"


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
