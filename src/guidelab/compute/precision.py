"""Precision of nets on a device: which dtype is used, and autocast.

The device is read from the environment and not from params.yaml: where a job runs changes no result but by rounding.
"""

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def settle(where: torch.device) -> None:
    """Make `where` current and fix its arithmetic: float32 means float32, not TF32; sums of halves are in float32.

    TF32 keeps 10 bits of the mantissa and is a choice some libraries make silently. For its speed request
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
    """The precision nets are evaluated in: the given one on a GPU, float32 on a CPU.

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
    used = effective(name, where)
    if used == "float32":
        return contextlib.nullcontext()
    # the cache of cast weights holds trainable ones only, and would keep them over a whole sampler run
    return torch.autocast(where.type, DTYPES[used], cache_enabled=False)


def moved(tensor: Tensor, where: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU through pinned memory, so that nothing waits for the copy."""
    if where.type != "cuda":
        return tensor.to(where)
    return tensor.pin_memory().to(where, non_blocking=True)
