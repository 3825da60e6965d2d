"""Replay chosen jobs with the old and the new code and collect a verdict for each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from guidelab.accept.changes import Change
from guidelab.accept.history import History
from guidelab.accept.judgement import SAME, Shown, judge
from guidelab.accept.parts import Part, whole
from guidelab.accept.replay import Replays, copy_of
from guidelab.provenance.disk import sha256


class Trials:
    """Runs both codes on this machine.

    Args:
        root: the project's folder. place: an empty folder. history: the old code. log: is given one line for each replay.
    """

    def __init__(self, root: Path, place: Path, history: History, log: Callable[[str], None]):
        self.root, self.place, self.history, self.log = root, place, history, log
        self._made = place / "made-again"

    def make(self, jobs: Sequence[Change], commits: Mapping[str, str]) -> dict[str, str]:
        """Make absent inputs again with the old code.

        Args:
            jobs: whose files are absent, each after those it reads. commits: see `run`.
        Returns:
            jobs that do not give the recorded bytes here, by name, and the reason.
        """
        bad: dict[str, str] = {}
        for commit, some in groupby(jobs, lambda job: commits[job.name]):
            these = list(some)
            code = self.history.unpacked(commit)
            replays = Replays(code, self.place / "of-old", (self.root, self._made), old=True)
            with replays.start([whole(job) for job in these], self._made) as running:
                results = running.end(shown=True)
            for job, done in zip(these, results, strict=True):
                files = {path: done.file(path) for path in job.outputs}
                apart = [
                    p for p, sha in job.outputs.items() if not files[p].is_file() or sha256(files[p]) != sha
                ]
                if done.failed or apart:
                    why = done.failed or f"{apart[0]} has other bytes than recorded"
                    bad[job.name] = (
                        f"{job.name} is not here (dvc pull {job.name}); made again with the old code: {why}"
                    )
                self.log(f"  {job.rule} {job.name} (made again): {'refused' if job.name in bad else SAME}")
        return bad

    def run(
        self, parts: Sequence[Part], commits: Mapping[str, str], rtol: float | None, renamed: bool
    ) -> Iterator[Shown]:  # fmt: skip
        """Replay parts; a shortened replay that decides nothing is followed by the whole job.

        Args:
            parts: of jobs. commits: the old code of each job, by the job's name.
            rtol, renamed: see `judgement.judge`.
        """
        here = (self.root, self._made)
        new, todo = copy_of(self.root, self.place) if parts else self.place, list(parts)
        while todo:
            again: list[Part] = []
            for commit in dict.fromkeys(commits[p.change.name] for p in todo):
                these = [p for p in todo if commits[p.change.name] == commit]
                old = Replays(self.history.unpacked(commit), self.place / "of-old", here, old=True)
                now = Replays(new, self.place / "of-new", here, old=False)
                with old.start(these) as before, now.start(these) as after:
                    results = list(zip(these, before.end(shown=True), after.end(), strict=True))
                for p, first, second in results:
                    shown = judge(p, commit, first, second, self.root, rtol, renamed)
                    self.log(f"  {p.change.rule} {p.change.name} ({p.kind}): {shown.result}")
                    if shown.again:
                        again.append(whole(p.change))
                    else:
                        yield shown
            todo = again
