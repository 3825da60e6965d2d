"""Early stopping on a resumable loop: train up to the next evaluation, evaluate, go on or stop.

What the decision needs is in the loop's own folder (snapshots and losses), so a training that was stopped anywhere
resumes to the same result: past evaluations are made again from their snapshots.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from guidelab.train.loop import Course, State, run

History = list[tuple[int, float, float]]  # iteration, loss of the training since the last row, held-out loss


@dataclass(frozen=True)
class Outcome:
    """What a training with early stopping gives.

    Attributes:
        best: snapshot of the lowest held-out loss, and `best_at`, its iteration.
        snapshots: all of them, by iteration.
        history: one row for every evaluation.
    """

    best: State
    best_at: int
    snapshots: dict[int, State]
    history: History

    @property
    def iterations(self) -> int:
        """How many iterations it trained."""
        return self.history[-1][0]


def run_until_no_better(
    course: Course,
    folder: str | Path,
    evaluate: Callable[[State], float],
    patience: int,
    progress: bool = True,
) -> Outcome:
    """Train until `patience` evaluations in a row have not improved on the best, or to the course's end.

    Args:
        course: evaluated at each of its snapshots; its `log_every` must equal its `snapshot_every`.
        folder: of the resumable state; the caller removes it.
        evaluate: held-out loss of a snapshot; a function of the snapshot alone.
        patience: evaluations without a new best after which it stops.
        progress: show a bar on standard error.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`.
        ValueError: not one evaluation fits.
    """
    every = course.snapshot_every
    if course.log_every != every or course.iterations < every:
        raise ValueError(
            f"{course.title}: log_every {course.log_every}, snapshot_every {every}, iterations {course.iterations}; "
            "wanted the first two equal, and at least one evaluation"
        )
    history: History = []
    best, best_at = math.inf, 0
    snapshots: dict[int, State] = {}
    bar = tqdm(
        range(every, course.iterations + 1, every),
        desc=course.title,
        unit="eval",
        disable=not progress,
        mininterval=1.0,
        dynamic_ncols=True,
    )
    for iteration in bar:
        snapshots, losses = run(replace(course, iterations=iteration), folder, progress=False)
        held_out = evaluate(snapshots[iteration])
        history.append((iteration, float(losses[iteration // every - 1].mean()), held_out))
        if held_out < best:
            best, best_at = held_out, iteration
        bar.set_postfix(train=f"{history[-1][1]:.4f}", held_out=f"{held_out:.4f}")
        if iteration - best_at >= patience * every:
            break
    bar.close()
    if not best_at:
        raise ValueError(f"{course.title}: the held-out loss is not finite at any evaluation")
    return Outcome(snapshots[best_at], best_at, snapshots, history)
