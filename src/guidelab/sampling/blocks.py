"""Blocks of sample seeds: their seeds, and progress over them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm


def seeds_of(block: Sequence[int]) -> Tensor:
    """The sample seeds `[n]` int64 of a block given by its first and last seed."""
    return torch.arange(block[0], block[1] + 1, dtype=torch.int64)


def progress(items: Sequence[Any], what: str) -> "tqdm[Any]":
    """A progress bar on standard error that stays short in log files."""
    return tqdm(items, desc=what, unit="block", mininterval=1.0, leave=True, dynamic_ncols=True)
