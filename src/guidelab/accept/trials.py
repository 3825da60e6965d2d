"""Replays of chosen jobs by the old and the new code, side by side, and what each shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from guidelab.accept.history import History
from guidelab.accept.judgement import Shown, judge
from guidelab.accept.parts import Part, whole
from guidelab.accept.replay import Replays, copy_of


class Trials:
    """Runs both codes on this machine.

    Args:
        root: the project's folder. place: an empty folder. history: the old code.
    """

    def __init__(self, root: Path, place: Path, history: History):
        self.root, self.place, self.history = root, place, history

    def run(
        self, parts: Sequence[Part], commits: Mapping[str, str], rtol: float | None, renamed: bool, log: Callable[[str], None]
    ) -> Iterator[Shown]:  # fmt: skip
        """Replay parts; a shortened replay that decides nothing is followed by the whole job.

        Args:
            parts: of jobs. commits: the old code of each job, by the job's name.
            rtol, renamed: see `judgement.judge`.
            log: is given one line for each replay.
        """
        new, todo = copy_of(self.root, self.place) if parts else self.place, list(parts)
        while todo:
            again: list[Part] = []
            for commit in dict.fromkeys(commits[p.change.name] for p in todo):
                these = [p for p in todo if commits[p.change.name] == commit]
                old = Replays(
                    self.history.unpacked(commit), self.place / "of-old", self.root, old=True
                ).start(these)
                now = Replays(new, self.place / "of-new", self.root, old=False).start(these)
                try:
                    results = list(zip(these, old.end(shown=True), now.end(), strict=True))
                finally:
                    old.kill()
                    now.kill()
                for p, first, second in results:
                    shown = judge(p, commit, first, second, self.root, rtol, renamed)
                    log(f"  {p.change.rule} {p.change.name} ({p.kind}): {shown.result}")
                    if shown.again:
                        again.append(whole(p.change))
                    else:
                        yield shown
            todo = again
