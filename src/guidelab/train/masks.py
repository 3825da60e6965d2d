"""Dropout masks of one forward pass, drawn from a generator of the pass."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def dropout_masks(net: Any, device: torch.device, source: torch.Generator) -> Iterator[None]:
    """Inside the block, `net` draws its dropout masks from a seed taken from `source`.

    Args:
        net: with a `dropout_generator`, which is set; other nets draw from the global generator of `device`, which is
            seeded for the block and restored after it.
        device: where the net computes.
        source: gives the seed.
    """
    seed = int(torch.randint(1 << 31, (1,), generator=source))
    if hasattr(net, "dropout_generator"):
        net.dropout_generator = torch.Generator(device).manual_seed(seed)
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        state = torch.Generator(device).manual_seed(seed).get_state()
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
        yield
