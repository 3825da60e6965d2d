"""Rank and number of processes of a job, read from the environment variables that `torchrun` sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from guidelab.environment import whole
from guidelab.errors import UserError


@dataclass(frozen=True)
class ProcessGroup:
    """One process among those that share a job.

    Attributes:
        rank, size: which process, of how many.
        local: which on its own machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def leader(self) -> bool:
        """Whether this process writes what there is only one of."""
        return self.rank == 0


def process_group(environ: Mapping[str, str] = os.environ) -> ProcessGroup:
    """This process's place, from RANK, WORLD_SIZE and LOCAL_RANK; alone where they are not set.

    Raises:
        UserError: some are set and others not, or they contradict each other.
    """
    size = whole("WORLD_SIZE", 1, environ=environ)
    if size == 1:
        return ProcessGroup()
    absent = [name for name in ("RANK", "LOCAL_RANK") if not environ.get(name)]
    if absent:
        raise UserError(
            f"WORLD_SIZE is {size} but {absent[0]!r} is not set. Start with torchrun, or unset WORLD_SIZE."
        )
    found = ProcessGroup(whole("RANK", 0, 0, environ), size, whole("LOCAL_RANK", 0, 0, environ))
    if not 0 <= found.rank < size:
        raise UserError(f"RANK is {found.rank}, wanted 0 to {size - 1} (WORLD_SIZE is {size})")
    return found
