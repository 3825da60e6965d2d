"""Jobs killed at random moments and two at the same job: every shard is made once, every result is the undisturbed one."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from guidelab.cli import run as running_job
from guidelab.errors import UserError
from guidelab.io import save_arrays
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.runtime import claim, running
from guidelab.train.loop import TrainingSpec, run
from guidelab.train.state import state_folder
from guidelab.train.streams import stream

FORK = multiprocessing.get_context("fork")
ABOUT = {"variant": "cfg"}
SHARDS = split(0, "select", (0, 39), 5)
JOB = {"inputs": {}, "seed": 3}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GUIDELAB_STATE_DIR", "SLURM_JOB_ID", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def sample(manifest, log, pause_s):
    """A sampling job as the command line runs it; notes every shard it draws."""

    def make(first, last):
        time.sleep(pause_s)
        with open(log, "a") as file:
            file.write(f"{first} {os.getpid()}\n")
        seeds = torch.arange(first, last + 1)
        return (seeds[:, None, None, None] * torch.ones(1, 1, 4, 4)).to(torch.uint8), seeds % 3

    with claim.claimed("sample", JOB, [Path(manifest)]):
        for shard in SHARDS:
            write_shard(folder_of(manifest), shard, ABOUT, make)
        write_manifest(manifest, SHARDS, ABOUT)


def course():
    def step(state, iteration):
        time.sleep(0.002)
        x = state["x"] * 0.99 + torch.randn(2, 3, generator=stream("walk", 7, iteration))
        return {"x": x}, x.square().mean(1)

    return TrainingSpec({"walk": 7}, lambda: {"x": torch.zeros(2, 3)}, step, lambda state: state, 300, 50, 4)


def train(output, log):
    """A training as the command line runs it, saving at every iteration."""
    with claim.claimed("train", JOB, [Path(output)]):
        kept, losses = run(course(), state_folder(JOB), save_every_s=0.0, progress=False)
        save_arrays(output, {str(at): state["x"] for at, state in kept.items()} | {"losses": losses}, {})


def started(work, *arguments):
    torch.set_num_threads(1)  # forked children must not wait for this process's threads
    process = FORK.Process(target=work, args=arguments)
    process.start()
    return process


def contents(path):
    """Every file below a folder."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("seed", range(3))
def test_sampling_killed_at_random_moments(tmp_path, seed):
    """The result does not depend on how often it was interrupted, and a shard that is there is not drawn again."""
    sample("calm/results/seed0.json", "calm.log", 0.0)
    dice, kills = random.Random(seed), 0
    while True:
        process = started(sample, "storm/results/seed0.json", "storm.log", 0.01)
        process.join(dice.uniform(0.0, 0.08))
        if process.exitcode is not None:
            break
        os.kill(process.pid, dice.choice([signal.SIGKILL, signal.SIGTERM]))
        process.join()
        kills += process.exitcode != 0
    assert process.exitcode == 0 and kills > 0
    assert contents(tmp_path / "storm/results") == contents(tmp_path / "calm/results")
    made = len((tmp_path / "storm.log").read_text().splitlines())
    assert len(SHARDS) <= made <= len(SHARDS) + kills  # at most the one it was in
    assert not any((tmp_path / ".state/running").glob("*"))


def test_two_workers_never_make_the_same_shard(tmp_path):
    """The second waits for the first and finds everything there; the same when the first is killed half-way."""
    sample("calm/seed0.json", "calm.log", 0.0)
    for killed in (False, True):
        name = f"two{killed}"
        both = [started(sample, f"{name}/seed0.json", f"{name}.log", 0.03) for _ in range(2)]
        if killed:
            time.sleep(0.1)
            log = Path(f"{name}.log")
            first = int(log.read_text().split()[1]) if log.exists() else both[0].pid
            os.kill(first, signal.SIGKILL)
        for process in both:
            process.join()
        drawn = [line.split()[0] for line in Path(f"{name}.log").read_text().splitlines()]
        assert contents(tmp_path / name) == contents(tmp_path / "calm")
        assert len(drawn) - len(set(drawn)) <= killed, drawn  # the shard the killed one was in, at most


