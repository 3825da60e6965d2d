"""Write training curves in DVCLive's format during a training; without the package nothing is written.

They are for watching: results come from the curve that a training returns. `dvc plots show FOLDER/plots/metrics` draws
them; each is a TSV of one metric, by iteration.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Numbers of one training by iteration, appended to what an earlier run of it left.

    Args:
        folder: DVCLive's folder: `plots/metrics/<name>.tsv` and `metrics.json` (the last values).
        resume: append to what is there; otherwise it is removed.
    """

    def __init__(self, folder: str | Path, resume: bool) -> None:
        self._live: Any = None
        try:
            from dvclive.live import Live
        except ImportError:  # an option: training is the same without it
            return
        # a training must not touch git or a pipeline's files (so Live.end is not called either)
        self._live = Live(str(folder), resume=resume, save_dvc_exp=False, dvcyaml=False)
        self._last = _last_step(Path(folder))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write a row after `iteration` iterations; one written before (by a run that was killed later) is not repeated."""
        if self._live is None or iteration <= self._last:
            return
        self._live.step = self._last = iteration
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()


def _last_step(folder: Path) -> int:
    """The last iteration that has a row of `loss`, 0 if none."""
    path = folder / "plots" / "metrics" / "loss.tsv"
    rows = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    steps = [row.split("\t")[0] for row in rows]
    return max((int(step) for step in steps if step.isdigit()), default=0)
