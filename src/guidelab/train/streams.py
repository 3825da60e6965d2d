"""Random streams indexed by a position in a training, so that no generator state is carried between iterations."""

import hashlib

import torch


def stream(purpose: str, seed: int, index: int = 0) -> torch.Generator:
    """The generator of one purpose, training seed and iteration.

    A run that resumes, or trains next to other seeds, draws exactly the numbers it would have drawn otherwise.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}/{index}".encode()).digest()
    return torch.Generator().manual_seed(
        int.from_bytes(digest[:4], "little")
    )  # the CPU generator uses 32 bits
