"""A full disk: the message names it, finished outputs stay, and with free space the same command continues."""

import errno
import subprocess
from pathlib import Path

import pytest
import torch

from guidelab.errors import UserError
from guidelab.io.shards import folder_of, split, write_manifest, write_shard
from guidelab.runtime.running import hold
from guidelab.train.loop import TrainingSpec, run
from guidelab.train.streams import stream

FULL = "No space left on device"


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


def course(hook=lambda iteration: None):
    def step(state, iteration):
        hook(iteration)
        x = state["x"] * 0.99 + torch.randn(64, 64, generator=stream("walk", 7, iteration))
        return {"x": x}, x.square().mean().reshape(1)

    return TrainingSpec({"walk": 7}, lambda: {"x": torch.zeros(64, 64)}, step, lambda state: state, 20, 5, 4)


def test_a_training(disk, tmp_path):
    straight = run(course(), tmp_path / "straight", progress=False)
    with pytest.raises(UserError, match=rf"state\.safetensors: cannot be written \({FULL}\)") as caught:
        run(
            course(lambda at: fill(disk) if at == 7 else None),
            disk / "state",
            save_every_s=0.0,
            progress=False,
        )
    assert "run the same command again" in str(caught.value)
    (disk / "filler").unlink()
    at = []
    kept, losses = run(course(at.append), disk / "state", save_every_s=0.0, progress=False)
    assert at[0] == 7 and torch.equal(losses, straight[1])  # nothing that was saved is lost
    assert all(torch.equal(kept[i]["x"], straight[0][i]["x"]) for i in straight[0])
    assert not list(disk.rglob("*.tmp"))


def test_samples(disk):
    shards, made, room = split(0, "select", (0, 19), 5), [], [False]

    def make(first, last):
        made.append(first)
        if first == 10 and not room[0]:
            fill(disk)
        return torch.full((last - first + 1, 1, 64, 64), first, dtype=torch.uint8), None

    def job():
        for shard in shards:
            write_shard(folder_of(disk / "seed0.json"), shard, {}, make)
        write_manifest(disk / "seed0.json", shards, {})

    with pytest.raises(UserError, match=rf"10-14\.safetensors: cannot be written \({FULL}\)"):
        job()
    (disk / "filler").unlink()
    made.clear()
    there = {path.name for path in disk.rglob("*.safetensors")}
    assert there == {"0-4.safetensors", "5-9.safetensors"} and not list(disk.rglob("*.tmp"))
    room[:] = [True]
    job()
    assert made == [10, 15] and (disk / "seed0.json").is_file()


def test_the_start_of_a_job(disk, monkeypatch):
    monkeypatch.setenv("GUIDELAB_STATE_DIR", str(disk))
    (disk / "running").mkdir()
    filler = fill(disk)
    with pytest.raises(UserError, match=rf"{FULL}.*Free some space"), hold("job-a", "job", "x"):
        pass
    filler.unlink()
    with hold("job-a", "job", "x"):
        assert [path.name for path in (disk / "running").iterdir()] == ["job-a"]
