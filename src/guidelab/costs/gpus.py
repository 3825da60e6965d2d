"""The GPUs a cost can be named in: workflow/resources/gpus.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path

from guidelab.errors import UserError, closest
from guidelab.project import resource

GPUS = "workflow/resources/gpus.csv"
_NUMBERS = ("peak_tflops", "float32_tflops", "memory_gb")


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: as on the command line.
        peak_tflops: dense matrix products in bf16 or fp16, 10^12 FLOP/s; `float32_tflops`, in float32 (not TF32).
        memory_gb: 10^9 bytes.
        source: of both.
    """

    name: str
    peak_tflops: float
    float32_tflops: float
    memory_gb: float
    source: str


def gpu(name: str, path: str | Path | None = None) -> Gpu:
    """A GPU by name, case-insensitive.

    Raises:
        UserError: the list is not there, or broken, or has no such GPU; names the closest.
    """
    path = path or resource(GPUS)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [_row(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a list of GPUs ({error}); wanted columns name, {', '.join(_NUMBERS)}, source"
        ) from error
    found = {row.name.lower(): row for row in rows}
    if name.lower() not in found:
        known = [row.name for row in rows]
        raise UserError(
            f"--gpu: given {name!r}, wanted one of {', '.join(known)}{closest(name, known)} (add a line to {path} for another)"
        )
    return found[name.lower()]


def _row(row: dict[str, str]) -> Gpu:
    peak, float32, memory = (float(row[key]) for key in _NUMBERS)
    return Gpu(row["name"], peak, float32, memory, row["source"])