def test_training_killed_at_random_moments(tmp_path):
    train("calm/x.safetensors", "calm.log")
    dice, codes = random.Random(5), []
    numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
    (state_folder(JOB) / "state.safetensors").unlink()  # of the calm one
    while not codes or codes[-1] != 0:
        process = started(train, "storm/x.safetensors", "storm.log")
        process.join(dice.uniform(0.0, 0.12))
        if process.exitcode is None:
            os.kill(process.pid, numbers[len(codes) % 4])
        process.join()
        codes.append(process.exitcode)
        assert len(codes) < 100
    assert len(codes) > 4
    assert contents(tmp_path / "storm") == contents(tmp_path / "calm")


def test_what_killed_attempts_left_is_removed_and_nothing_else(tmp_path):
    output = tmp_path / "results/x.json"
    mine = [
        tmp_path / "results/.x.json.abc.tmp",
        tmp_path / "results/x/seed0/.0-4.safetensors.abc.tmp",
        state_folder(JOB) / "seed1/.state.safetensors.abc.tmp",
    ]
    others = [tmp_path / "results/.y.json.abc.tmp", tmp_path / "results/x/seed0/0-4.safetensors"]
    for path in (*mine, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with claim.claimed("sample", JOB, [output]):
        assert not any(path.exists() for path in mine) and all(path.exists() for path in others)


def test_every_job_of_the_command_line_holds_its_outputs(tmp_path, monkeypatch):
    """Not a word of a job is run while another process makes the same files."""
    monkeypatch.setattr(claim, "WAIT_S", 0.0)
    ready, over = FORK.Event(), FORK.Event()

    def other():
        with claim.claimed("table", JOB, [Path("a.csv"), Path("a.md")]):
            ready.set()
            over.wait(60)

    process = started(other)
    assert ready.wait(60)
    ran = []
    monkeypatch.setattr(running_job, "import_module", lambda name: ran.append(name))
    with pytest.raises(UserError, match=rf"table a.csv \(process {process.pid},.*working on the same files"):
        running_job.run_job("table", {"inputs": {}}, [Path("a.csv"), Path("a.md")])
    over.set()
    process.join()
    assert ran == []


@pytest.fixture
def orphaned(tmp_path, monkeypatch):
    """This process is a job whose Snakemake was killed; the job reads one file."""
    ready = FORK.Event()

    def snakemake():
        with running.hold("run-1", "run", "snakemake"):
            ready.set()
            time.sleep(600)

    process = started(snakemake)
    assert ready.wait(60)
    monkeypatch.setenv(running.RUN, "run-1")
    (tmp_path / "in").write_text("input")
    yield process
    process.kill()
    process.join()


READING = {"inputs": {"data": ["in"]}, "code": "abc"}
OUT = [Path("a.csv"), Path("b/a.md")]


def finish(job=READING):
    """Whether the job had to run; it writes its outputs if so."""
    with claim.claimed("table", job, OUT) as wanted:
        for path in OUT if wanted else ():
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"made of {job}")
    return wanted


def test_what_an_orphan_finished_is_taken_over_by_the_very_same_job(orphaned, monkeypatch, capsys):
    orphaned.kill()
    orphaned.join()
    assert finish()
    made = contents(Path("b")) | {"a.csv": OUT[0].read_bytes()}
    for path in OUT:
        path.unlink()  # as Snakemake does before it runs the job again
    monkeypatch.delenv(running.RUN)
    assert not finish() and "taken over" in capsys.readouterr().err
    assert contents(Path("b")) | {"a.csv": OUT[0].read_bytes()} == made
    assert finish()  # once


@pytest.mark.parametrize("change", ["code", "input", "kept", "absent"])
def test_what_an_orphan_finished_is_not_taken_over_by_another(orphaned, change):
    orphaned.kill()
    orphaned.join()
    assert finish()
    kept = next(Path(".state/finished").iterdir())
    if change == "input":
        Path("in").write_text("another")
    if change == "absent":
        (kept / "1").unlink()
    if change == "kept":
        (kept / "0").write_text("tampered with")
    assert finish({**READING, "code": "abd"} if change == "code" else READING)


def test_on_a_node_whose_snakemake_is_elsewhere_doubt_is_in_favour_of_keeping(orphaned, monkeypatch, capsys):
    """A cluster: jobs on a node, Snakemake on the login node; its lock file exists, but the lock cannot be seen."""
    orphaned.kill()
    orphaned.join()
    note = next(Path(".state/running").glob("run-1"))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"host": "login"}))
    assert finish() and not finish() and "taken over" in capsys.readouterr().err


def test_a_second_kill_while_it_is_taken_over_loses_nothing_either(orphaned, monkeypatch):
    """A Snakemake that is killed before it recorded restored outputs deletes them."""
    orphaned.kill()
    orphaned.join()
    assert finish()
    for snakemake in ("run-2", "run-3"):
        for path in OUT:
            path.unlink()
        monkeypatch.setenv(running.RUN, snakemake)
        assert not finish()
    running.release("run-2")
    assert list(running.kept().iterdir())  # another's by now
    running.release("run-3")
    assert not list(running.kept().iterdir())


def test_what_is_kept_survives_another_file_system_and_a_failed_return(orphaned, monkeypatch):
    orphaned.kill()
    orphaned.join()

    def another_file_system(*names):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", another_file_system)
    assert finish()
    made = OUT[0].read_bytes()
    for path in OUT:
        path.unlink()
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", lambda *names: (_ for _ in ()).throw(full))
        with pytest.raises(UserError, match="No space left"):
            finish()
    assert not finish() and OUT[0].read_bytes() == made


def test_several_gpus_take_over_before_they_start(orphaned, monkeypatch):
    """What the first of several processes kept is found by the one that would start them."""
    orphaned.kill()
    orphaned.join()
    monkeypatch.setenv("RANK", "0")
    job = READING | {"examples": "images"}
    assert finish(job)
    monkeypatch.delenv("RANK")
    monkeypatch.setattr(running_job, "processes", lambda: 2)
    monkeypatch.setattr(running_job, "share", lambda *job: pytest.fail("started again"))
    running_job.run_job("train", job, OUT)


@pytest.mark.parametrize(
    ("rule", "examples", "given", "output", "wanted"),
    [
        ("train", "images", None, "a.safetensors", 2),
        ("train", "points", None, "a.safetensors", 1),
        ("train", "points", "2", "a.safetensors", 2),
        ("sample", "images", None, "a.json", 2),
        ("sample", "points", "2", "a.safetensors", 1),
    ],
)
def test_what_several_processes_may_share(rule, examples, given, output, wanted, monkeypatch, tmp_path):
    """Two GPUs share trainings and shards of images; a training on points is shared where the user says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUIDELAB_PROCESSES", given or "")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    started = []
    monkeypatch.setattr(running_job, "share", lambda rule, job, outputs, count: started.append(count))
    monkeypatch.setattr(running_job, "claimed", lambda *job: contextlib.nullcontext(False))
    running_job.run_job(rule, {"inputs": {}, "code": "abc", "examples": examples}, [Path(output)])
    assert started == [2] * (wanted - 1)


def test_a_job_whose_snakemake_runs_keeps_no_copies(orphaned):
    assert finish() and finish()
    assert not Path(".state/finished").exists()


def test_of_processes_that_share_a_job_only_the_first_holds_it(monkeypatch):
    with claim.claimed("sample", JOB, [Path("a.json")]):
        monkeypatch.setenv("RANK", "1")
        with claim.claimed("sample", JOB, [Path("a.json")]):
            pass
