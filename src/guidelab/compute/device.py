"""Choose a job's device from the environment, and turn out-of-memory errors into a message with advice."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch

from guidelab.compute.processes import process_group
from guidelab.errors import UserError


def device(environ: Mapping[str, str] = os.environ) -> torch.device:
    """Where this process computes: GUIDELAB_DEVICE, else its own GPU, else the CPU.

    Raises:
        UserError: no such device, or fewer GPUs than processes on this machine.
    """
    chosen = environ.get("GUIDELAB_DEVICE")
    if chosen:
        try:
            found = torch.device(chosen)
        except RuntimeError as error:
            raise UserError(f"GUIDELAB_DEVICE={chosen}: is no device; wanted cpu, cuda or cuda:1") from error
        if found.type != "cuda":
            return found
        return _gpu(found.index or 0, f"GUIDELAB_DEVICE={chosen}")
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local = process_group(environ).local
    return _gpu(local, f"process {local} of this machine")


def _gpu(index: int, whose: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise UserError(
            f"{whose}: wants GPU {index}, but this machine has {count}. Start torchrun with --nproc-per-node of at "
            f"most {max(count, 1)}, or set GUIDELAB_DEVICE=cpu."
        )
    return torch.device("cuda", index)


@contextlib.contextmanager
def memory_named(where: str, lower: str) -> Iterator[None]:
    """Turn "out of memory" into a sentence that says what to lower.

    Raises:
        UserError: the device ran out of memory inside the block.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise UserError(
            f"{where}: out of memory ({reason}). Lower {lower}, or close other work on the device; finished shards stay."
        ) from error
