"""A copy of the project on a test cluster; the command records which job ran where and when."""

import importlib.util
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tree import ROOT, Tree

PATIENCE_S = 900.0
_FAKE = str(Path(__file__).parent / "fake_guidelab.py")
_TRAINING = str(Path(__file__).parent / "slow_training.py")
_RULE = f'rule=$("{sys.executable}" "{Path(__file__).parent / "rule_of.py"}" "$@")'
_NOTED = """#!/bin/sh
{rule}
note() {{ echo "$1 $2 ${{SLURM_JOB_ID-none}} ${{SLURMD_NODENAME-none}} ${{CUDA_VISIBLE_DEVICES-none}} $(date +%s.%N)" >> {log}; }}
note begin "$rule"
"{python}" {command} "$@"; code=$?
note end "$rule"; exit $code
"""
_HELD = """#!/bin/sh
{rule}
echo "$rule $SLURM_JOB_ID" >> {log}.begun
while [ -e {hold} ]; do sleep 0.1; done
if [ -e {fail} ]; then rm {fail}; exit 1; fi
exec "{python}" {command} "$@"
"""


_SLOW = """#!/bin/sh
{rule}
left() {{ squeue -h -j $SLURM_JOB_ID -o %L | awk -F: '{{print $(NF - 1) * 60 + $NF}}'; }}
[ "$rule" = train ] || exec "{python}" {fake} "$@"
export GUIDELAB_MARGIN_S=$(($(left) - {lasts}))
exec "{python}" {command} "$@"
"""


def cluster_module() -> ModuleType:
    """tests/cluster/slurm.py."""
    if "guidelab_test_cluster" not in sys.modules:
        path = ROOT / "tests/cluster/slurm.py"
        spec = importlib.util.spec_from_file_location("guidelab_test_cluster", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["guidelab_test_cluster"] = module
        spec.loader.exec_module(module)
    return sys.modules["guidelab_test_cluster"]


@dataclass(frozen=True)
class Ran:
    """One call of `guidelab` by a job: rule, Slurm job, node, its GPUs and seconds since 1970."""

    rule: str
    job: str
    node: str
    gpus: str
    begin: float
    end: float


class SlurmTree(Tree):
    """A tree whose jobs go to the test cluster, polled every two seconds."""

    @classmethod
    def make(cls, root: Path, experiment: str = "toy2d_ci", more: Sequence[str] = ()) -> "SlurmTree":
        """With the real command, and notes of who ran."""
        tree: Any = cls.new(root, False, experiment, more=more)
        tree.command(_NOTED, "-m guidelab.cli.app")
        return tree

    @classmethod
    def held(cls, root: Path) -> "SlurmTree":
        """With a command that takes milliseconds, and waits as long as `hold` is there."""
        tree: Any = cls.new(root, True)
        tree.command(_HELD, _FAKE)
        tree.hold.touch()
        return tree

    @classmethod
    def slow(cls, root: Path, lasts: int) -> "SlurmTree":
        """Trainings take thirty seconds and no processor, and stop `lasts` seconds after they began."""
        tree: Any = cls.new(root, True)
        tree.command(_SLOW.replace("{lasts}", str(lasts)).replace("{fake}", _FAKE), _TRAINING)
        return tree

    @property
    def binaries(self) -> Path:
        return self.root.parent / f"{self.root.name}-bin"

    @property
    def hold(self) -> Path:
        return self.binaries / "hold"

    @property
    def fail(self) -> Path:
        return self.binaries / "fail"

    def command(self, script: str, command: str) -> None:
        """What `guidelab` is in this tree."""
        path = self.binaries / "guidelab"
        text = script.format(
            rule=_RULE, python=sys.executable, log=self.log, hold=self.hold, fail=self.fail, command=command
        )
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.environment["GUIDELAB_SLURM_POLL_S"] = "2"

    def ran(self) -> list[Ran]:
        """All calls that ended, in the order they did."""
        begun: dict[tuple[str, str], float] = {}
        found = []
        for line in self.log.read_text().splitlines():
            what, rule, job, node, gpus, at = line.split()
            if what == "begin":
                begun[rule, job] = float(at)
            else:
                found.append(Ran(rule, job, node, gpus, begun.pop((rule, job)), float(at)))
        return found

    def begun(self) -> int:
        """How often a held command was begun."""
        path = Path(f"{self.log}.begun")
        return len(path.read_text().splitlines()) if path.exists() else 0

    @contextmanager
    def started(self, *words: str, **more: str) -> "Iterator[Started]":
        """`snakemake --profile slurm ...` in the background; ended with the block in any case."""
        out = self.binaries / f"out-{time.monotonic_ns()}.log"
        with out.open("w") as file:
            process = subprocess.Popen(
                ["snakemake", "--profile", "slurm", *words],
                cwd=self.root,
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=cluster_module().dies_with_parent,
            )
        run = Started(process, out)
        try:
            yield run
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@dataclass(frozen=True)
class Started:
    """A Snakemake in the background."""

    process: "subprocess.Popen[bytes]"
    out: Path

    def said(self) -> str:
        return self.out.read_text()

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait for something to be true; fail with what was said if it never is, or if Snakemake ends before."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if value := found():
                return value
            assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
            time.sleep(0.2)
        raise AssertionError(
            f"not in {PATIENCE_S} s: {what}\n{self.said()}\n{slurm('squeue', '--states=all')}"
        )

    def ends(self) -> int:
        """Its exit status."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.said()}\n{slurm('squeue', '--states=all')}") from None


def slurm(*command: str) -> str:
    """What a command of Slurm says."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def jobs(states: str, what: str, folder: Path) -> list[str]:
    """One field of the jobs submitted from a folder, in the order of their numbers."""
    queue = slurm("squeue", "--noheader", f"--states={states}", "--sort=i", f"--format={what}|%Z")
    return [line.rsplit("|", 1)[0].strip() for line in queue.splitlines() if line.endswith(f"|{folder}")]


def restarts(job: str) -> int:
    """How often Slurm has started a job again."""
    found = re.search(r"Restarts=(\d+)", slurm("scontrol", "show", "job", job))
    return int(found.group(1)) if found else 0
