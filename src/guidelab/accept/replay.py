"""Run jobs again with the code of a given folder, each in a separate process and folder with linked inputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from guidelab.accept.history import environment
from guidelab.accept.parts import Part
from guidelab.errors import UserError

# Forks once for each job: torch is imported once, and jobs share no memory. `run_job` is what old and new code
# have to agree on.
_DRIVER = """
import importlib.util, json, os, sys
from pathlib import Path
tasks = json.load(sys.stdin)
from guidelab.cli.runtime import limit_threads
limit_threads(1)
import guidelab.cli.app, guidelab.digest, pandas, torch
moved = importlib.util.find_spec("guidelab.cli.run")  # older code has `run_job` in app
runner = importlib.import_module("guidelab.cli.run" if moved else "guidelab.cli.app")
assert Path(guidelab.digest.__file__).is_relative_to(sys.argv[1]), guidelab.digest.__file__
for task in tasks:
    child = os.fork()
    if not child:
        os.chdir(task["folder"])
        log = os.open("replay.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        status = 1
        try:
            runner.run_job(task["rule"], task["job"], [Path(path) for path in task["outputs"]])
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    print(int(bool(status)), flush=True)
"""


@dataclass(frozen=True)
class Replayed:
    """The files of one replay or, if it failed, the last line of the job's output."""

    folder: Path
    failed: str = ""
    was: Mapping[str, str] = field(default_factory=dict)

    def file(self, path: str) -> Path:
        """A file of the replay by its planned path."""
        return self.folder / self.was.get(path, path)

    def shards(self, manifest: str) -> dict[str, Path]:
        """The shards of a manifest, by their names below it."""
        folder = self.file(manifest).with_suffix("")
        return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*.safetensors"))}


class Replays:
    """Runs parts of jobs with the code of one folder.

    Args:
        code: the folder. place: for what the jobs write. roots: folders with their inputs, the first one that has a file counts.
        old: the payloads that ran are given to the jobs, else the planned ones.
    """

    def __init__(self, code: Path, place: Path, roots: Sequence[Path], old: bool):
        self.code, self.place, self.roots, self.old = code, place, roots, old
        place.mkdir(parents=True, exist_ok=True)

    def start(self, parts: Sequence[Part], into: Path | None = None) -> "Running":
        """Begin to run some parts, one after the other, in one process, each in a folder of its own or in one given.

        Old and new code get the recorded digest, because it is written into output files; results do not depend on it.
        """
        tasks, replays = [], []
        for part in parts:
            folder = into or Path(tempfile.mkdtemp(dir=self.place))
            job = dict(part.ran) if self.old else {**part.now, "code": part.ran.get("code")}
            was = part.change.was if self.old else {}
            now = {old: new for new, old in was.items()}
            for path in (path for paths in job["inputs"].values() for path in paths):
                self._link(folder / path, now.get(path, path))
            tasks.append(
                {
                    "rule": part.change.rule if self.old else part.change.rule_now,
                    "job": job,
                    "outputs": [was.get(path, path) for path in part.change.outputs],
                    "folder": str(folder),
                }
            )
            replays.append(Replayed(folder, was=was))
        more = {
            "GUIDELAB_STATE_DIR": str(self.place / "state"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.place / "inductor"),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(self.code)], cwd=self.code, env=environment(self.code) | more,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(tasks))
        process.stdin.close()
        return Running(process, replays)

    def _link(self, link: Path, path: str) -> None:
        """Link an input into a job's folder, a manifest together with its shards."""
        for suffix in ("", ".json") if path.endswith(".json") else (None,):
            name, place = (
                (path, link) if suffix is None else (Path(path).with_suffix(suffix), link.with_suffix(suffix))
            )
            found = [(root / name).resolve() for root in self.roots if (root / name).exists()]
            if found and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(found[0])


@dataclass(frozen=True)
class Running:
    """A process that runs replays."""

    process: "subprocess.Popen[str]"
    replays: Sequence[Replayed]

    def end(self, shown: bool = False) -> list[Replayed]:
        """Wait for it, with a progress bar if `shown`.

        Raises:
            UserError: the code cannot be started at all.
        """
        assert self.process.stdout is not None and self.process.stderr is not None
        lines = tqdm(self.process.stdout, "replays", len(self.replays), leave=False, disable=not shown)
        status = [line.strip() for line in lines]
        said = self.process.stderr.read().strip().splitlines()
        if self.process.wait() or len(status) != len(self.replays):
            raise UserError(
                f"guidelab accept: jobs cannot be run again here: {said[-1] if said else 'the process ended'}"
            )
        pairs = zip(self.replays, status, strict=True)
        return [replace(done, failed=_last(done.folder) if s != "0" else "") for done, s in pairs]

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it and the job it runs; for an interrupted command."""
        if self.process.poll() != 0:  # one that was killed may have left its job
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _last(folder: Path) -> str:
    lines = (folder / "replay.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the job ended without a message"


def copy_of(root: Path, place: Path) -> Path:
    """The new code as it is now, so that an edit during the replays changes nothing."""
    folder = place / "new"
    shutil.copytree(
        root / "src" / "guidelab", folder / "src" / "guidelab", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder
