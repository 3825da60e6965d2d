"""Run records: written by the job, gathered with the results, separate from all that results depend on."""

import json
from pathlib import Path

import pytest

from guidelab.plan.stage import Stage
from guidelab.provenance import notes, runs
from guidelab.provenance.disk import Metadata, write_text
from guidelab.provenance.records import Entry
from guidelab.runtime.noted import noted
from guidelab.train.stop import Stopped

OUT, CURVE = "results/e/models/main.safetensors", "results/e/models/main.csv"
STAGE = Stage(
    "train",
    "e",
    ("results/e/models",),
    (OUT,),
    "results/e/manifests/train.json",
    "results/e/provenance/train.json",
    (),
)
JOB = {"lr": 0.1, "inputs": {}, "code": "c0de"}
KEPT = runs.path_of("e", "train")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("GUIDELAB_MACHINE", "cluster-a")
    return tmp_path


def record(root, job=JOB, start=100.0, end=160.0):
    """Snakemake's records of a job's outputs, on disk; and the entry that is exported of each."""
    content = {
        "rule": "train", "input": [], "params": [repr(json.dumps(job))], "log": [], "input_checksums": {},
        "starttime": start, "endtime": end, "incomplete": False,
    }  # fmt: skip
    for path in (OUT, CURVE):
        write_text(Metadata(root).path(path), json.dumps(content))
    return Entry("5ha", content, "1n")


def gather(root, entry):
    runs.gather(root, STAGE, dict.fromkeys((OUT, CURVE), entry), Metadata(root))
    return runs.read(root, KEPT)


def work(job=JOB, outputs=(OUT, CURVE), fails=None):
    with noted(job, [Path(o) for o in outputs]):
        if fails:
            raise fails


def test_a_run_record_holds_time_machine_and_packages(root):
    work()
    (run,) = gather(root, record(root)).values()
    assert run.clock == runs.BY_JOB and 0 <= run.seconds < 60, "not Snakemake's clock, which says 60 s"
    assert run.machine["name"] == "cluster-a" and run.machine["cores"] >= 1
    assert {"python", "torch", "numpy", "snakemake"} <= set(run.software)
    assert run.started.endswith("Z") and run.sha256 == "5ha"


def test_without_a_run_record_snakemakes_times_are_used_and_no_machine_is_named(root):
    (run,) = gather(root, record(root)).values()
    assert (run.seconds, run.clock, run.machine) == (60.0, runs.BY_SNAKEMAKE, None)


def test_a_run_record_with_other_parameters_is_not_used(root):
    work({**JOB, "lr": 0.2})
    (run,) = gather(root, record(root)).values()
    assert run.machine is None


def test_attempts_that_stopped_in_time_are_added_up_and_failures_leave_nothing(root):
    with pytest.raises(Stopped):
        work(fails=Stopped("time is up"))
    note = json.loads(notes.path_of(root, CURVE).read_text())
    notes.path_of(root, CURVE).write_text(json.dumps({**note, "seconds": 1000.0}))
    assert gather(root, record(root))[CURVE].clock == runs.BY_SNAKEMAKE, "an unfinished job is no run"
    with pytest.raises(ValueError, match="broken"):
        work(fails=ValueError("broken"))
    work()
    assert gather(root, record(root))[CURVE].earlier_seconds == 1000.0
    work()
    assert gather(root, record(root))[CURVE].earlier_seconds == 0.0


def test_a_clone_keeps_what_was_recorded_and_forgets_it_with_the_content(root):
    entry = record(root)
    work()
    kept = gather(root, entry)
    record(root, start=5.0, end=5.0)  # restored in a clone: no times
    assert gather(root, entry) == kept
    other = Entry("0ther", entry.record, "1n")
    assert gather(root, other) == {}


def test_gathering_again_changes_no_byte(root):
    work()
    entry = record(root)
    assert runs.gather(root, STAGE, {OUT: entry}, Metadata(root))
    before = (root / KEPT).read_bytes()
    assert not runs.gather(root, STAGE, {OUT: entry}, Metadata(root))
    assert (root / KEPT).read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "jobs": [{"output": "x"}]}'])
def test_a_broken_file_of_runs_is_no_run(root, text):
    write_text(root / KEPT, text)
    assert runs.read(root, KEPT) == {}
    assert len(gather(root, record(root))) == 1


GOOD = {"sha256": "5ha", "seconds": 2.0, "clock": "job", "started": "2026-01-01T00:00:00Z", "machine": "m0"}
MACHINES = {"m0": {"name": "cluster-a", "gpus": ["H"]}}


def kept(root, machines=MACHINES, versions=None, **line):
    """A file of two runs, the second as it should be."""
    jobs = [{"output": OUT, **GOOD, **line}, {"output": CURVE, **{**GOOD, "machine": "good"}}]
    content = {
        "format": 1,
        "machines": {**machines, "good": {"name": "b"}},
        "software": versions or {},
        "jobs": jobs,
    }
    write_text(root / KEPT, json.dumps(content))
    return runs.read(root, KEPT)


def test_a_line_that_is_as_it_should_be_is_read(root):
    assert kept(root)[OUT].machine == MACHINES["m0"]


@pytest.mark.parametrize(
    "changed",
    [
        {"machines": {"m0": "host"}},
        {"machines": {"m0": ["host"]}},
        {"machines": {"m0": {"gpus": 8}}},
        {"machines": {"m0": {"name": {"a": 1}}}},
        {"machines": {}},
        {"versions": {"s0": "torch"}, "software": "s0"},
        {"software": "s0"},
        {"started": "yesterday"},
        {"started": 5},
        {"started": "9999-12-31T23:59:59Z", "seconds": 1e6},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": -1.0},
        {"seconds": "2"},
        {"seconds": 10**400},
        {"earlier_seconds": float("nan")},
    ],
)
def test_a_line_that_makes_no_sense_is_left_out_and_no_other(root, changed):
    found = kept(root, **changed)
    assert set(found) == {CURVE} and found[CURVE].seconds == 2.0


def test_a_run_record_without_valid_numbers_is_ignored(root):
    work()
    path = notes.path_of(root, CURVE)
    note = json.loads(path.read_text())
    assert notes.read(root, CURVE) == note
    for wrong in (float("nan"), float("inf"), -1, "2"):
        path.write_text(json.dumps({**note, "seconds": wrong}))
        assert notes.read(root, CURVE) is None


def test_a_snakemake_record_with_other_parameters_gives_no_time(root):
    """Snakemake's record is of another run than the entry: the same content, other parameters."""
    entry = record(root)
    record(root, {**JOB, "lr": 0.2})
    assert gather(root, entry) == {}


def test_attempts_with_other_parameters_are_not_added_up(root):
    with pytest.raises(Stopped):
        work({**JOB, "lr": 0.2}, fails=Stopped("time is up"))
    path = notes.path_of(root, CURVE)
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1000.0}))
    work()
    assert gather(root, record(root))[CURVE].earlier_seconds == 0.0


def test_only_the_first_process_of_a_job_writes_a_run_record_and_only_for_results(root, monkeypatch):
    work(outputs=("/tmp/elsewhere.zip",))
    work(outputs=("results/../x.zip",))
    monkeypatch.setenv("RANK", "1")
    work()
    assert not (root / notes.FOLDER).exists()


def test_a_full_disk_ends_no_job_that_has_its_results(root):
    (root / "logs").write_text("a file in the way")
    work()


def test_no_rule_writes_its_log_into_the_folder_of_run_records():
    for path in (Path(__file__).parents[2] / "workflow/rules").glob("*.smk"):
        assert "logs/_" not in path.read_text()
