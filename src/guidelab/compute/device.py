"""The device a job computes on, its arithmetic, and the way to it.

Everything is read from the environment and nothing from params.yaml: where a job runs changes no result but by rounding.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from guidelab.compute.processes import process_group
from guidelab.errors import UserError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_AHEAD = 8  # steps whose noise may wait in pinned memory: enough to keep a device busy


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


def settle(where: torch.device) -> None:
    """Make `where` current and fix its arithmetic: float32 means float32, not TF32; sums of halves are in float32.

    TF32 keeps 10 bits of the mantissa and is a choice some libraries make silently. Who wants its speed asks for
    bfloat16, by name, in params.yaml. Kernels are not chosen by timing them, so every process takes the same.

    Source: EDM2's released code fixes the same three switches.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    if where.type == "cuda":
        torch.cuda.set_device(where)


def effective(name: str, where: torch.device) -> str:
    """The precision nets are evaluated in: as asked for on a GPU, float32 on a CPU.

    Raises:
        ValueError: no such precision.
    """
    if name not in DTYPES:
        raise ValueError(f"precision {name!r}: wanted one of {', '.join(DTYPES)}")
    return name if where.type != "cpu" else "float32"


def precision(name: str, where: torch.device) -> AbstractContextManager[object]:
    """Context in which matrix products and convolutions are computed in a precision; float32 changes nothing.

    Raises:
        ValueError: no such precision.
    """
    asked = effective(name, where)
    if asked == "float32":
        return contextlib.nullcontext()
    # the cache of cast weights holds trainable ones only, and would keep them over a whole sampler run
    return torch.autocast(where.type, DTYPES[asked], cache_enabled=False)


def moved(tensor: Tensor, where: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU through pinned memory, so that nothing waits for the copy."""
    if where.type != "cuda":
        return tensor.to(where)
    return tensor.pin_memory().to(where, non_blocking=True)


class Feed:
    """Noise of the steps for a device: drawn on the CPU while the device computes, a few steps ahead of it.

    The device never waits for the CPU; the CPU waits for the device only where it is more than a few steps ahead,
    so that pinned memory does not fill with noise nobody needs yet.

    Args:
        make: step index to a tensor on the CPU; called once per step, in order.
        where: the device.
    """

    def __init__(self, make: Callable[[int], Tensor], where: torch.device) -> None:
        self.make, self.where = make, where
        self._copied: deque[torch.cuda.Event] = deque()

    def __call__(self, step: int) -> Tensor:
        """The noise of one step, on the device."""
        if self.where.type != "cuda":
            return moved(self.make(step), self.where)
        if len(self._copied) >= _AHEAD:
            self._copied.popleft().synchronize()
        found = moved(self.make(step), self.where)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._copied.append(event)
        return found


@contextlib.contextmanager
def memory_named(where: str, lower: str) -> Iterator[None]:
    """Turn "out of memory" into a sentence that says what to lower.

    Raises:
        UserError: the device ran out of memory inside the block.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = str(error).split(". ")[0]
        raise UserError(
            f"{where}: out of memory ({told}). Lower {lower}, or close other work on the device; finished shards stay."
        ) from error
