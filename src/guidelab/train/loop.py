"""A training loop that can be stopped at any moment and resumed with bit-identical results.

State folder: `state.safetensors` (everything the next iteration needs), `snapshot-<iteration>.safetensors`, and
`lock`, held by the one process that trains here.
"""

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from guidelab.errors import UserError
from guidelab.io import load_arrays, save_arrays
from guidelab.train.stop import Stopped

State = dict[str, Tensor]
LOG_EVERY = 32  # iterations of a denoiser's training that a row of its curve covers
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # Snakemake and Slurm; Slurm's warning; Ctrl-C


@dataclass(frozen=True)
class TrainingSpec:
    """The specification of one training: initial state, step, snapshot, and lengths.

    Attributes:
        key: JSON-serialisable; everything that decides the result. A state saved under another key is refused.
        initial: makes the first state.
        step: `(state, iteration) -> (next state, losses [R])`; depends on nothing else, iterations count from 0.
        snapshot: the part of a state that is kept, at the end of every `snapshot_every` iterations.
        iterations, snapshot_every, log_every: in iterations.
        title: of the progress bar and of messages.
    """

    key: Mapping[str, Any]
    initial: Callable[[], State]
    step: Callable[[State, int], tuple[State, Tensor]]
    snapshot: Callable[[State], State]
    iterations: int
    snapshot_every: int
    log_every: int
    title: str = "training"


@dataclass
class Record:
    """The progress of a training: iterations done, its state, and losses.

    Attributes:
        losses: one `[R]` row for every interval of the log, each the mean over it.
        pending: sum of the losses since the last of these rows.
    """

    iteration: int
    state: State
    losses: list[Tensor] = field(default_factory=list)
    pending: Tensor | None = None


def run(
    course: TrainingSpec, folder: str | Path, *, save_every_s: float = 60.0, progress: bool = True
) -> tuple[dict[int, State], Tensor]:
    """Train from the last saved state in `folder`, if there is one, to the end.

    Args:
        course: what to train.
        folder: where the state is kept; made if need be, and left for the caller to remove.
        save_every_s: seconds between saves.
        progress: show a bar on standard error.
    Returns:
        Snapshots by iteration, and losses `[rows, R]`, one row for every `log_every` iterations (the last row may
        cover fewer).
    Raises:
        Stopped: by SIGTERM, SIGUSR1 or SIGINT; the state is saved.
        UserError: another process trains in this folder, its state is of another training or unreadable, the loss
            is not finite, or the disk is full.
    """
    place = Path(folder)
    with _locked(place), _stop_requested() as stop:
        record = _resume(course, place)
        bar = tqdm(
            total=course.iterations,
            initial=record.iteration,
            desc=course.title,
            unit="it",
            mininterval=1.0,
            dynamic_ncols=True,
            disable=not progress,
        )
        with bar:
            saved = time.monotonic()
            while record.iteration < course.iterations:
                _advance(course, place, record)
                bar.update()
                if record.iteration % course.log_every == 0:
                    bar.set_postfix(loss=f"{float(record.losses[-1].mean()):.4f}")
                if stop.is_set() or time.monotonic() - saved >= save_every_s:
                    _save(course, place, record)
                    saved = time.monotonic()
                if stop.is_set() and record.iteration < course.iterations:
                    raise Stopped(
                        f"{course.title}: stopped after {record.iteration} of {course.iterations} iterations; "
                        "run the same command again to continue"
                    )
        _save(course, place, record)
    kept = range(course.snapshot_every, course.iterations + 1, course.snapshot_every)
    return {i: load_arrays(_snapshot_path(place, i))[0] for i in kept}, _losses(record)


def _advance(course: TrainingSpec, folder: Path, record: Record) -> None:
    """One iteration, with its share of the log and its snapshot."""
    record.state, losses = course.step(record.state, record.iteration)
    record.iteration += 1
    losses = losses.detach().to(torch.float64)
    record.pending = losses if record.pending is None else record.pending + losses
    past = record.iteration % course.log_every or course.log_every
    if past == course.log_every or record.iteration == course.iterations:
        mean = record.pending / past
        if not torch.isfinite(mean).all():
            raise UserError(
                f"{course.title}: the loss is not finite before iteration {record.iteration} "
                f"(by seed: {mean.tolist()}). Lower lr, then run again."
            )
        record.losses.append(mean)
        record.pending = None
    if record.iteration % course.snapshot_every == 0:
        save_arrays(
            _snapshot_path(folder, record.iteration), course.snapshot(record.state), {"key": course.key}
        )


def _save(course: TrainingSpec, folder: Path, record: Record) -> None:
    tensors = {f"state/{name}": value for name, value in record.state.items()} | {"losses": _losses(record)}
    if record.pending is not None:
        tensors["pending"] = record.pending
    save_arrays(folder / "state.safetensors", tensors, {"key": course.key, "iteration": record.iteration})


def _resume(course: TrainingSpec, folder: Path) -> Record:
    path = folder / "state.safetensors"
    if not path.exists():
        return Record(0, course.initial())
    tensors, meta = load_arrays(path)
    wanted = json.loads(json.dumps(course.key))  # as it comes back from a file: tuples as lists
    if meta.get("key") != wanted:
        raise UserError(
            f"{path}: is the state of another training ({meta.get('key')}), wanted {wanted}. "
            "Give this training another folder, or delete the old state."
        )
    state = {
        name.removeprefix("state/"): value for name, value in tensors.items() if name.startswith("state/")
    }
    return Record(meta["iteration"], state, list(tensors["losses"].unbind(0)), tensors.get("pending"))


def _losses(record: Record) -> Tensor:
    return torch.stack(record.losses) if record.losses else torch.zeros(0, 0, dtype=torch.float64)


def _snapshot_path(folder: Path, iteration: int) -> Path:
    return folder / f"snapshot-{iteration:08d}.safetensors"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder: a second process, or a second call, is refused; the lock ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"{folder}: another process (pid {file.read().strip() or 'unknown'}) is training here. "
                "Wait for it, or stop it, then run again."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM, SIGUSR1 and SIGINT set; the second signal of a kind acts as it did before."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield event
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, _frame: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
