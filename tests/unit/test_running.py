"""Who works in a folder: one process holds a name, a killed one is known for dead, and a full disk is told."""

import errno
import json
import multiprocessing
import os
import signal
import time

import pytest

from guidelab import restart, running
from guidelab.errors import UserError
from guidelab.running import Worker, forget, hold, name_of, stop, workers

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GUIDELAB_STATE_DIR", "SLURM_JOB_ID", running.RUN):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _holder(name, kind, ready, run):
    os.environ[running.RUN] = run
    with hold(name, kind, f"{kind} of a test"):
        ready.set()
        time.sleep(600)


@pytest.fixture
def elsewhere():
    """Starts other processes that hold names; they are gone at the end."""
    started = []

    def start(name="job-a", kind="job", run=""):
        ready = FORK.Event()
        process = FORK.Process(target=_holder, args=(name, kind, ready, run), daemon=True)
        process.start()
        started.append(process)
        assert ready.wait(60)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_one_at_a_time_and_the_other_is_named(elsewhere):
    other = elsewhere()
    with (
        pytest.raises(UserError, match=rf"process {other.pid}.*stop it \(kill {other.pid}\)"),
        hold("job-a", "job", "x"),
    ):
        pass
    with hold("job-b", "job", "another job"):
        assert [w.name for w in workers() if w.held] == ["job-a", "job-b"]


def test_a_killed_process_holds_nothing(elsewhere):
    kill(elsewhere())
    (left,) = workers()
    assert left.dead and not left.held
    with hold("job-a", "job", "the same job again"):
        assert workers()[0].pid == os.getpid()
    assert workers() == []


def test_a_name_given_back_in_time_is_waited_for(elsewhere, capsys):
    other = elsewhere()
    waited = FORK.Process(target=lambda: (time.sleep(0.5), os.kill(other.pid, signal.SIGKILL)))
    waited.start()
    with hold("job-a", "job", "the same job again", wait_s=60):
        assert "waiting up to 60 s for job of a test" in capsys.readouterr().err
    waited.join()


def test_the_dead_are_forgotten_and_the_living_are_not(elsewhere):
    kill(elsewhere("job-a"))
    elsewhere("job-b")
    for worker in workers():
        forget(worker)
    assert [w.name for w in workers()] == ["job-b"]


def test_other_folders_and_other_files_do_not_matter(tmp_path, monkeypatch):
    with hold("job-a", "job", "here"):
        monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path / ".state"))
        (running.place() / "job-strange").write_text("no JSON")
        assert [w.name for w in workers()] == ["job-a"]
        other = tmp_path / "other"
        other.mkdir()
        monkeypatch.chdir(other)
        assert workers() == []


def test_a_process_of_another_machine_is_neither_dead_nor_alive(tmp_path):
    running.place().mkdir(parents=True)
    about = {"kind": "run", "what": "snakemake", "pid": 7, "host": "far-away", "folder": str(tmp_path)}
    (running.place() / "run-7").write_text(json.dumps(about))
    (worker,) = workers()
    assert not worker.dead and not worker.held and "process 7 on far-away" in str(worker)


def test_outputs_are_one_name_in_any_order(tmp_path, monkeypatch):
    assert name_of(["a", "b"]) == name_of([tmp_path / "b", "a"])
    assert name_of(["a"]) != name_of(["b"])


def test_how_to_stop_them():
    mixed = [
        Worker("a", "job", "x", pid=5),
        Worker("b", "job", "x", pid=4),
        Worker("c", "job", "x", pid=9, slurm="17"),
    ]
    assert stop(mixed) == "scancel 17; kill 4 5"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told(monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(UserError, match=rf"{os.strerror(number)}.*run the same command again"),
        hold("job-a", "job", "x"),
    ):
        pass


def test_a_file_system_without_locks_is_told_and_refuses_nothing(monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(running.fcntl, "flock", none)
    with hold("job-a", "job", "x"):
        assert "cannot be locked (No locks available)" in capsys.readouterr().err
        assert [w.held for w in workers()] == [True]  # by its process number
        about = json.loads((running.place() / "job-a").read_text())
        (running.place() / "job-b").write_text(json.dumps({**about, "pid": 2**22 + 1}))
        assert [w.held for w in workers()] == [True, False]


# ---- what Snakemake does about it at its start ----------------------------------------------------------------------


@pytest.fixture
def locks(folder, monkeypatch):
    monkeypatch.setattr(restart, "_note", lambda arguments: None)
    place = folder / ".snakemake/locks"
    place.mkdir(parents=True)
    (place / "0.input.lock").write_text("a\n")
    (place / "0.output.lock").write_text("b\n")
    return place


def begin(monkeypatch, **asked):
    monkeypatch.setattr(restart, "asked_of", lambda arguments: restart_asked(**asked))
    restart.restart([])


def restart_asked(acts=True, unlocks=False):
    from guidelab.preflight import Asked

    return Asked((), acts=acts, unlocks=unlocks)


def test_the_lock_of_a_dead_snakemake_is_taken_away(locks, elsewhere, monkeypatch, capsys):
    kill(elsewhere("run-1", "run"))
    begin(monkeypatch, acts=False)
    assert len(list(locks.iterdir())) == 2  # a dry run takes nothing away
    begin(monkeypatch)
    assert "took away the lock" in capsys.readouterr().err and not list(locks.iterdir()) and workers() == []


def test_the_lock_of_a_living_one_stays_also_beside_a_dead_one(locks, elsewhere, monkeypatch, capsys):
    kill(elsewhere("run-1", "run"))
    alive = elsewhere("run-2", "run")
    begin(monkeypatch)
    assert f"at work in this folder: run of a test (process {alive.pid}" in capsys.readouterr().err
    assert len(list(locks.iterdir())) == 2
    with pytest.raises(UserError, match=f"Its lock stays.*kill {alive.pid}"):
        begin(monkeypatch, acts=False, unlocks=True)


def test_a_lock_nobody_can_speak_for_stays(locks, folder, monkeypatch, capsys):
    begin(monkeypatch)
    assert len(list(locks.iterdir())) == 2  # no record at all: Snakemake itself will say what to do
    running.place().mkdir(parents=True)
    about = {"kind": "run", "what": "snakemake", "pid": 7, "host": "far-away", "folder": str(folder)}
    (running.place() / "run-7").write_text(json.dumps(about))
    begin(monkeypatch)
    assert "whether it lives cannot be seen from here" in capsys.readouterr().err
    assert len(list(locks.iterdir())) == 2
    begin(monkeypatch, acts=False, unlocks=True)  # the user says so
    assert workers() == []


def test_orphans_are_named_and_nothing_starts(elsewhere, monkeypatch, capsys):
    kill(elsewhere("run-1", "run"))
    orphan = elsewhere("job-a", "job", run="run-1")
    elsewhere("job-b", "job")  # started by hand: nobody's orphan
    with pytest.raises(UserError, match=rf"1 jobs of a snakemake that is gone(.|\n)*\n  kill {orphan.pid}\n"):
        begin(monkeypatch)
    begin(monkeypatch, acts=False)
    assert "1 jobs of a snakemake that is gone" in capsys.readouterr().err
    kill(orphan)
    begin(monkeypatch)


def test_jobs_of_a_living_snakemake_are_no_orphans(elsewhere, monkeypatch):
    elsewhere("run-1", "run")
    elsewhere("job-a", "job", run="run-1")
    begin(monkeypatch)
