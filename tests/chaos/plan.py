"""The kills of one run, drawn from its seed."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

# What is hit, how often (weights), and with which signals.
LOCAL = {
    "job": (9, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)),
    "write": (4, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
    "snakemake": (5, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    "dvc": (2, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    "all": (3, (signal.SIGKILL, signal.SIGINT, signal.SIGHUP)),
}

_OF_JOBS = ("job", "write", "cancel", "node", "power", "controller")  # there has to be one
SLURM = {
    "job": (5, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)),
    "write": (3, (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
    "cancel": (2, (signal.SIGTERM,)),
    "node": (3, (signal.SIGKILL,)),
    "power": (3, (signal.SIGKILL,)),
    "controller": (2, (signal.SIGKILL,)),
    "snakemake": (3, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
}


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        number: from 1.
        kind: `job` (the process of a job), `write` (a job, at one of its writes), `snakemake`, `dvc` (while it runs
            a stage), `all` (every process at once: power cut, Ctrl-C or a closed terminal). On Slurm: `snakemake` is
            the one that was typed; `cancel` (scancel of a job), `node` (a node's daemon dies and comes back, its jobs
            go on), `power` (the node's jobs die with it), `controller` (Slurm's own daemon dies and comes back).
        signal: which.
        start: it hits the start-th job that starts after the command was typed, or the next one if that has ended; 0: while
            Snakemake itself starts.
        moment: where in the job's usual duration, as a fraction of it, 0.2 to 1.2: some come too late.
        write: at `write`: which of the job's files. before: it dies just before that file is in place; else just after.
        patient: jobs left behind are waited for; else they are stopped, with the command the refusal prints.
    """

    number: int
    kind: str
    signal: int
    start: int
    moment: float
    write: int
    before: bool
    patient: bool

    def __str__(self) -> str:
        name = signal.Signals(self.signal).name
        place = f"write {self.write} {'before' if self.before else 'after'}" if self.kind == "write" else ""
        when = place or (
            f"job {self.start} at {self.moment:.2f}" if self.start else f"start at {self.moment:.2f}"
        )
        return f"{name} {self.kind}, {when}"


def draw_kills(seed: int, kinds: dict[str, tuple[int, Sequence[int]]] = LOCAL) -> Iterator[Kill]:
    """Kills without end, the same for the same seed."""
    dice, number = Random(seed), 0
    while True:
        number += 1
        kind = dice.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        at = dice.choice(kinds[kind][1])
        start = dice.randint(1, 4) if kind in _OF_JOBS else dice.randint(0, 4)
        yield Kill(
            number,
            kind,
            at,
            start,
            0.2 + dice.random(),
            dice.randint(1, 3),
            dice.random() < 0.5,
            dice.random() < 0.5,
        )
