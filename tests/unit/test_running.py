"""The process registry: one process holds a name, a killed one is recognised, a full disk is reported."""

import errno
import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from guidelab.errors import UserError
from guidelab.runtime import restart, running
from guidelab.runtime.running import forget, hold, name_of, workers
from guidelab.runtime.worker import Worker, stop

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
    """Starts other processes that hold names; they are ended at the end."""
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


def test_a_file_that_its_holder_removes_meanwhile_is_made_anew(monkeypatch):
    """Between opening and locking: the locked file then has no name any more, and a third process would see no holder."""
    path, lock = running.place() / "job-a", running.fcntl.flock

    def flock(handle, how):
        monkeypatch.setattr(running.fcntl, "flock", lock)
        path.unlink()
        lock(handle, how)

    monkeypatch.setattr(running.fcntl, "flock", flock)
    with hold("job-a", "job", "x"):
        assert path.exists()


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
    about = {
        "kind": "run",
        "what": "snakemake",
        "pid": 7,
        "host": "far-away",
        "folder": str(tmp_path),
        "inode": tmp_path.stat().st_ino,
    }
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
def test_a_full_disk_is_reported(monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(UserError, match=rf"{os.strerror(number)}.*run the same command again"),
        hold("job-a", "job", "x"),
    ):
        pass


def test_a_file_system_without_locks_gives_a_warning_and_no_refusal(monkeypatch, capsys):
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
    monkeypatch.setattr(restart, "invocation_of", lambda arguments: restart_asked(**asked))
    restart.restart([])


def restart_asked(acts=True, unlocks=False):
    from guidelab.runtime.preflight import Invocation

    return Invocation((), acts=acts, unlocks=unlocks)


def test_the_lock_of_a_dead_snakemake_is_taken_away(locks, elsewhere, monkeypatch, capsys):
    kill(elsewhere("run-1", "run"))
    begin(monkeypatch, acts=False)
    assert len(list(locks.iterdir())) == 2  # a dry run takes nothing away
    begin(monkeypatch)
    assert "removed the lock" in capsys.readouterr().err and not list(locks.iterdir()) and workers() == []


def test_the_lock_of_a_running_snakemake_stays_also_next_to_one_of_an_ended_one(
    locks, elsewhere, monkeypatch, capsys
):
    kill(elsewhere("run-1", "run"))
    alive = elsewhere("run-2", "run")
    begin(monkeypatch)
    assert f"running in this folder: run of a test (process {alive.pid}" in capsys.readouterr().err
    assert len(list(locks.iterdir())) == 2
    with pytest.raises(UserError, match=f"Its lock stays.*kill {alive.pid}"):
        begin(monkeypatch, acts=False, unlocks=True)


def test_a_lock_of_an_unknown_process_stays(locks, folder, monkeypatch, capsys):
    begin(monkeypatch)
    assert len(list(locks.iterdir())) == 2  # no record at all: Snakemake itself will say what to do
    running.place().mkdir(parents=True)
    about = {
        "kind": "run",
        "what": "snakemake",
        "pid": 7,
        "host": "far-away",
        "folder": str(folder),
        "inode": folder.stat().st_ino,
    }
    (running.place() / "run-7").write_text(json.dumps(about))
    begin(monkeypatch)
    assert "whether it still runs cannot be seen from here" in capsys.readouterr().err
    assert len(list(locks.iterdir())) == 2
    begin(monkeypatch, acts=False, unlocks=True)  # the user says so
    assert workers() == []


def test_orphans_are_named_and_nothing_starts(elsewhere, monkeypatch, capsys):
    kill(elsewhere("run-1", "run"))
    orphan = elsewhere("job-a", "job", run="run-1")
    elsewhere("job-b", "job")  # started by hand: not an orphan
    with pytest.raises(
        UserError, match=rf"1 job of a snakemake that has ended(.|\n)*\n  kill {orphan.pid}\n"
    ):
        begin(monkeypatch)
    begin(monkeypatch, acts=False)
    assert "1 job of a snakemake that has ended" in capsys.readouterr().err
    kill(orphan)
    begin(monkeypatch)


def test_jobs_of_a_living_snakemake_are_no_orphans(elsewhere, monkeypatch):
    elsewhere("run-1", "run")
    elsewhere("job-a", "job", run="run-1")
    begin(monkeypatch)


# ---- what lies there need not be ours -------------------------------------------------------------------------------


