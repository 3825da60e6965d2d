"""Train one net in several processes: each takes rows of every batch; the first leads.

Started by torchrun (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`), gloo on CPUs and nccl on CUDA. The first process runs
`guidelab.train.loop` with its folder, signals and snapshots; before each iteration it makes the rest do the same
one, and at the end how it ended. So only one process writes, and all stop after the same iteration.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from guidelab.compute.processes import ProcessGroup, process_group
from guidelab.errors import UserError
from guidelab.train.loop import State, TrainingSpec, run
from guidelab.train.stop import Stopped

_GO, _DONE, _STOPPED, _FAILED = range(4)
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # those of guidelab.train.loop
_FEWEST_S = 60.0
_BYTES_PER_S = 2e8  # for a slow disk
_SHARE = 0.05  # of the time that may go into saving


@dataclass(frozen=True)
class TrainingGroup(ProcessGroup):
    """One process among those that train together.

    Attributes:
        device: where it computes.
        stop_requested: set when this process received a signal to stop.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    stop_requested: threading.Event = field(default_factory=threading.Event, compare=False)

    def rows(self, batch: int) -> range:
        """This process's rows of a global batch.

        Raises:
            UserError: the batch cannot be shared equally.
        """
        if batch % self.size:
            raise UserError(
                f"train: batch {batch} cannot be shared equally by {self.size} processes; "
                "give GUIDELAB_PROCESSES, or torchrun, a number of processes that divides it, or change batch in params.yaml"
            )
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def total(self, value: Tensor) -> Tensor:
        """Sum of `value [1]` (float64) over the processes; a request to stop, seen by any, reaches the first on the way."""
        if self.size == 1:
            return value
        both = torch.cat([value, value.new_full((1,), float(self.stop_requested.is_set()))])
        dist.all_reduce(both)
        if self.leader and both[1] > 0:
            signal.raise_signal(
                signal.SIGTERM
            )  # as if the signal had come here: guidelab.train.loop saves and stops
        return both[:1]

    def tell(self, *message: int) -> list[int]:
        """Three integers of the first process, at every process."""
        packed = torch.tensor(message or (0, 0, 0), dtype=torch.int64, device=self.device)
        dist.broadcast(packed, src=0)
        return [int(value) for value in packed]

    def share(self, state: State) -> None:
        """The first process's state, at every process, in place."""
        for name in sorted(state):
            dist.broadcast(state[name], src=0)


@contextlib.contextmanager
def joined(where: torch.device | None = None) -> Iterator[TrainingGroup]:
    """The processes this one trains with: alone, or the group torchrun started, joined for the length of the block.

    In a group, SIGTERM, SIGUSR1 and SIGINT are requests to stop after the iteration, at whichever process they arrive.

    Args:
        where: this process's device; its own GPU, else the CPU, when None.
    Raises:
        UserError: the environment shows that torchrun started this process, but lacks its settings.
    """
    here, found = process_group(), torch.cuda.is_available()
    if here.size == 1:
        yield TrainingGroup(device=where or torch.device("cuda" if found else "cpu"))
        return
    device = where or torch.device(f"cuda:{here.local}" if found else "cpu")
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    group = TrainingGroup(here.rank, here.size, here.local, device)
    with _noted(group.stop_requested):
        dist.init_process_group("nccl" if cuda else "gloo")
        try:
            yield group
        finally:
            dist.destroy_process_group()


@contextlib.contextmanager
def _noted(stop_requested: threading.Event) -> Iterator[None]:
    """Signals only set an event, however often they come."""
    before = {number: signal.signal(number, lambda *_: stop_requested.set()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Live(Protocol):
    """A trainer: the state it works on in place, and how another state is copied into it."""

    live: State

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state."""
        ...


def save_every_s(state: Mapping[str, Tensor]) -> float:
    """Seconds between saves of a state: a minute, and more for one that takes long to write."""
    size = sum(value.numel() * value.element_size() for value in state.values())
    return max(_FEWEST_S, size / _BYTES_PER_S / _SHARE)


def train_together(
    course: TrainingSpec, folder: str | Path, group: TrainingGroup, trainer: Live, progress: bool
) -> tuple[dict[int, State], Tensor]:
    """`guidelab.train.loop.run` in the first process, the same iterations in the rest.

    Args:
        course, folder, progress: as there; `course.step` is the trainer's, which changes its live state in place and
            takes part in the processes' collective operations.
        group: the processes.
        trainer: of this process.
    Returns:
        Snapshots and losses at the first process; nothing in the rest.
    Raises:
        Stopped, UserError: as `run`, at every process.
    """
    live, every = trainer.live, save_every_s(trainer.live)
    if group.size == 1:
        return run(course, folder, save_every_s=every, progress=progress)
    if not group.leader:
        _follow(course, group, live)
        return {}, torch.zeros(0, 1, dtype=torch.float64)

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        fresh = state is not live
        if fresh:
            trainer.load(state)
        group.tell(_GO, iteration, int(fresh))
        if fresh:
            group.share(live)
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
        with contextlib.suppress(
            RuntimeError
        ):  # another process has ended: the exception being raised says more
            group.tell(outcome, 0, 0)


def _follow(course: TrainingSpec, group: TrainingGroup, live: State) -> None:
    while True:
        command, iteration, fresh = group.tell()
        if command == _DONE:
            return
        if command == _STOPPED:
            raise Stopped(f"{course.title}: stopped together with process 0")
        if command == _FAILED:
            raise UserError(f"{course.title}: process 0 ended with an error; see its message")
        if fresh:
            group.share(live)
        course.step(live, iteration)
