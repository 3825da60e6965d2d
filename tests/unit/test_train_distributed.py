"""Real processes under torchrun, on the CPU."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import test_train_toy as points
import torch
from training_cases import train

from guidelab.errors import UserError
from guidelab.io import load_arrays
from guidelab.train.distributed import TrainingGroup, joined

# Each process trains the toy net, and images three times: to the end; until the second process alone gets a stop signal, then to the end;
# and slowly, until the complete group gets a stop signal from outside.
SCRIPT = """
    import os, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_train_toy as points
    from training_cases import Trainer, train
    from guidelab.train.stop import Stopped
    from guidelab.io import save_arrays
    from guidelab.train.distributed import joined

    here, plain = Path(sys.argv[2]), Trainer.step
    config = {"nimg": 96 * 8, "snapshot_nimg": 48 * 8, "microbatch": 2}

    def go(folder, group):
        found = train(here / folder, "edm2", group=group, **config)
        if group.leader:
            save_arrays(here / f"{folder}.safetensors", found[0], {"curve": found[2]})
        else:
            assert not found[0] and not found[2]

    def with_stop(self, state, iteration):
        if iteration == 5 and self.group.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, state, iteration)

    def slow(self, state, iteration):
        if iteration == 3 and self.group.leader:
            (here / "begun").touch()
        time.sleep(0.05)
        return plain(self, state, iteration)

    with joined() as group:
        if sys.argv[3] == "resume":
            go("outside", group)
            sys.exit()
        toy = points.train(points.CONFIG, [0], here / "toy", group=group)
        if group.leader:
            save_arrays(here / "toy.safetensors", toy[0], {"curve": toy[2]})
        go("whole", group)
        Trainer.step = with_stop
        try:
            go("inside", group)
            raise SystemExit("was not stopped")
        except Stopped as error:
            (here / f"inside{group.rank}.txt").write_text(str(error))
        group.stop_requested.clear()
        Trainer.step = plain
        go("inside", group)
        Trainer.step = slow
        try:
            go("outside", group)
        except Stopped as error:
            (here / f"outside{group.rank}.txt").write_text(str(error))
            raise SystemExit(75)
"""


def launch(here: Path, mode: str) -> "subprocess.Popen[str]":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (here / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    command += [str(here / "script.py"), str(Path(__file__).parent), str(here), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(tmp_path: Path) -> None:
    group = launch(tmp_path, "train")
    try:
        while not (tmp_path / "begun").exists():
            assert group.poll() is None, group.communicate()[0]
            time.sleep(0.05)
        group.send_signal(signal.SIGTERM)
        said = group.communicate(timeout=240)[0]
    finally:
        group.kill()
    assert group.returncode != 0
    stopped = [(tmp_path / f"{name}.txt").read_text() for name in ("inside0", "outside0")]
    assert "stopped after 6 of 96" in stopped[0], said
    assert "of 96 iterations" in stopped[1], said
    for name in ("inside1", "outside1"):
        assert "stopped together with process 0" in (tmp_path / f"{name}.txt").read_text()
    again = launch(tmp_path, "resume")
    assert again.wait(timeout=240) == 0, again.communicate()[0]

    whole, about = load_arrays(tmp_path / "whole.safetensors")
    for name in ("inside", "outside"):  # stopped and resumed, bit for bit
        found, other = load_arrays(tmp_path / f"{name}.safetensors")
        assert found.keys() == whole.keys() and other == about
        assert all(torch.equal(found[key], value) for key, value in whole.items())
    one, _, curve = train(tmp_path / "one", "edm2", nimg=96 * 8, snapshot_nimg=48 * 8)
    assert one.keys() == whole.keys()
    for at in ("ema0.050/nimg384", "ema0.100/nimg384", "ema0.050/nimg768", "ema0.100/nimg768"):
        names = [name for name in one if at in name]
        mine, theirs = (torch.cat([side[name].reshape(-1) for name in names]) for side in (one, whole))
        assert (mine - theirs).norm() <= 1e-5 * mine.norm(), at
    shared, toy = load_arrays(tmp_path / "toy.safetensors")
    alone, _, losses = points.train(points.CONFIG, [0], tmp_path / "alone")  # by the toy net's kernels
    assert shared.keys() == alone.keys() and toy["curve"][-1][3] == pytest.approx(losses[-1][3], rel=1e-4)
    assert all((shared[key] - value).norm() <= 1e-3 * value.norm() for key, value in alone.items())
    for key, value in one.items():  # scalars near 0 differ by more than their own rounding
        assert (whole[key] - value).norm() <= 1e-5 * value.norm() + 1e-5, key
    assert [row[3] for row in about["curve"]] == pytest.approx([row[3] for row in curve], rel=1e-5)


def test_shares_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [list(TrainingGroup(rank, 2).rows(6)) for rank in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(UserError, match="batch 7 cannot be shared equally by 2 processes"):
        TrainingGroup(0, 2).rows(7)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is 2 but 'RANK' is not set"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as group:
        assert group.leader and group.size == 1
        value: Any = torch.ones(1, dtype=torch.float64)
        assert group.total(value) is value
