"""The copy of the project under fault injection: a plan small enough to be built often, and the processes in it."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tree import Tree

from guidelab.plan.plan import Plan
from guidelab.provenance.disk import sha256
from guidelab.spec.load import load_spec

if TYPE_CHECKING:
    from cluster_at_risk import ClusterAtRisk

# What is kept of an experiment: every kind of job that a table needs, few of its repetitions. None takes an entry away.
_SMALL = {
    "toy2d_ci": {
        "variants": {"none": {}, "dg": {"weights": [1.0]}},
        "denoisers": {
            "s": {"train": {"seeds": [0], "nimg": "64Ki"}},
            "xs": None,
            "xs_uncond": None,
            "xs_long": None,
        },
        "models": {
            "main": {"nimg": "64Ki"},
            **dict.fromkeys(
                ("weak", "blind", "small", "short", "averaged", "drop5", "drop10", "noise10", "noise20")
            ),
        },
        "discriminators": {"grade": None},
        "divergences": None,
        "evaluate": {"density": None, "select_metric": ["frechet"]},
        "paper": {"headline": ["none", "dg/w1.00"]},
    },
    "fashion_ci": {
        "variants": {"none": {}, "dg": {"weights": [1.0]}},
        "denoisers": {"xs": None, "xs_uncond": None},
        "models": dict.fromkeys(("early", "short", "small", "small_short", "blind", "drop5", "drop10")),
        "discriminators": {"grade": None},
        "divergences": None,
        "paper": {"headline": ["none", "dg/w1.00"]},
    },
}


class AtRisk(Tree):
    """A tree whose `guidelab` notes its starts and ends; see at_risk.py."""

    cluster: "ClusterAtRisk | None" = None  # where jobs go; None for this machine

    def __init__(self, root: Path, fake: bool = False, warm: bool = False):
        binaries = root.parent / f"{root.name}-bin"
        if not binaries.exists():
            binaries.mkdir()
            script = binaries / "guidelab"
            script.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "at_risk.py"}" "{binaries}" "$@"\n'
            )
            script.chmod(0o755)
        super().__init__(root, fake, warm)
        self.folder = binaries

    @property
    def patience_s(self) -> float:
        """After so many seconds a command hangs; Slurm alone lets a requeued job wait two minutes."""
        return 1800.0 if self.cluster else 600.0

    def reduce(self, experiment: str) -> None:
        """Leave a few variants at one weight each and no figures: what the table needs."""
        self.keep(experiment, **_SMALL[experiment])


@dataclass(frozen=True)
class Process:
    """A process that works in the tree."""

    pid: int
    parent: int
    command: str


def processes(root: Path) -> list[Process]:
    """All whose working folder is the tree, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "cwd").readlink() != root:
                continue
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if status[0] != "Z":
            found.append(Process(int(entry.name), int(status[1]), command))
    return found


def targets(root: Path, experiment: str) -> list[str]:
    """The files that are compared: the table and all it is made from."""
    return list(Plan(load_spec(root / "params.yaml")).experiment(experiment).outputs("table"))


def stage(root: Path, experiment: str) -> str:
    """The manifest of the stage that `dvc repro` makes."""
    return Plan(load_spec(root / "params.yaml")).stage(experiment, "train").manifest


def contents(root: Path, experiment: str) -> dict[str, str]:
    """sha256 of every result there is, by path; left out are the records of jobs, and what they took."""
    found = {}
    for top in (root / "results" / experiment, root / "results/tables"):
        for path in sorted(top.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not re.search("/(manifests|provenance|runs)/", name):
                found[name] = sha256(path)
    return found


def wipe(root: Path) -> None:
    """Take all results away, as before the first run."""
    shutil.rmtree(root / "results", ignore_errors=True)


def end_all(root: Path) -> None:
    """End all that works in the tree; again, because a shell may have started the next one meanwhile."""
    for _ in range(20):
        left = processes(root)
        for process in left:
            subprocess.run(["kill", "-9", str(process.pid)], check=False, stderr=subprocess.DEVNULL)
        if not left:
            return
        time.sleep(0.2)
    print(f"still there: {processes(root)}", file=sys.stderr)
