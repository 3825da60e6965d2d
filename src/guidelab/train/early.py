"""Early stopping on a resumable loop: train to the next evaluation, evaluate, continue or stop.

What the decision needs is in the loop's own folder (snapshots and losses), so a training that was stopped anywhere
resumes to the same result: past evaluations are made again from their snapshots.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from guidelab.train.adam import parameters_of
from guidelab.train.loop import State, TrainingSpec, run
from guidelab.train.precision import NetInTraining, finite

History = list[tuple[int, float, float]]  # iteration, loss of the training since the last row, held-out loss


@dataclass(frozen=True)
class Outcome:
    """What a training with early stopping gives.

    Attributes:
        best: snapshot of the lowest held-out loss, and `best_at`, its iteration; the net before its first step, and 0, where
            none was low enough.
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

    @property
    def counts(self) -> dict[str, int]:
        """`iterations` and `best_at`, as reports have them."""
        return {"iterations": self.iterations, "best_at": self.best_at}


def fit(
    trained: NetInTraining,
    step: Callable[[State, int], tuple[State, Tensor]],
    held_out: Callable[[], float],
    config: Mapping[str, Any],
    folder: str | Path,
    title: str,
    *,
    below: float = math.inf,
    progress: bool = True,
    **key: Any,
) -> Outcome:
    """Train a net until its held-out loss gets no better; the net is left at its best snapshot.

    Args:
        trained: the net with its optimiser. step: one iteration of `guidelab.train.loop`.
        held_out: the loss of the net as it is, on the validation part.
        config: `iterations` (at most), `evaluate_every`, `patience`; it decides the result, and so does `key`.
        folder: of the resumable state; the caller removes it. title: of the task. progress: show a bar.
        below: what a held-out loss must be less than.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`; UserError also for a held-out loss that is not finite.
    """

    def evaluate(snapshot: State) -> float:
        trained.adam.load(snapshot)
        return finite(held_out(), title)

    course = TrainingSpec(
        key={"task": title, **key, **config},
        initial=trained.adam.initial,
        step=step,
        snapshot=parameters_of,
        iterations=config["iterations"],
        snapshot_every=config["evaluate_every"],
        log_every=config["evaluate_every"],
        title=title,
    )
    untrained = parameters_of(trained.adam.initial())
    outcome = run_until_no_better(
        course, folder, evaluate, config["patience"], progress, below=below, untrained=untrained
    )
    trained.adam.load(outcome.best)
    return outcome


def run_until_no_better(
    course: TrainingSpec,
    folder: str | Path,
    evaluate: Callable[[State], float],
    patience: int,
    progress: bool = True,
    *,
    below: float = math.inf,
    untrained: State | None = None,
) -> Outcome:
    """Train until `patience` evaluations in a row have not improved on the best, or to the course's end.

    Args:
        course: evaluated at each of its snapshots; its `log_every` must equal its `snapshot_every`.
        folder: of the resumable state; the caller removes it.
        evaluate: held-out loss of a snapshot; a function of the snapshot alone.
        patience: evaluations without a new best after which it stops.
        progress: show a bar on standard error.
        below: what a held-out loss must be less than. untrained: what is kept where none is.
    Raises:
        Stopped, UserError: see `guidelab.train.loop.run`.
        ValueError: not one evaluation fits, or nothing can be kept.
    """
    every = course.snapshot_every
    if course.log_every != every or course.iterations < every:
        raise ValueError(
            f"{course.title}: log_every {course.log_every}, snapshot_every {every}, iterations {course.iterations}; "
            "wanted the first two equal, and at least one evaluation"
        )
    history: History = []
    best, best_at = below, 0
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
    if not best_at and untrained is not None:
        return Outcome(untrained, 0, snapshots, history)
    if not best_at:
        raise ValueError(f"{course.title}: the held-out loss is not finite at any evaluation")
    return Outcome(snapshots[best_at], best_at, snapshots, history)
