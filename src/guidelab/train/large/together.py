"""Several processes train one large net: as `guidelab.train.distributed`, with saves as rare as the state is large."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from guidelab.train.distributed import _DONE, _FAILED, _GO, _STOPPED, World, _follow
from guidelab.train.image_step import ImageTrainer
from guidelab.train.loop import Course, State, run
from guidelab.train.stop import Stopped

_FEWEST_S = 60.0
_BYTES_PER_S = 2e8  # that a slow disk takes
_SHARE = 0.05  # of the time that may go into saving


def save_every_s(state: Mapping[str, Tensor]) -> float:
    """Seconds between saves of a state: a minute, and more for one that takes long to write."""
    size = sum(value.numel() * value.element_size() for value in state.values())
    return max(_FEWEST_S, size / _BYTES_PER_S / _SHARE)


def train_together(
    course: Course, folder: str | Path, world: World, trainer: ImageTrainer, progress: bool
) -> tuple[dict[int, State], Tensor]:
    """`guidelab.train.loop.run` at the first process, the same iterations at the others.

    Args:
        course, folder, progress: as there; `course.step` is the trainer's, which works on its live state in place and
            takes part in the processes' collective operations.
        world: the processes.
        trainer: of this process.
    Returns:
        Snapshots and losses at the first process; nothing at the others.
    Raises:
        Stopped, UserError: as `run`, at every process.
    """
    live, every = trainer.live, save_every_s(trainer.live)
    if world.size == 1:
        return run(course, folder, save_every_s=every, progress=progress)
    if not world.leader:
        _follow(course, world, live)
        return {}, torch.zeros(0, 1, dtype=torch.float64)

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        fresh = state is not live
        if fresh:
            trainer.load(state)
        world.tell(_GO, iteration, int(fresh))
        if fresh:
            world.share(live)
        return course.step(live, iteration)

    outcome = _FAILED
    try:
        result = run(replace(course, step=step), folder, save_every_s=every, progress=progress)
        outcome = _DONE
        return result
    except Stopped:
        outcome = _STOPPED
        raise
    finally:
        with contextlib.suppress(RuntimeError):  # another process is gone: what is being raised says more
            world.tell(outcome, 0, 0)
