"""Snakemake killed by SIGKILL, and the same command typed again: its lock, its orphaned jobs, partial files."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tree import Tree

TABLE = "results/tables/toy2d_ci.csv"
COMMAND = ("snakemake", "--cores", "2", "--rerun-incomplete", "--", TABLE)


def until(condition, what, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def jobs_at_work(tree):
    return [p for p in (tree.root / ".state/running").glob("job-*") if p.read_text()]


@pytest.fixture
def gate(tree):
    path = Path(f"{tree.log}.wait")
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    tree = Tree.new(tmp_path_factory.mktemp("calm") / "tree")
    tree.run(*COMMAND)
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree.new(tmp_path_factory.mktemp("restart") / "tree")


@pytest.fixture
def at_work(tree, gate):
    """A Snakemake with two running trainings; all its processes are ended afterwards."""
    shutil.rmtree(tree.root / "results", ignore_errors=True)
    process = subprocess.Popen(
        COMMAND,
        cwd=tree.root,
        env=tree.environment | {"FAKE_GUIDELAB_WAIT": "train"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: len(jobs_at_work(tree)) == 2, "two trainings")
        yield process
    finally:
        gate.unlink(missing_ok=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def refused(tree, *command):
    with pytest.raises(AssertionError) as caught:
        tree.run(*command)
    return str(caught.value)


def test_killed_snakemake_and_its_orphans(tree, calm, at_work):
    at_work.kill()
    at_work.wait()
    assert list((tree.root / ".snakemake/locks").iterdir())
    tree.log.write_text("")
    message = refused(tree, *COMMAND)
    assert (
        "still running here: 2 jobs of a snakemake that has ended" in message and "Traceback" not in message
    )
    assert "LockException" not in message and tree.log.read_text() == ""  # no other job ran
    stop = re.search(r"^  kill ([\d ]+)$", message, re.M)
    pids = [int(pid) for pid in stop[1].split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    assert "2 jobs of a snakemake that has ended" in tree.planned(TABLE)  # a dry run prints it, and continues

    tree.run("kill", *map(str, pids))  # as the message says
    until(lambda: not any(alive(pid) for pid in pids), "the orphans to end")
    message = tree.run(*COMMAND)
    assert "removed the lock of a killed snakemake" in message
    assert (tree.root / TABLE).read_bytes() == (calm.root / TABLE).read_bytes()
    assert not list((tree.root / ".state/running").iterdir())
    assert not (tree.root / ".snakemake/locks").exists()


def test_what_orphans_finished_is_not_trusted(tree, calm, at_work, gate):
    """Their files are complete, but no record names their inputs: `--rerun-incomplete` makes them again."""
    at_work.kill()
    at_work.wait()
    gate.unlink()
    until(lambda: not jobs_at_work(tree), "the orphans to end")
    checkpoints = list((tree.root / "results").rglob("checkpoints/**/*.safetensors"))
    assert len(checkpoints) == 2
    tree.log.write_text("")
    message = refused(tree, *(word for word in COMMAND if word != "--rerun-incomplete"))
    assert "IncompleteFilesException" in message and "--rerun-incomplete" in message
    assert all(str(path.relative_to(tree.root)) in message for path in checkpoints)
    assert tree.log.read_text() == ""
    assert len([job for job in tree.jobs(*COMMAND) if job.startswith("train ")]) >= 2
    assert (tree.root / TABLE).read_bytes() == (calm.root / TABLE).read_bytes()


def test_a_snakemake_at_work_keeps_its_lock(tree, at_work):
    message = refused(tree, *COMMAND)
    assert "another snakemake is running in this folder: snakemake --cores 2" in message
    assert f"process {at_work.pid}" in message and "LockException" in message
    message = refused(tree, "snakemake", "--unlock")
    assert "Its lock stays" in message and f"kill {at_work.pid}" in message
    assert list((tree.root / ".snakemake/locks").iterdir()) and at_work.poll() is None
