"""Parse sample seeds of a command line (0-63, or 3,7,10-12) into blocks of a sampling job."""

import re
from collections.abc import Iterable

from guidelab.errors import UserError

_END = 2**32  # the CPU's generator keeps 32 bits of a seed
_MOST = 10**7


def parse_seeds(text: str) -> list[int]:
    """`3,7,10-12` -> [3, 7, 10, 11, 12], ascending.

    Raises:
        UserError: anything else, a seed twice, or too many.
    """
    found: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= _END:
            raise UserError(f"--seeds: given {text[:80]!r}, wanted such as 0-63 or 3,7,10-12, below {_END}")
        found.append(range(first, last + 1))
    if sum(map(len, found)) > _MOST:
        raise UserError(f"--seeds: given {sum(map(len, found))} seeds, wanted at most {_MOST}")
    seeds = sorted(seed for part in found for seed in part)
    if len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds: given {text[:80]!r}, which names a seed twice")
    return seeds


def blocks_of(seeds: Iterable[int]) -> dict[str, list[int]]:
    """Runs of consecutive seeds, first and last, by the name `first-last`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return {f"{first}-{last}": [first, last] for first, last in runs}
