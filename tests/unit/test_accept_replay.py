"""Processes that `guidelab accept` starts end with it."""

import time
from pathlib import Path

from guidelab.accept import replay

_FORKS = """
import os, sys, time
sys.stdin.read()
child = os.fork()
if child:
    print(child, flush=True)
    os.waitpid(child, 0)
time.sleep(600)
"""


def assert_ends(job):
    deadline = time.monotonic() + 10
    while job.is_dir() and "Z" not in (job / "stat").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not job.is_dir() or "Z" in (job / "stat").read_text()


def test_no_replayed_job_outlives_an_interrupted_acceptance(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_DRIVER", _FORKS)
    running = replay.Replays(tmp_path, tmp_path / "place", [tmp_path], old=True).start([])
    job = Path(f"/proc/{running.process.stdout.readline().strip()}")
    assert job.is_dir()
    running.kill()
    assert_ends(job)
    running.kill()  # again does nothing


def test_no_job_outlives_the_process_that_replays_it(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "_DRIVER", _FORKS)
    running = replay.Replays(tmp_path, tmp_path / "place", [tmp_path], old=True).start([])
    job = Path(f"/proc/{running.process.stdout.readline().strip()}")
    running.process.kill()
    running.process.wait()
    assert job.is_dir()
    running.kill()
    assert_ends(job)
