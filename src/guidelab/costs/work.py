"""The work of one job as numbers (evaluations, FLOP, bytes), and sizes that all rules share.

Small things are left out: noise, resizing, reading and writing, start-up. A training that stops early is counted to
its end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module

from guidelab.costs import configs
from guidelab.plan.job import Job
from guidelab.plan.rules import RULES
from guidelab.spec import Experiment

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Work:
    """What a job does.

    Attributes:
        images: images or points made, read or trained on.
        evaluations: of nets, by what is evaluated: `main`, `reference`, `gradient`, `training`, ...; one is one image.
        flop: arithmetic, 2 per multiply-add; `float32_flop`, its part that is not in a half precision.
        disk_bytes: written, uncompressed.
        memory: counts `memory_bytes`, most held at once on one device, weights and activations; when it is read
            for, because that takes longer than everything else.
    """

    images: int = 0
    evaluations: dict[str, int] = field(default_factory=dict)
    flop: float = 0.0
    float32_flop: float = 0.0
    disk_bytes: float = 0.0
    memory: Callable[[], float] = float

    @cached_property
    def memory_bytes(self) -> float:
        """Most bytes held at once."""
        return self.memory()


def work_of(e: Experiment, job: Job) -> Work:
    """Count one job of an experiment, by the function that the table of rules names; a rule without one has no work."""
    module, _, function = RULES[job.rule].cost.partition(".")
    if not module:
        return Work()
    found: Work = getattr(import_module(f"guidelab.costs.{module}"), function)(e, job)
    return found


def image_bytes(e: Experiment) -> int:
    """Of one image as 8-bit numbers, or of one point as float32."""
    channels, side = configs.pixels(e)
    return channels * side * side if side else channels * FLOAT


def area(e: Experiment) -> float:
    """Of an image, relative to 512 x 512 pixels: what an autoencoder's work goes with."""
    return (configs.pixels(e)[1] / 512) ** 2


def is_half(precision: str | None) -> bool:
    """Whether a GPU computes in 16 bits."""
    return precision in ("float16", "bfloat16")


def share(precision: str | None) -> float:
    """Of float32's memory that activations take."""
    return 0.5 if is_half(precision) else 1.0


def seeds_in(part: str) -> int:
    """How many training seeds a part's name holds: 5 for `seeds0-4`."""
    numbers = part.removeprefix("seeds").removeprefix("seed")
    first, _, last = numbers.partition("-")
    return int(last) - int(first) + 1 if last else numbers.count("_") + 1
