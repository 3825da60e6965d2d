"""Find the code that made a job: the newest commit whose own plan gives the job its recorded payload."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from guidelab.accept.changes import Change
from guidelab.errors import UserError

_CARRIED = ("src/guidelab", "workflow", "Snakefile")
SEARCHED = 60  # commits that touch code or parameters
# Run with the code of a commit: these three names are what old and new code have to agree on.
_PROBE = """
import json, sys
from pathlib import Path
from guidelab.cli.commands import load_plan
from guidelab.cli.trace import told_now
now = told_now(load_plan(Path(sys.argv[1])))
json.dump({path: now(path) for path in json.load(sys.stdin)}, sys.stdout)
"""


class History:
    """Commits of the project's folder, unpacked below another folder when they are needed."""

    def __init__(self, root: Path, place: Path, params: str):
        self.root, self.place, self.params = root, place, params

    def git(self, *arguments: str) -> bytes:
        """What a git command prints.

        Raises:
            UserError: it fails, or git is not here.
        """
        try:
            done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, check=False)
        except OSError as error:
            raise UserError(
                f"guidelab accept: git cannot be started ({error.strerror}); the old code is read from git. Install git, then run again."
            ) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(f"git {' '.join(arguments[:2])}: {said[-1] if said else 'failed'}")
        return done.stdout

    def commit(self, name: str) -> str:
        """The full hash of a commit.

        Raises:
            UserError: no such commit.
        """
        try:
            return self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
        except UserError:
            raise UserError(
                f"--old: no commit {name!r} in this repository; wanted one that `git log` lists"
            ) from None

    def unpacked(self, commit: str) -> Path:
        """A folder with the code and parameters of a commit."""
        folder = self.place / commit
        if not folder.is_dir():
            folder.mkdir(parents=True)
            with tarfile.open(
                fileobj=BytesIO(self.git("archive", commit, "--", *_CARRIED, self.params))
            ) as archive:
                archive.extractall(folder, filter="data")
        return folder

    def _candidates(self) -> Iterator[str]:
        """Commits from the newest back, one for each state of code and parameters."""
        log = (
            self.git("log", f"-n{SEARCHED}", "--format=%H", "--", "src/guidelab", self.params)
            .decode()
            .split()
        )
        seen: set[str] = set()
        for commit in log:
            state = self.git("ls-tree", commit, "src/guidelab", self.params).decode()
            if state not in seen:
                seen.add(state)
                yield commit

    def of(self, wanted: Sequence[Change], old: str | None, earlier: Sequence[str]) -> dict[str, str]:
        """The commit whose code ran each job, by the job's name; jobs without one are left out.

        Args:
            wanted: finished jobs.
            old: the only commit to look at.
            earlier: commits whose code earlier acceptances replayed; they come before the newest.
        """
        found: dict[str, str] = {}
        for commit in [self.commit(old)] if old else chain(earlier, self._candidates()):
            left = [change for change in wanted if change.name not in found]
            if not left:
                break
            old_names = {change.name: change.was.get(change.name, change.name) for change in left}
            planned = self._plans(commit, old_names.values())
            found |= {c.name: commit for c in left if planned.get(old_names[c.name]) == c.ran}
        return found

    def _plans(self, commit: str, paths: Iterable[str]) -> Mapping[str, Any]:
        """The payloads that a commit's own plan gives the jobs of some files; none where it has no plan."""
        try:
            folder = self.unpacked(commit)
        except UserError:  # a commit before there was code
            return {}
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, self.params], cwd=folder, env=environment(folder), check=False,
            input=json.dumps(list(paths)), capture_output=True, text=True,
        )  # fmt: skip
        try:
            planned: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return planned


def environment(folder: Path) -> dict[str, str]:
    """Environment variables for a process that runs the code of a folder and leaves nothing in it."""
    apart = ("GUIDELAB", "SNAKEMAKE", "SLURM", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(apart)}
    return kept | {
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
