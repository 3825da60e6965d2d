"""Planned stops: which commands have them, and what becomes of a job that stopped."""

import ast
import os
import signal
import time
from pathlib import Path

import pytest

from guidelab.plan.rules import RULES
from guidelab.runtime import planned as module
from guidelab.runtime.planned import planned
from guidelab.train.state import state_folder
from guidelab.train.stop import Stopped

JOBS = Path(module.__file__).parents[1] / "jobs"


def test_every_command_that_keeps_a_state_has_planned_stops():
    """The table of rules says which do; every module that drops a state is one that such a rule runs."""
    found = set()
    for path in JOBS.rglob("*.py"):
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        if "drop_state" in names:
            found.add(path.stem.removeprefix("image_"))  # of the same rule
    assert found == {rule.entry for rule in RULES.values() if rule.resumable}


class Slurm:
    """Instead of a Slurm: records queries, and when signals are handled."""

    def __init__(self, monkeypatch, requeues=True):
        self.said = []
        monkeypatch.setenv("SLURM_JOB_ID", "5")
        monkeypatch.setenv("GUIDELAB_SUBMITTED_FROM", "login")
        monkeypatch.setattr(module, "again", lambda job: self.said.append(f"requeue {job}") or requeues)
        monkeypatch.setattr("guidelab.runtime.slurm.queue.config", lambda name: "proctrack/linuxproc")
        self.time = [(1000, 3600)]
        monkeypatch.setattr("guidelab.runtime.slurm.queue.time_of", lambda job: self.time[0])


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped(job, outputs, save):
    with pytest.raises(Stopped), planned("train", job, outputs):
        if save:
            folder = state_folder(job)
            folder.mkdir(parents=True)
            (folder / "state.safetensors").touch()
        signal.raise_signal(signal.SIGTERM)
        time.sleep(5)


def test_a_job_that_got_further_goes_back_into_the_queue(monkeypatch, tmp_path):
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path))
    slurm = Slurm(monkeypatch)
    stopped({"seeds": [0]}, [tmp_path / "a.safetensors"], save=True)
    assert slurm.said == ["requeue 5"]


def test_a_job_with_a_closed_standard_error_is_requeued_too(monkeypatch, tmp_path):
    """Where every process of a job is signalled, the `tee` of its log ends first."""
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path))
    slurm = Slurm(monkeypatch)
    with pytest.raises(BrokenPipeError), planned("train", {}, [tmp_path / "a"]):
        folder = state_folder({})
        folder.mkdir(parents=True)
        (folder / "state.safetensors").touch()
        raise BrokenPipeError
    assert slurm.said == ["requeue 5"]


def test_a_job_that_got_no_further_fails_and_is_given_more_time(monkeypatch, tmp_path, capsys):
    """Else one whose limit is too short for a single step would go round for ever."""
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path))
    slurm = Slurm(monkeypatch)
    earlier = (
        state_folder({"seeds": [0]}) / "state.safetensors"
    )  # of an attempt before; the file server's clock is ahead
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    os.utime(earlier, (time.time() + 3600,) * 2)
    stopped({"seeds": [0]}, [tmp_path / "a.safetensors"], save=False)
    assert slurm.said == [] and "nothing new was saved" in capsys.readouterr().err


def test_a_site_that_forbids_requeues_gets_a_message(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(tmp_path))
    Slurm(monkeypatch, requeues=False)
    stopped({"seeds": [0]}, [tmp_path / "a.safetensors"], save=True)
    assert "this cluster does not requeue" in capsys.readouterr().err


def test_a_second_signal_does_not_break_off_what_the_first_one_ends(monkeypatch, tmp_path):
    Slurm(monkeypatch)
    saved = []
    with pytest.raises(Stopped), planned("train", {}, [tmp_path / "a"]):
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(5)
        finally:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            saved.append("all of it")
    assert saved


def test_a_slurm_that_does_not_answer_at_first_is_queried_again(monkeypatch, tmp_path):
    monkeypatch.setenv("GUIDELAB_MARGIN_S", "900")
    Slurm(monkeypatch)
    answers = iter([None, None, (899, 3600), (899, 3600)])
    monkeypatch.setattr("guidelab.runtime.slurm.queue.time_of", lambda job: next(answers))
    monkeypatch.setattr("guidelab.runtime.slurm.queue.state_of", lambda job: "")
    monkeypatch.setattr("guidelab.runtime.slurm.stops.ASK_AGAIN_S", 0.01)
    with pytest.raises(Stopped), planned("train", {}, [tmp_path / "a"]):
        time.sleep(30)


def test_a_job_is_stopped_a_margin_before_its_time_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("GUIDELAB_MARGIN_S", "900")
    slurm = Slurm(monkeypatch)
    slurm.time[0] = (901, 3600)
    with pytest.raises(Stopped), planned("train", {}, [tmp_path / "a"]):
        slurm.time[0] = (899, 3600)
        time.sleep(30)


def test_a_job_whose_limit_was_extended_keeps_running(monkeypatch, tmp_path):
    monkeypatch.setenv("GUIDELAB_MARGIN_S", "900")
    slurm = Slurm(monkeypatch)
    slurm.time[0] = (900, 3600)
    asked = []
    monkeypatch.setattr(
        "guidelab.runtime.slurm.queue.time_of", lambda job: asked.append(job) or ((900, 3600) if len(asked) == 1 else (9000, 9999))
    )  # fmt: skip
    with planned("train", {}, [tmp_path / "a"]):
        until = time.monotonic() + 30
        while len(asked) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("rule", "output", "minds"),
    [("train", "a.safetensors", True), ("sample", "a.json", True), ("measure", "a.csv", False)],
)
def test_jobs_that_cannot_resume_are_not_stopped(monkeypatch, tmp_path, rule, output, minds):
    Slurm(monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    with planned(rule, {}, [tmp_path / output]):
        assert (signal.getsignal(signal.SIGTERM) != before) is minds


def test_nothing_changes_outside_slurm(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with planned("train", {}, [tmp_path / "a"]):
        assert signal.getsignal(signal.SIGTERM) == before
