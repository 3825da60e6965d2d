"""dvc.lock in a clone that lacks files: present files get new hashes, absent or incomplete ones keep theirs."""

import shutil
import subprocess
import sys

import pytest
import yaml

from guidelab.accept.locks import commit

FILES = ("results/e/data/a.csv", "results/e/data/b.csv", "results/e/models/a.csv")


@pytest.fixture
def locked(tmp_path):
    """A pipeline of two stages whose results and lock are those of the code `1`."""
    stages = {
        "data": {"cmd": "true", "deps": ["src/guidelab"], "outs": [{"results/e/data": {"persist": True}}]},
        "train": {"cmd": "true", "deps": ["src/guidelab", "results/e/data"], "outs": [{"results/e/models": {"persist": True}}]},
    }  # fmt: skip
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for path in (*FILES, "src/guidelab/code.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q"), (sys.executable, "-m", "dvc", "commit", "-q", "-f")):  # fmt: skip
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


def lock(root):
    """The hashes of dvc.lock by stage and path."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    return {(name, x["path"]): x["md5"] for name, s in stages.items() for x in s["deps"] + s["outs"]}


def test_the_present_code_is_locked_and_absent_files_keep_their_hashes(locked):
    before = lock(locked)
    (locked / "src/guidelab/code.py").write_text("2")
    (locked / FILES[1]).unlink()
    shutil.rmtree(locked / "results/e/models")
    commit(locked, ["data", "train"], FILES)
    after = lock(locked)
    assert {key for key in before if before[key] != after[key]} == {
        ("data", "src/guidelab"),
        ("train", "src/guidelab"),
    }


def test_a_stage_that_is_not_named_keeps_its_lock_and_whole_folders_are_hashed_again(locked):
    before = lock(locked)
    (locked / "src/guidelab/code.py").write_text("2")
    (locked / FILES[2]).write_text("2")
    commit(locked, ["train"], FILES)
    after = lock(locked)
    assert {key for key in before if before[key] != after[key]} == {
        ("train", "src/guidelab"),
        ("train", "results/e/models"),
    }