def lay(name, /, **about):
    """A file as a process would leave it."""
    running.place().mkdir(parents=True, exist_ok=True)
    told = {
        "kind": "run",
        "what": "snakemake",
        "pid": 7,
        "host": socket.gethostname(),
        "inode": Path.cwd().stat().st_ino,
    }
    (running.place() / name).write_text(json.dumps(told | about))


def test_a_registry_file_copied_to_another_name_is_ignored(folder, locks, monkeypatch):
    """Its name is the one it has; what it says of itself is not where anything is deleted."""
    (folder / "thesis.txt").write_text("years")
    lay("run-8", name=str(folder / "thesis.txt"))
    begin(monkeypatch)
    assert (folder / "thesis.txt").exists() and workers() == []


@pytest.mark.parametrize(
    "about", [{"pid": "1; rm -rf ~"}, {"slurm": "5; rm -rf ~"}, {"pid": None}, {"inode": "x"}]
)
def test_what_would_reach_a_shell_is_a_number_or_ignored(about):
    lay("job-8", **about)
    assert workers() == []


def test_messages_hold_no_control_characters():
    lay("job-8", what="train \x1b]0;pwned\x07", host="a\nb")
    (worker,) = workers()
    assert "\x1b" not in str(worker) and "\n" not in str(worker) and "train" in str(worker)


def test_a_dead_snakemake_with_our_process_number_is_dead(locks, monkeypatch):
    """After a restart of a container process numbers come again."""
    monkeypatch.undo()
    monkeypatch.chdir(locks.parents[1])
    monkeypatch.setenv(running.RUN, "")
    lay("run-9", pid=os.getpid())
    begin(monkeypatch)
    assert not list(locks.iterdir())


def test_the_users_allocation_is_never_suggested_for_cancelling(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "777")
    for outer, told in (
        (None, f"kill {os.getpid()}"),
        ("777", f"kill {os.getpid()}"),
        ("login", "scancel 777"),
    ):
        if outer:
            monkeypatch.setenv(running.FROM, outer)
        with hold("job-a", "job", "train"):
            assert stop(workers()) == told


def test_a_folder_that_was_moved_is_the_same_folder(elsewhere, folder, monkeypatch):
    name = name_of(["results/a"])
    other = elsewhere(name)
    folder.rename(folder.with_name("moved"))
    monkeypatch.chdir(folder.with_name("moved"))
    assert [w.pid for w in workers()] == [other.pid] and name_of(["results/a"]) == name
    with pytest.raises(UserError, match="working on the same files"), hold(name, "job", "x"):
        pass


def _as_nobody(work, answer):
    os.seteuid(65534)
    try:
        work()
        answer.put("done")
    except UserError as error:
        answer.put(str(error))
    os._exit(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
@pytest.mark.parametrize("shared", [True, False])
def test_what_a_dead_process_of_another_user_left(folder, shared):
    """In a folder both may write to, its file is removed; in another, its owner is named."""
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o777 if above == folder else 0o755)
    lay("job-a", kind="job")
    for path in (running.place().parent, running.place()):
        path.chmod(0o777 if shared else 0o755)
    (running.place() / "job-a").chmod(0o644)

    def work():
        forget(workers()[0])
        if not shared:
            with hold("job-a", "job", "x"):
                pass

    answer = FORK.SimpleQueue()
    process = FORK.Process(target=_as_nobody, args=(work, answer))
    process.start()
    told = answer.get()
    process.join()
    if shared:
        assert told == "done" and workers() == []
    else:
        assert "Ask root to delete it" in told and "GUIDELAB_STATE_DIR" not in told


def test_jobs_of_another_machine_are_reported_and_those_unknown_to_slurm_are_removed(
    locks, monkeypatch, capsys
):
    lay("job-1", kind="job", what="train far away", host="far-away")
    lay("job-2", kind="job", what="train on a node", host="node-7", slurm="5")
    begin(monkeypatch)
    told = capsys.readouterr().err
    assert "train far away" in told and "delete" in told and "on a node" not in told
    assert [w.name for w in workers()] == ["job-1"]


def test_what_was_kept_in_doubt_is_released_by_the_snakemake_that_lived(folder):
    for name, run in (("a", "run-1"), ("b", "run-2"), ("c", None)):
        place = running.kept() / name
        place.mkdir(parents=True)
        (place / "note.json").write_text(json.dumps({"run": run}) if run else "no JSON")
    running.release("run-1")
    assert sorted(p.name for p in running.kept().iterdir()) == ["b", "c"]
